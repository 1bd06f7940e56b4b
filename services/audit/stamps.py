"""Time stamps of others (RFC 3161) on checkpoints: that the log held this before a moment, by a clock that is not ours.

A stamp file holds a signed checkpoint and the answer of a time-stamping authority over its canonical JSON. The
authority sees a digest only. The check needs the file and the authority's root certificate.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from policies.canonical import canonical_json
from policies.errors import LetheError
from services.audit import checkpoints
from services.audit.checkpoints import SignedCheckpoint

FORMAT = "lethe-stamp/1"
_TYPE = "application/timestamp-query"
_MAX = 65_536  # bytes of an answer; a chain of certificates is a few thousand
_TIMEOUT_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """A checkpoint, and the answer of an authority over it (DER)."""

    checkpoint: SignedCheckpoint
    response: bytes

    @property
    def message(self) -> bytes:
        """What was stamped."""
        return canonical_json(self.checkpoint.to_json())


def request_stamp(signed: SignedCheckpoint, url: str) -> Stamp:
    """Ask an authority to stamp a checkpoint.

    Raises:
        LetheError: ``audit.stamp_refused``: it cannot be reached, refuses, or answers something else.
    """
    import httpx
    from rfc3161_client import TimestampRequestBuilder

    message = canonical_json(signed.to_json())
    request = TimestampRequestBuilder().data(message).build()
    try:
        with httpx.Client(timeout=_TIMEOUT_S, follow_redirects=False) as client:
            answer = client.post(url, content=request.as_bytes(), headers={"Content-Type": _TYPE})
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise LetheError("audit.stamp_refused", f"The authority: {type(error).__name__}.") from None
    if answer.status_code != 200 or len(answer.content) > _MAX:
        raise LetheError("audit.stamp_refused", f"The authority answers with status {answer.status_code}.")
    stamp = Stamp(checkpoint=signed, response=answer.content)
    info = _decoded(stamp).tst_info
    if info.message_imprint.message != _digest(info, message) or info.nonce != request.nonce:
        raise LetheError("audit.stamp_refused", "The authority stamped something else.")
    return stamp


def stamped_at(stamp: Stamp, roots: bytes) -> datetime:
    """When it was stamped, by an authority whose chain ends in one of these certificates (PEM).

    Raises:
        LetheError: ``audit.stamp_invalid``: another message, a signature that does not hold, or an unknown authority.
    """
    from cryptography import x509
    from rfc3161_client import VerificationError, VerifierBuilder

    try:
        trusted = x509.load_pem_x509_certificates(roots)
    except ValueError:
        raise LetheError("audit.stamp_invalid", "The authority's certificates cannot be read.") from None
    decoded = _decoded(stamp)
    builder = VerifierBuilder()
    for one in trusted:
        builder = builder.add_root_certificate(one)
    try:
        builder.build().verify_message(decoded, stamp.message)
    except (VerificationError, ValueError) as error:
        raise LetheError("audit.stamp_invalid", f"The stamp does not hold: {type(error).__name__}.") from None
    moment: datetime = decoded.tst_info.gen_time
    return moment.astimezone(UTC)


def write(path: Path, stamp: Stamp) -> None:
    """Put a stamp into a file, to be kept elsewhere than the log."""
    value = {
        "format": FORMAT,
        "stamped": stamp.checkpoint.to_json(),
        "response": base64.b64encode(stamp.response).decode(),
    }
    path.write_bytes(canonical_json(value) + b"\n")


def read(path: Path) -> Stamp:
    """A stamp from its file.

    Raises:
        LetheError: ``audit.unreadable``.
    """
    try:
        value: Any = json.loads(path.read_bytes())
        if not isinstance(value, dict) or set(value) != {"format", "stamped", "response"} or value["format"] != FORMAT:
            raise ValueError("not a stamp")
        response = base64.b64decode(value["response"], validate=True)
        return Stamp(checkpoint=checkpoints.parse(value["stamped"]), response=response)
    except (OSError, ValueError, TypeError) as error:
        raise LetheError("audit.unreadable", "The stamp file cannot be read.") from error


def _decoded(stamp: Stamp) -> Any:
    from rfc3161_client import decode_timestamp_response

    try:
        decoded = decode_timestamp_response(stamp.response)
        if decoded.status not in (0, 1):
            raise LetheError("audit.stamp_refused", f"The authority refuses with status {decoded.status}.")
        _ = decoded.tst_info
    except ValueError:
        raise LetheError("audit.stamp_invalid", "This is no answer of a time-stamping authority.") from None
    return decoded


def _digest(info: Any, message: bytes) -> bytes:
    """Our request lets the library choose the hash: SHA-512."""
    length = len(info.message_imprint.message)
    name = {32: "sha256", 48: "sha384", 64: "sha512"}.get(length, "sha512")
    return hashlib.new(name, message).digest()
