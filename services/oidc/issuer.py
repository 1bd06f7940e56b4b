"""One identity provider, found by discovery: its addresses and its signing keys.

The provider is named in the settings, so nobody who sends a token chooses where we ask. Addresses are HTTPS (loopback
excepted, for tests), redirects are not followed, and answers have a limit.
"""

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt

from policies.errors import LetheError
from services.settings import OidcSettings

MAX_ANSWER_BYTES = 256 * 1024
METADATA_LASTS_S = 3600.0
KEYS_LAST_S = 3600.0
KEYS_AGAIN_AFTER_S = 30.0  # an unknown key id makes us ask again, but nobody can make us ask at every request
SILENT_S = 5.0  # a provider that is away is not waited for again by every request
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Metadata:
    """What discovery says."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str


def is_safe(url: str) -> bool:
    """HTTPS with a host, or loopback."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    )


class Issuer:
    """Asks the provider when it has to, and remembers."""

    def __init__(self, settings: OidcSettings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._metadata: tuple[float, Metadata] | None = None
        self._keys: tuple[float, dict[str, jwt.PyJWK]] | None = None
        self._silent_until = 0.0
        self._http = httpx.Client(timeout=settings.timeout_s, follow_redirects=False)

    def close(self) -> None:
        """Ends the connections."""
        self._http.close()

    def metadata(self) -> Metadata:
        """The provider's addresses.

        Raises:
            LetheError: ``oidc.unreachable``, or ``oidc.misconfigured`` where it is another issuer or not safe.
        """
        with self._lock:
            if self._metadata is None or time.monotonic() - self._metadata[0] > METADATA_LASTS_S:
                self._metadata = (time.monotonic(), self._discover())
            return self._metadata[1]

    def key(self, key_id: str | None) -> jwt.PyJWK | None:
        """The provider's signing key of an id; with one key only, tokens need not name it. None: it has no such key."""
        uri = self.metadata().jwks_uri
        with self._lock:
            now = time.monotonic()
            age = float("inf") if self._keys is None else now - self._keys[0]
            unknown = self._keys is not None and _find(self._keys[1], key_id) is None
            if self._keys is None or age > KEYS_LAST_S or (unknown and age > KEYS_AGAIN_AFTER_S):
                self._keys = (now, self._fetch_keys(uri))
            return _find(self._keys[1], key_id)

    def exchange(self, form: Mapping[str, str]) -> Mapping[str, Any]:
        """Trades a code for tokens at the token endpoint.

        Raises:
            LetheError: ``oidc.unreachable``, ``oidc.login_failed`` where it refuses the code.
        """
        secret = self.settings.client_secret.get_secret_value()
        data = dict(form) if secret else {**form, "client_id": self.settings.client_id}
        auth = httpx.BasicAuth(self.settings.client_id, secret) if secret else None
        request = self._http.build_request("POST", self.metadata().token_endpoint, data=data)
        status, answer = self._ask(request, auth)
        if 400 <= status < 500:
            raise LetheError("oidc.login_failed", "The identity provider refused the log-in.")
        if status != 200:
            raise _unreachable()
        return answer

    def _discover(self) -> Metadata:
        name = self.settings.issuer
        found = self._get(f"{name.rstrip('/')}/.well-known/openid-configuration")
        try:
            metadata = Metadata(**{field: str(found[field]) for field in Metadata.__dataclass_fields__})
        except KeyError:
            raise LetheError("oidc.misconfigured", "The provider's discovery document lacks an address.") from None
        if metadata.issuer != name:
            raise LetheError("oidc.misconfigured", "The provider calls itself by another name than oidc.issuer.")
        if not all(
            is_safe(url) for url in (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri)
        ):
            raise LetheError("oidc.misconfigured", "An address of the provider is not HTTPS.")
        return metadata

    def _fetch_keys(self, uri: str) -> dict[str, jwt.PyJWK]:
        found: dict[str, jwt.PyJWK] = {}
        for one in self._get(uri).get("keys", ()):
            if not isinstance(one, Mapping) or one.get("kty") == "oct" or one.get("use", "sig") != "sig":
                continue  # a symmetric key would let anybody who knows it sign
            try:
                found[str(one.get("kid", ""))] = jwt.PyJWK(dict(one))
            except jwt.PyJWTError:
                continue  # of a kind that we do not know; the others count
        return found

    def _get(self, url: str) -> Mapping[str, Any]:
        if time.monotonic() < self._silent_until:
            raise _unreachable()
        self._silent_until = time.monotonic() + SILENT_S
        status, answer = self._ask(self._http.build_request("GET", url))
        if status != 200:
            raise _unreachable()
        self._silent_until = 0.0
        return answer

    def _ask(self, request: httpx.Request, auth: httpx.Auth | None = None) -> tuple[int, Mapping[str, Any]]:
        try:
            response = self._http.send(request, auth=auth, stream=True)
            try:
                body = b""
                for piece in response.iter_bytes():
                    body += piece
                    if len(body) > MAX_ANSWER_BYTES:
                        raise _unreachable()
            finally:
                response.close()
            answer = json.loads(body) if body else {}
        except (httpx.HTTPError, ValueError, RecursionError):
            raise _unreachable() from None
        if not isinstance(answer, dict):
            raise _unreachable()
        return response.status_code, answer


def _find(keys: Mapping[str, jwt.PyJWK], key_id: str | None) -> jwt.PyJWK | None:
    if key_id is None:
        return next(iter(keys.values())) if len(keys) == 1 else None
    return keys.get(key_id)


def _unreachable() -> LetheError:
    return LetheError("oidc.unreachable", "The identity provider does not answer as it should.")
