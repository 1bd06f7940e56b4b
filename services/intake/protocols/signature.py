"""Signatures of webhooks, in the form that the Standard Webhooks convention describes: senders have libraries for it.

``webhook-signature`` holds ``v1,<base64 of HMAC-SHA-256>``, several with blanks between during a rotation; signed is
``<webhook-id>.<webhook-timestamp>.<body>``, the bytes as they came. The secret is shown as hexadecimal after ``whsec_``
here and stands for those bytes.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from datetime import datetime

from policies.errors import LetheError

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
_MAX_SIGNATURES = 8
_MAX_HEADER = 1024


def sign(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """The header ``webhook-signature`` of a message."""
    return f"v1,{base64.b64encode(_mac(secret, message_id, str(timestamp), body)).decode()}"


def verify(
    secrets: Iterable[bytes], headers: Mapping[str, str], body: bytes, *, now: datetime, window_s: float
) -> None:
    """Lets a message pass that one of the secrets signed, within the window around now.

    Every secret and signature is compared in constant time, and all of them: how long it takes tells nothing.

    Raises:
        LetheError: ``protocol.signature``, the same for every fault; ``protocol.stale`` for a true signature that is
            too old or lies ahead.
    """
    message_id, stamp, given = (headers.get(name, "") for name in (ID, TIMESTAMP, SIGNATURE))
    refusal = LetheError("protocol.signature", "The signature is missing or does not fit.")
    if not (message_id and stamp.isascii() and stamp.isdigit() and len(stamp) <= 12 and len(given) <= _MAX_HEADER):
        raise refusal
    found = False
    for secret in secrets:
        wanted = _mac(secret, message_id, stamp, body)
        for one in given.split(" ")[:_MAX_SIGNATURES]:
            found |= hmac.compare_digest(wanted, _mac_of(one))
    if not found:
        raise refusal
    if abs(now.timestamp() - int(stamp)) > window_s:
        raise LetheError("protocol.stale", "The message was signed too long ago, or the clocks differ.")


def _mac(secret: bytes, message_id: str, stamp: str, body: bytes) -> bytes:
    return hmac.new(secret, f"{message_id}.{stamp}.".encode() + body, hashlib.sha256).digest()


def _mac_of(text: str) -> bytes:
    version, _, value = text.partition(",")
    try:
        return base64.b64decode(value, validate=True) if version == "v1" else b""
    except ValueError:
        return b""
