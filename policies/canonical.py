"""Canonical bytes and digests: one way to hash a value, everywhere."""

import hashlib
import hmac
from typing import Any

import rfc8785


def canonical_json(value: Any) -> bytes:
    """RFC 8785 canonical JSON of a JSON value.

    Raises:
        rfc8785.CanonicalizationError: The value is not JSON (NaN, a set, a non-string key).
    """
    return rfc8785.dumps(value)


def sha256_hex(data: bytes) -> str:
    """Plain SHA-256, for model artefacts and other data that is not personal."""
    return hashlib.sha256(data).hexdigest()


def keyed_digest(key: bytes, data: bytes) -> str:
    """HMAC-SHA-256, for anything over personal data: a plain digest can be confirmed by guessing."""
    return hmac.new(key, data, hashlib.sha256).hexdigest()
