"""Log-in and access tokens against a provider that runs on loopback."""

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.testclient import TestClient

from policies.errors import LetheError
from services import auth
from services.auth import Identity
from services.installation import create_installation
from services.intake.app import create_app
from services.oidc import issuer as issuers
from services.oidc.issuer import Issuer
from services.oidc.login import CALLBACK, COOKIE, LOGIN, add_login
from services.people import accounts
from services.settings import OidcSettings, Settings, load_settings
from services.store.engine import Store
from services.store.people_tables import Account
from services.store.tables import AuditEntryRow
from services.web import protect
from tests.oidc_issuer import OidcIssuer, oidc_issuer

AUDIENCE = "lethe-api"
ROLES = {"dpo": "admin", "privacy": "privacy_officer", "eyes": "approver"}


@pytest.fixture
def provider() -> Iterator[OidcIssuer]:
    with oidc_issuer() as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path, provider: OidcIssuer) -> Settings:
    about = {
        "issuer": provider.url,
        "client_id": provider.client_id,
        "client_secret": provider.client_secret,
        "redirect_url": provider.redirect_url,
        "audience": AUDIENCE,
        "roles": ROLES,
    }
    return load_settings(tmp_path / "home", oidc=about)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    opened = create_installation(settings).open_store()
    yield opened
    opened.close()


@pytest.fixture
def api(settings: Settings, store: Store) -> TestClient:
    return TestClient(create_app(settings, open_store=lambda: store), raise_server_exceptions=False)


@pytest.fixture
def console(settings: Settings, store: Store) -> Iterator[TestClient]:
    """A console that shows who logged in."""
    app, issuer = FastAPI(), Issuer(settings.oidc)

    def shown(_: Request, who: Identity) -> Response:
        return JSONResponse({"actor": who.actor, "role": who.role, "scopes": sorted(who.scopes)})

    add_login(app, issuer, lambda: store, shown)
    protect(app, open_store=lambda: store, max_body_bytes=1000)
    yield TestClient(app, base_url="https://lethe.example", follow_redirects=False)
    issuer.close()


def ask(api: TestClient, token: str, path: str = "/v1/tickets") -> tuple[int, str]:
    answer = api.get(path, headers={"Authorization": f"Bearer {token}"})
    return answer.status_code, answer.json().get("error", {}).get("code", "")


def to_the_provider_and_back(console: TestClient, provider: OidcIssuer) -> str:
    """The path and query with which the browser comes back."""
    away = console.get(LOGIN)
    assert away.status_code == 303, away.text
    back = httpx.get(away.headers["location"])
    assert back.status_code == 302, back.text
    return str(back.headers["location"]).removeprefix("https://lethe.example")


