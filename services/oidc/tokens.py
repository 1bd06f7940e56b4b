"""Checks tokens of the provider: signature, issuer, audience, times, and which role they give."""

import hmac
from collections.abc import Mapping
from typing import Any

import jwt

from policies.errors import LetheError
from policies.roles import ROLES
from services.oidc.issuer import Issuer

# Asymmetric only, and never what the token itself asks for (RFC 8725, 3.1).
ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
MAX_TOKEN_BYTES = 16 * 1024
_REQUIRED = ["iss", "sub", "aud", "exp", "iat"]


def checked(issuer: Issuer, token: str, *, audience: str, nonce: str | None = None) -> Mapping[str, Any]:
    """The claims of a token that counts.

    Raises:
        LetheError: ``oidc.token_refused`` (it does not say why, but for ``auth.expired``), ``oidc.unreachable``.
    """
    oidc = issuer.settings
    refused = LetheError("oidc.token_refused", "This token does not count here.")
    if len(token) > MAX_TOKEN_BYTES:
        raise refused
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise refused from None
    algorithm, key_id = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise refused
    key = issuer.key(key_id)
    if key is None:
        raise refused
    try:
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key=key,
            algorithms=[algorithm],
            audience=audience,
            issuer=oidc.issuer,
            leeway=oidc.leeway_s,
            options={"require": _REQUIRED},
        )
    except jwt.ExpiredSignatureError:
        raise LetheError("auth.expired", "This token has expired.") from None
    except (jwt.PyJWTError, TypeError, ValueError):
        raise refused from None
    if nonce is not None and not hmac.compare_digest(str(claims.get("nonce", "")), nonce):
        raise refused
    return claims


def role_of(issuer: Issuer, claims: Mapping[str, Any]) -> str:
    """The role that the claims give: the first of ``oidc.roles`` whose group the person has.

    Raises:
        LetheError: ``oidc.no_role``.
    """
    oidc = issuer.settings
    value: Any = claims
    for part in oidc.role_claim.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    listed = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    groups = {one for one in listed if isinstance(one, str)}
    for group, role in oidc.roles.items():
        if group in groups and role in ROLES:
            return role
    raise LetheError("oidc.no_role", "The identity provider gives this person no role here.")
