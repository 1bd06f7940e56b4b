"""Whose signatures count: the installation's public key bundle (``trust.json``), one set of keys per purpose."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from policies.canonical import sha256_hex
from policies.errors import LetheError

PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey
PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
TRUST_FORMAT = "lethe-trust/1"


def key_id(purpose: str, key: PublicKey) -> str:
    """``<purpose>-<first 16 hex digits of the SHA-256 of the SubjectPublicKeyInfo>``."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"{purpose}-{sha256_hex(der)[:16]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A public key with its purpose and life."""

    id: str
    purpose: str
    key: PublicKey
    created_at: datetime
    retired_at: datetime | None = None

    def valid_at(self, moment: str) -> bool:
        """Whether a signature dated ``moment`` may stand: not before the key was made, not after it was retired."""
        try:
            when = datetime.fromisoformat(moment)
            return self.created_at <= when and (self.retired_at is None or when <= self.retired_at)
        except (ValueError, TypeError):  # no date, or one without an offset
            return False


@dataclass(frozen=True, slots=True)
class Trust:
    """The keys that count."""

    keys: tuple[TrustedKey, ...]

    @classmethod
    def from_file(cls, path: Path) -> "Trust":
        """Read an installation's ``trust.json``.

        Raises:
            LetheError: ``release.trust``.
        """
        try:
            bundle = json.loads(path.read_bytes())
            if bundle["format"] != TRUST_FORMAT:
                raise ValueError("format")
            return cls(tuple(_key(entry) for entry in bundle["keys"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise LetheError("release.trust", "The bundle of public keys cannot be read.") from error

    def of(self, purpose: str) -> tuple[TrustedKey, ...]:
        """Every key of a purpose."""
        return tuple(key for key in self.keys if key.purpose == purpose)

    def find(self, identifier: str, purpose: str) -> TrustedKey:
        """The key of an id, if it is trusted for that purpose.

        Raises:
            LetheError: ``release.unknown_key``.
        """
        for key in self.of(purpose):
            if key.id == identifier:
                return key
        raise LetheError("release.unknown_key", f"The {purpose} is signed by a key that is not trusted.")


def signature_holds(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether a signature is right."""
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
        else:
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def sign_bytes(key: PrivateKey, message: bytes) -> bytes:
    """A signature."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    return key.sign(message, ec.ECDSA(hashes.SHA256()))


def _key(entry: dict[str, Any]) -> TrustedKey:
    key = serialization.load_pem_public_key(entry["public_key"].encode())
    if not isinstance(key, PublicKey):
        raise TypeError("a key of an unknown kind")
    if key_id(entry["purpose"], key) != entry["id"]:
        raise ValueError("the key under this id is another key")
    retired = entry.get("retired_at")
    return TrustedKey(
        id=entry["id"],
        purpose=entry["purpose"],
        key=key,
        created_at=datetime.fromisoformat(entry["created_at"]),
        retired_at=None if retired is None else datetime.fromisoformat(retired),
    )
