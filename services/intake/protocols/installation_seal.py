"""Sealing what belongs to no subject: a sender's secret, callback addresses, a form that waits for its code.

The key comes from the digest key, not from the one that wraps subject keys: that one can be replaced.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy.orm import Session

from policies.errors import LetheError
from services import sealing

_MAGIC = b"LI1"
_NONCE = 12


def seal_text(session: Session, text: str, label: str) -> bytes:
    """Encrypts; only the same label opens it again."""
    nonce = os.urandom(_NONCE)
    return _MAGIC + nonce + AESGCM(_key(session)).encrypt(nonce, text.encode(), label.encode())


def open_text(session: Session, sealed: bytes, label: str) -> str:
    """Decrypts what ``seal_text`` made.

    Raises:
        LetheError: ``seal.corrupt``.
    """
    start = len(_MAGIC) + _NONCE
    if sealed[: len(_MAGIC)] != _MAGIC or len(sealed) < start:
        raise LetheError("seal.corrupt", "This is not sealed data.")
    try:
        return AESGCM(_key(session)).decrypt(sealed[len(_MAGIC) : start], sealed[start:], label.encode()).decode()
    except InvalidTag:
        raise LetheError("seal.corrupt", "Sealed data does not open with this key.") from None


def _key(session: Session) -> bytes:
    ring = sealing.ring_of(session)
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"lethe/protocols/1").derive(ring.digest)
