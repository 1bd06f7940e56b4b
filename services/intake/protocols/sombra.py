"""Transcend's token ``x-sombra-token``: a JWT with ES384 by the key of the organisation's own Sombra gateway.

Read in excerpts only: which claims it carries is not known here, so a time is demanded of it (``exp`` or ``iat``) and
nothing else. The token does not cover the body; TLS does.
"""

from collections.abc import Mapping
from datetime import datetime

import jwt

from policies.errors import LetheError

TOKEN, NONCE = "x-sombra-token", "x-transcend-nonce"
_MAX_TOKEN = 8192


def verify(public_key: str, headers: Mapping[str, str], *, now: datetime, window_s: float) -> None:
    """Lets a message pass whose token the key signed lately.

    Raises:
        LetheError: ``protocol.signature``; ``protocol.stale`` for a token that has expired or is older than the window.
    """
    token = headers.get(TOKEN, "")
    if not token or len(token) > _MAX_TOKEN:
        raise LetheError("protocol.signature", "The token is missing or does not fit.")
    options = dict.fromkeys(("verify_exp", "verify_iat", "verify_nbf", "verify_aud", "verify_iss"), False)
    try:
        claims = jwt.decode(token, public_key, algorithms=["ES384"], options=options)  # type: ignore[arg-type]
    except jwt.PyJWTError:
        raise LetheError("protocol.signature", "The token is missing or does not fit.") from None
    moment = now.timestamp()
    expires, issued = _number(claims.get("exp")), _number(claims.get("iat"))
    fresh = issued is not None and abs(moment - issued) <= window_s
    if expires is not None:
        fresh = moment < expires and (issued is None or issued - window_s <= moment)
    if not fresh:
        raise LetheError("protocol.stale", "The token has expired, or says nothing of its age.")


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
