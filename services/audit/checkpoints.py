"""Signed checkpoints: what the log held at a moment, so that a cut tail or a rewritten chain shows."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from policies.canonical import canonical_json
from policies.errors import LetheError
from services.keys import SigningKey, TrustBundle, signature_holds

_CONTEXT = b"lethe-audit-checkpoint/1\n"  # a signature over these bytes can stand for nothing else


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """``number`` counts the checkpoints of a log from 1, ``size`` the entries that this one covers."""

    origin: str
    number: int
    size: int
    head: str
    at: str
    key_id: str

    def message(self) -> bytes:
        """The bytes that are signed."""
        return _CONTEXT + canonical_json(asdict(self))


@dataclass(frozen=True, kw_only=True)
class SignedCheckpoint:
    """A checkpoint with its signature in base64."""

    checkpoint: Checkpoint
    signature: str

    def to_json(self) -> dict[str, Any]:
        """The form in bundles and files."""
        return asdict(self)


def sign(key: SigningKey, *, origin: str, number: int, size: int, head: str, at: str) -> SignedCheckpoint:
    """A checkpoint signed with an audit key."""
    checkpoint = Checkpoint(origin=origin, number=number, size=size, head=head, at=at, key_id=key.id)
    return SignedCheckpoint(checkpoint=checkpoint, signature=key.sign(checkpoint.message()))


def parse(data: Any) -> SignedCheckpoint:
    """A signed checkpoint from its JSON form.

    Raises:
        ValueError: Another form.
    """
    try:
        checkpoint = Checkpoint(**data["checkpoint"])
        signed = SignedCheckpoint(checkpoint=checkpoint, signature=data["signature"])
    except (KeyError, TypeError) as error:
        raise ValueError("not a signed checkpoint") from error
    texts = (checkpoint.origin, checkpoint.head, checkpoint.at, checkpoint.key_id, signed.signature)
    numbers = (checkpoint.number, checkpoint.size)
    if set(data) != {"checkpoint", "signature"} or not all(isinstance(text, str) for text in texts):
        raise ValueError("not a signed checkpoint")
    if not all(type(number) is int and number > 0 for number in numbers):
        raise ValueError("not a signed checkpoint")
    return signed


def fault_of(signed: SignedCheckpoint, trust: TrustBundle) -> str | None:
    """Why a checkpoint's signature cannot be trusted; None if it can."""
    checkpoint = signed.checkpoint
    key = trust.find(checkpoint.key_id, "audit")
    if key is None:
        return "checkpoint.key_unknown"
    if not signature_holds(key.load(), signed.signature, checkpoint.message()):
        return "checkpoint.signature"
    try:
        valid = key.valid_at(checkpoint.at)
    except (TypeError, ValueError):  # the signer wrote no time with a zone
        valid = False
    return None if valid else "checkpoint.key_not_valid_then"


def write(path: Path, signed: SignedCheckpoint) -> None:
    """Put a checkpoint into a file of its own, to be kept elsewhere than the log."""
    path.write_bytes(canonical_json(signed.to_json()) + b"\n")


def read(path: Path) -> SignedCheckpoint:
    """A checkpoint from its file.

    Raises:
        LetheError: ``audit.unreadable``.
    """
    try:
        return parse(json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise LetheError("audit.unreadable", "The checkpoint file cannot be read.") from error
