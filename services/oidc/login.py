"""Log-in at the provider for the console: authorization code with PKCE.

What has to survive the way there and back (state, nonce, verifier) lies in one sealed cookie of ten minutes, so that a
log-in that somebody else began cannot be ended in this browser.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from policies.errors import LetheError
from services import sealing
from services.auth import Identity, open_to_all
from services.oidc.issuer import Issuer
from services.oidc.tokens import checked, role_of
from services.people import accounts
from services.store.engine import Store

LOGIN, CALLBACK = "/console/oidc/login", "/console/oidc/callback"
COOKIE = "__Host-lethe-oidc"
LOCAL_COOKIE = "lethe-oidc"  # without TLS, on loopback: browsers take no __Host- cookie there
LASTS_S = 600
_LABEL = b"lethe-oidc-login/1"
Kept = dict[str, Any]
OnLogin = Callable[[Request, Identity], Response]
"""Begins the console's session for somebody who logged in; its answer goes to the browser."""


def add_login(app: FastAPI, issuer: Issuer, open_store: Callable[[], Store], on_login: OnLogin) -> None:
    """Adds ``GET /console/oidc/login`` and its callback; the identity is what a key would give.

    Args:
        app: The console's.
        issuer: Of the settings, where ``oidc.issuer`` is set.
        open_store: Opened with keys.
        on_login: Begins a session. The identity's ``holder`` is ``user:<account id>``; ask
            ``services.people.accounts.identity_of_account`` at each request whether it still counts.
    """
    oidc = issuer.settings

    @app.get(LOGIN, include_in_schema=False)
    @open_to_all("a log-in begins before anybody is known")
    def login() -> Response:
        verifier, state, nonce = (secrets.token_urlsafe(48) for _ in range(3))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": oidc.client_id,
            "redirect_uri": oidc.redirect_url,
            "scope": " ".join(("openid", *oidc.scopes)),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        to = issuer.metadata().authorization_endpoint
        answer = RedirectResponse(f"{to}{'&' if '?' in to else '?'}{urlencode(asked)}", status_code=303)
        kept: Kept = {"verifier": verifier, "state": state, "nonce": nonce, "until": time.time() + LASTS_S}
        name, secure = _cookie(oidc.redirect_url)
        value = _sealed(open_store(), kept)
        answer.set_cookie(name, value, max_age=LASTS_S, path="/", secure=secure, httponly=True, samesite="lax")
        answer.headers["Cache-Control"] = "no-store"
        return answer

    @app.get(CALLBACK, include_in_schema=False)
    @open_to_all("the provider sends people back here before they are known")
    def callback(request: Request) -> Response:
        name, _ = _cookie(oidc.redirect_url)
        kept = _opened(open_store(), request.cookies.get(name, ""))
        state, code = request.query_params.get("state", ""), request.query_params.get("code", "")
        if kept is None or not hmac.compare_digest(kept["state"].encode(), state.encode()):
            raise LetheError("oidc.login_failed", "This log-in was not begun in this browser, or too long ago.")
        # RFC 9207: where the provider says who answers, it must be the one that was asked.
        if not code or request.query_params.get("iss", oidc.issuer) != oidc.issuer:
            raise LetheError("oidc.login_failed", "The identity provider did not log anybody in.")
        got = issuer.exchange(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": oidc.redirect_url,
                "code_verifier": kept["verifier"],
            }
        )
        claims = checked(issuer, str(got.get("id_token", "")), audience=oidc.client_id, nonce=kept["nonce"])
        if claims.get("azp", oidc.client_id) != oidc.client_id:
            raise LetheError("oidc.token_refused", "This token does not count here.")
        role = role_of(issuer, claims)
        answer = on_login(request, accounts.enter(open_store(), oidc.issuer, str(claims["sub"]), role))
        answer.delete_cookie(name, path="/", secure=name == COOKIE, httponly=True, samesite="lax")
        answer.headers["Cache-Control"] = "no-store"
        return answer


def _cookie(redirect_url: str) -> tuple[str, bool]:
    secure = redirect_url.startswith("https://")
    return (COOKIE if secure else LOCAL_COOKIE), secure


def _key(store: Store) -> AESGCM:
    with store.read() as session:
        secret = sealing.ring_of(session).digest
    return AESGCM(HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=_LABEL).derive(secret))


def _sealed(store: Store, kept: Kept) -> str:
    nonce = secrets.token_bytes(12)
    return base64.urlsafe_b64encode(nonce + _key(store).encrypt(nonce, json.dumps(kept).encode(), _LABEL)).decode()


def _opened(store: Store, value: str) -> Kept | None:
    try:
        raw = base64.urlsafe_b64decode(value.encode())
        kept: Kept = json.loads(_key(store).decrypt(raw[:12], raw[12:], _LABEL))
    except Exception:  # whatever is wrong with a cookie that a stranger sent: it is not ours
        return None
    return kept if kept["until"] >= time.time() else None
