"""DSSE envelopes (https://github.com/secure-systems-lab/dsse) with one signature.

The envelope's own bytes are canonical JSON and its base64 is strict, so that no byte of the file can change
without being refused, not even one that a lenient parser would ignore.
"""

import base64
import binascii
import json
from collections.abc import Callable
from typing import Any

from pipelines.adapter.trust import PrivateKey, TrustedKey, sign_bytes, signature_holds
from policies.canonical import canonical_json
from policies.errors import LetheError

PAYLOAD_TYPE = "application/vnd.in-toto+json"


def pae(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def sign(statement: dict[str, Any], key: PrivateKey, keyid: str) -> bytes:
    """The bytes of a signed envelope over an in-toto statement."""
    payload = canonical_json(statement)
    signature = sign_bytes(key, pae(payload))
    return canonical_json(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": keyid, "sig": base64.b64encode(signature).decode()}],
        }
    )


def open_envelope(raw: bytes, find_key: Callable[[str], TrustedKey]) -> tuple[dict[str, Any], TrustedKey]:
    """The statement inside, once its signature is verified, and the key that signed it.

    Args:
        raw: The envelope's bytes.
        find_key: Gives the trusted key of an id, or raises.

    Raises:
        LetheError: ``release.signature``; whatever ``find_key`` raises.
    """
    try:
        envelope = json.loads(raw)
        if canonical_json(envelope) != raw or envelope.keys() != {"payload", "payloadType", "signatures"}:
            raise ValueError("not in canonical form")
        (entry,) = envelope["signatures"]
        if envelope["payloadType"] != PAYLOAD_TYPE or entry.keys() != {"keyid", "sig"}:
            raise ValueError("not an in-toto envelope")
        payload, signature = _strict_base64(envelope["payload"]), _strict_base64(entry["sig"])
        keyid = str(entry["keyid"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LetheError("release.signature", "The verdict is not a well-formed envelope.") from error
    key = find_key(keyid)
    if not signature_holds(key.key, signature, pae(payload)):
        raise LetheError("release.signature", "The verdict's signature does not verify.")
    statement: dict[str, Any] = json.loads(payload)
    return statement, key


def _strict_base64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if base64.b64encode(data).decode() != text:  # unused bits of the last character may not vary
        raise ValueError("not canonical base64")
    return data
