"""A real OpenID Connect provider on loopback: discovery, keys, authorization with PKCE, signed tokens.

It checks what a provider checks (client, secret, redirect address, code used once, PKCE), so that a client that does it
wrong fails here too. ``person`` is who sits in front of it: whoever asks is logged in as that person at once.
"""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass
class OidcIssuer:
    """One provider; change its fields to make it another one."""

    client_id: str = "lethe-console"
    client_secret: str = "shared"
    redirect_url: str = "https://lethe.example/console/oidc/callback"
    person: dict[str, Any] = field(default_factory=lambda: {"sub": "mara@example.org", "groups": ["privacy"]})
    url: str = ""
    answers: int = 0  # how often it was asked for anything
    broken: str = ""  # a path that answers nonsense
    keys: dict[str, tuple[str, PrivateKey]] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def new_key(self, key_id: str, algorithm: str = "RS256") -> None:
        """Signs with another key from now on; the older ones stay known."""
        key: PrivateKey
        if algorithm == "ES256":
            key = ec.generate_private_key(ec.SECP256R1())
        else:
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.keys[key_id] = (algorithm, key)

    def token(self, **claims: Any) -> str:
        """A token as this provider signs it; a claim of None is left out."""
        key_id, (algorithm, key) = list(self.keys.items())[-1]
        now = int(time.time())
        body = {"iss": self.url, "iat": now, "exp": now + 300, **self.person, **claims}
        body = {name: value for name, value in body.items() if value is not None}
        return jwt.encode(body, key, algorithm=algorithm, headers={"kid": key_id})

    def jwks(self) -> dict[str, Any]:
        """Its public keys."""
        found = []
        for key_id, (algorithm, key) in self.keys.items():
            maker: Any = ECAlgorithm if algorithm == "ES256" else RSAAlgorithm
            one = json.loads(maker.to_jwk(key.public_key()))
            found.append({**one, "kid": key_id, "alg": algorithm, "use": "sig"})
        return {"keys": found}

    def discovery(self) -> dict[str, Any]:
        """Its discovery document."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "code_challenge_methods_supported": ["S256"],
        }

    def authorize(self, asked: dict[str, str]) -> str:
        """Where the browser is sent, with a code; KeyError where the client asks for something else."""
        known = asked["client_id"] == self.client_id and asked["redirect_uri"] == self.redirect_url
        if not known or asked["response_type"] != "code" or asked["code_challenge_method"] != "S256":
            raise KeyError("client")
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        return f"{self.redirect_url}?{urlencode({'code': code, 'state': asked['state'], 'iss': self.url})}"

    def exchange(self, form: dict[str, str], authorization: str) -> dict[str, Any] | None:
        """Tokens for a code, once; None: refused."""
        basic = base64.b64encode(f"{self.client_id}:{self.client_secret}".encode()).decode()
        asked = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if asked is None or authorization != f"Basic {basic}" or challenge != asked["code_challenge"]:
            return None
        if form.get("grant_type") != "authorization_code" or form.get("redirect_uri") != asked["redirect_uri"]:
            return None
        id_token = self.token(aud=self.client_id, nonce=asked["nonce"])
        return {"access_token": self.token(aud="lethe-api"), "token_type": "Bearer", "id_token": id_token}


@contextmanager
def oidc_issuer() -> Iterator[OidcIssuer]:
    """A provider that answers on loopback until the end."""
    issuer = OidcIssuer()
    issuer.new_key("k1")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.answers += 1
            parts = urlsplit(self.path)
            if parts.path == issuer.broken:
                self._send(200, b"<html>not JSON</html>")
            elif parts.path == "/.well-known/openid-configuration":
                self._json(200, issuer.discovery())
            elif parts.path == "/jwks":
                self._json(200, issuer.jwks())
            elif parts.path == "/authorize":
                try:
                    to = issuer.authorize({name: values[0] for name, values in parse_qs(parts.query).items()})
                except KeyError:
                    self._json(400, {"error": "invalid_request"})
                else:
                    self.send_response(302)
                    self.send_header("Location", to)
                    self.end_headers()
            else:
                self._json(404, {})

        def do_POST(self) -> None:
            issuer.answers += 1
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            form = {name: values[0] for name, values in parse_qs(raw).items()}
            tokens = issuer.exchange(form, self.headers.get("Authorization", ""))
            self._json(200, tokens) if tokens else self._json(400, {"error": "invalid_grant"})

        def _json(self, status: int, body: Any) -> None:
            self._send(status, json.dumps(body).encode())

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    issuer.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
