"""Signatures of OpenDSR: RSA (PKCS#1 v1.5) over SHA-256 of a body's bytes, by the key of the domain's certificate."""

import base64
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from policies.errors import LetheError
from services.settings import ProtocolSettings

NAMES = ("OpenDSR", "OpenGDPR")  # the former name's headers must go on working
_MIN_BITS = 2048


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs for one domain."""

    domain: str
    certificate: bytes
    _key: RSAPrivateKey = field(repr=False)

    def headers(self, body: bytes) -> dict[str, str]:
        """The headers that go with a body."""
        signature = base64.b64encode(self._key.sign(body, PKCS1v15(), hashes.SHA256())).decode()
        domains = {f"X-{name}-Processor-Domain": self.domain for name in NAMES}
        return {**domains, **{f"X-{name}-Signature": signature for name in NAMES}}


def signer_of(settings: ProtocolSettings) -> Signer:
    """The installation's signer.

    Raises:
        LetheError: ``protocol.off`` where no domain is set; ``callback.signing_key`` where certificate and key are
            missing, damaged, weak or not each other's.
    """
    if not settings.domain:
        raise LetheError("protocol.off", "OpenDSR is not offered here.")
    if settings.certificate_path is None or settings.private_key_path is None:
        raise LetheError("callback.signing_key", "There is no certificate and key to sign with.")
    try:
        stamps = tuple(path.stat().st_mtime_ns for path in (settings.certificate_path, settings.private_key_path))
        return _load(settings.domain, settings.certificate_path, settings.private_key_path, stamps)
    except (OSError, ValueError, TypeError):
        raise LetheError("callback.signing_key", "The certificate and its key cannot be used.") from None


@lru_cache(maxsize=4)
def _load(domain: str, certificate_path: Path, key_path: Path, _stamps: tuple[int, ...]) -> Signer:
    """Read anew once a file changes: a renewed certificate needs no restart."""
    pem = certificate_path.read_bytes()
    public = x509.load_pem_x509_certificate(pem).public_key()
    key = load_pem_private_key(key_path.read_bytes(), None)
    if not isinstance(key, RSAPrivateKey) or not isinstance(public, RSAPublicKey) or key.key_size < _MIN_BITS:
        raise ValueError("not RSA of 2048 bits or more")
    if key.public_key().public_numbers() != public.public_numbers():
        raise ValueError("another certificate's key")
    return Signer(domain, pem, key)