def test_an_access_token_counts_by_its_role(api: TestClient, provider: OidcIssuer, store: Store) -> None:
    token = provider.token(aud=AUDIENCE)
    assert ask(api, token) == (200, "")
    assert api.get("/v1/audit/export", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    eyes = provider.token(aud=[AUDIENCE, "other"], sub="otto", groups=["unknown", "eyes"])
    assert ask(api, eyes) == (200, "")
    assert ask(api, eyes, "/v1/audit/export") == (403, "auth.forbidden")
    with store.read() as session:
        rows = accounts.list_accounts(session)
        entries = session.query(AuditEntryRow).filter(AuditEntryRow.kind == "account.created").all()
        kept = json.dumps([[row.account_id, row.subject_hash, row.role] for row in rows])
        logged = "".join(entry.payload for entry in entries)
    assert [row.role for row in rows] == ["privacy_officer", "approver"]
    assert len(entries) == 2
    assert "mara" not in kept + logged


def test_what_the_first_group_of_the_list_gives_counts(api: TestClient, provider: OidcIssuer, store: Store) -> None:
    ask(api, provider.token(aud=AUDIENCE, groups=["eyes", "privacy"]))
    ask(api, provider.token(aud=AUDIENCE, groups="eyes"))
    with store.read() as session:
        assert [row.role for row in accounts.list_accounts(session)] == ["approver"]
        kinds = [row.kind for row in session.query(AuditEntryRow).order_by(AuditEntryRow.seq)]
    assert kinds[-2:] == ["account.created", "account.role_changed"]
    for groups in ([], None, ["nothing"], {"dpo": True}, [["dpo"]], 7):
        assert ask(api, provider.token(aud=AUDIENCE, groups=groups)) == (403, "oidc.no_role")


def test_tokens_that_do_not_count(api: TestClient, provider: OidcIssuer) -> None:
    now = int(time.time())
    good = provider.token(aud=AUDIENCE)
    head, body, signature = good.split(".")
    claims = jwt.decode(good, options={"verify_signature": False})
    none = ".".join([base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode(), body, ""])
    with oidc_issuer() as other:
        forged = jwt.encode(claims, other.keys["k1"][1], algorithm="RS256", headers={"kid": "k1"})
        unknown = jwt.encode(claims, other.keys["k1"][1], algorithm="RS256", headers={"kid": "k9"})
    by_public = jwt.encode(claims, "x" * 64, algorithm="HS256", headers={"kid": "k1"})
    for name, token in {
        "for the console": provider.token(aud=provider.client_id),
        "for nobody": provider.token(aud=None),
        "of another issuer": provider.token(aud=AUDIENCE, iss="https://login.example"),
        "without a person": provider.token(aud=AUDIENCE, sub=None),
        "without an end": provider.token(aud=AUDIENCE, exp=None),
        "from tomorrow": provider.token(aud=AUDIENCE, nbf=now + 9999),
        "forged": forged,
        "by an unknown key": unknown,
        "unsigned": none,
        "symmetric": by_public,
        "changed": f"{head}.{body}x.{signature}",
        "no JSON": "a.b.c",
        "huge": f"{head}.{'A' * 20000}.{signature}",
    }.items():
        assert ask(api, token) == (401, "oidc.token_refused"), name
    assert ask(api, provider.token(aud=AUDIENCE, exp=now - 60)) == (401, "auth.expired")
    assert ask(api, "lethe_a_b") == (401, "auth.invalid")


def test_the_provider_rotates_its_keys_and_nobody_makes_us_ask_at_will(
    api: TestClient, provider: OidcIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask(api, provider.token(aud=AUDIENCE))[0] == 200
    provider.new_key("k2", "ES256")
    asked = provider.answers
    for _ in range(3):
        assert ask(api, provider.token(aud=AUDIENCE)) == (401, "oidc.token_refused"), "asked moments ago"
    assert provider.answers == asked
    monkeypatch.setattr(issuers, "KEYS_AGAIN_AFTER_S", -1.0)
    assert ask(api, provider.token(aud=AUDIENCE)) == (200, "")


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/jwks"])
def test_a_provider_that_talks_nonsense_or_is_away_is_an_answer(
    api: TestClient, provider: OidcIssuer, store: Store, path: str
) -> None:
    provider.broken = path
    assert ask(api, provider.token(aud=AUDIENCE)) == (503, "oidc.unreachable")
    asked = provider.answers
    assert ask(api, provider.token(aud=AUDIENCE)) == (503, "oidc.unreachable")
    assert provider.answers == asked, "it is left in peace for a while"
    with store.write() as session:
        key = auth.create_key(session, name="k", role="auditor", actor="t").token
    assert ask(api, key) == (200, ""), "API keys count meanwhile"


def test_a_blocked_account_does_not_count(api: TestClient, provider: OidcIssuer, store: Store) -> None:
    token = provider.token(aud=AUDIENCE)
    assert ask(api, token) == (200, "")
    with store.write() as session:
        row = accounts.account_of(session, provider.url, "mara@example.org")
        assert row is not None
        account_id = row.account_id
        accounts.block(session, account_id, actor="t")
        accounts.block(session, account_id, actor="t")
    assert ask(api, token) == (403, "auth.blocked")
    assert ask(api, provider.token(aud=AUDIENCE, groups=["dpo"])) == (403, "auth.blocked")
    with store.read() as session, pytest.raises(LetheError) as refused:
        accounts.identity_of_account(session, account_id)
    assert refused.value.code == "auth.blocked"
    with store.write() as session:
        accounts.unblock(session, account_id, actor="t")
        assert accounts.identity_of_account(session, account_id).actor == f"user:{account_id}"
        with pytest.raises(LetheError) as missing:
            accounts.block(session, "u-none", actor="t")
    assert missing.value.code == "auth.account_not_found"
    assert ask(api, token) == (200, "")


def test_a_log_in_gives_the_same_identity_as_a_key(console: TestClient, provider: OidcIssuer, store: Store) -> None:
    away = console.get(LOGIN)
    cookie = away.headers["set-cookie"]
    for part in ("HttpOnly", "Secure", "SameSite=lax", "Path=/", f"{COOKIE}="):
        assert part in cookie
    asked = {name: values[0] for name, values in parse_qs(urlsplit(away.headers["location"]).query).items()}
    assert (asked["code_challenge_method"], asked["scope"]) == ("S256", "openid profile")
    logged_in = console.get(to_the_provider_and_back(console, provider))
    assert logged_in.status_code == 200, logged_in.text
    shown = logged_in.json()
    assert (shown["role"], "tickets:identity" in shown["scopes"]) == ("privacy_officer", True)
    with store.read() as session:
        assert shown["actor"] == f"user:{session.query(Account).one().account_id}"
    assert console.cookies.get(COOKIE) is None


def test_log_ins_that_do_not_count(console: TestClient, provider: OidcIssuer) -> None:
    def code(path: str) -> tuple[int, str]:
        answer = console.get(path)
        return answer.status_code, answer.json()["error"]["code"]

    failed = (400, "oidc.login_failed")
    good = to_the_provider_and_back(console, provider)
    cookie = console.cookies.get(COOKIE)
    assert code(good.replace("state=", "state=x")) == failed
    assert code(good.replace("code=", "code=x")) == failed
    assert code(f"{CALLBACK}?error=access_denied&state={parse_qs(urlsplit(good).query)['state'][0]}") == failed
    mixed_up = good.replace(good.partition("iss=")[2], "https%3A%2F%2Fevil.example")
    assert code(mixed_up) == failed
    console.cookies.clear()
    assert code(good) == failed, "another browser"
    console.cookies.set(COOKIE, "AAAA", domain="lethe.example")
    assert code(good) == failed
    console.cookies.clear()
    assert cookie is not None
    console.cookies.set(COOKIE, cookie, domain="lethe.example")
    assert console.get(good).status_code == 200
    console.cookies.set(COOKIE, cookie, domain="lethe.example")
    assert code(good) == failed, "a code counts once"


def test_a_token_of_another_log_in_or_client_does_not_count(
    console: TestClient, provider: OidcIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = provider.token
    for claims in ({"nonce": "another"}, {"aud": "another-client"}, {"azp": "another-client"}):

        def token(_claims: dict[str, Any] = claims, **asked: Any) -> str:
            return real(**{**asked, **_claims})

        with monkeypatch.context() as patch:
            patch.setattr(provider, "token", token)
            answer = console.get(to_the_provider_and_back(console, provider))
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "oidc.token_refused"), claims


def test_what_settings_refuse(provider: OidcIssuer) -> None:
    for wrong in (
        {"issuer": "http://login.example"},
        {"client_id": "a"},
        {"client_id": "a", "redirect_url": "https://x/", "audience": "a"},
        {"roles": {"all": "emperor"}},
    ):
        with pytest.raises(ValueError):
            OidcSettings(**wrong)
    elsewhere = Issuer(OidcSettings(issuer=f"{provider.url}/"))
    with pytest.raises(LetheError) as refused:
        elsewhere.metadata()
    assert refused.value.code == "oidc.misconfigured"
    elsewhere.close()
    assert not issuers.is_safe("http://login.example/token")
    assert not issuers.is_safe("file:///etc/passwd")
