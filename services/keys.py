"""Signing keys of one installation: audit, adapter and verdict, each with an id and a life.

Private keys lie in ``$LETHE_HOME/keys/<key id>.pem`` (0600, directory 0700). ``trust.json`` holds public keys only: all
that the serving replicas and an auditor need. A retired key still verifies what it signed before it was retired.
"""

import base64
import fcntl
import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from policies.canonical import sha256_hex
from policies.errors import LetheError
from services.whole_file import write_whole

if TYPE_CHECKING:
    from services.settings import Settings

Purpose = Literal["audit", "adapter", "verdict"]
Algorithm = Literal["ed25519", "ecdsa-p256"]
PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey

PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
Home = Union[Path, "Settings"]
TRUST_FORMAT = "lethe-trust/1"

# model-signing takes elliptic-curve keys only; everywhere else Ed25519, whose signatures have one form.
_ALGORITHMS: dict[Purpose, Algorithm] = {"audit": "ed25519", "adapter": "ecdsa-p256", "verdict": "ed25519"}


@dataclass(frozen=True, kw_only=True)
class TrustedKey:
    """A public key with its purpose and life."""

    id: str
    purpose: Purpose
    algorithm: Algorithm
    public_key: str  # PEM, SubjectPublicKeyInfo
    created_at: str
    retired_at: str | None = None

    def load(self) -> PublicKey:
        """The key object.

        Raises:
            LetheError: ``keys.malformed`` when the PEM is damaged, or its id is not the digest of the key.
        """
        try:
            key = serialization.load_pem_public_key(self.public_key.encode())
        except ValueError as error:
            raise LetheError("keys.malformed", f"The public key {self.id} cannot be read.") from error
        if not isinstance(key, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey):
            raise LetheError("keys.malformed", f"The public key {self.id} is of an unknown kind.")
        if key_id(self.purpose, key) != self.id:
            raise LetheError("keys.malformed", f"The public key under {self.id} is another key.")
        return key

    def valid_at(self, at: str) -> bool:
        """Whether a signature dated ``at`` may stand: not before the key was made, not after it was retired."""
        when = datetime.fromisoformat(at)
        if when < datetime.fromisoformat(self.created_at):
            return False
        return self.retired_at is None or when <= datetime.fromisoformat(self.retired_at)


@dataclass(frozen=True)
class TrustBundle:
    """The public keys of an installation, as ``trust.json`` holds them."""

    keys: tuple[TrustedKey, ...]

    def find(self, key_id: str, purpose: Purpose) -> TrustedKey | None:
        """The key of that id, if it is trusted for that purpose."""
        return next((key for key in self.keys if key.id == key_id and key.purpose == purpose), None)

    def of(self, purpose: Purpose) -> tuple[TrustedKey, ...]:
        """Every key of a purpose, retired ones too, oldest first."""
        return tuple(key for key in self.keys if key.purpose == purpose)

    def current(self, purpose: Purpose) -> TrustedKey | None:
        """The key that signs now: the youngest that is not retired."""
        return next((key for key in reversed(self.of(purpose)) if key.retired_at is None), None)


@dataclass(frozen=True, kw_only=True)
class SigningKey:
    """A private key with its id; ``path`` is the PEM file for libraries that want one (model-signing)."""

    id: str
    purpose: Purpose
    key: PrivateKey
    path: Path

    def sign(self, message: bytes) -> str:
        """A signature in standard base64."""
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            signature = self.key.sign(message)
        else:
            signature = self.key.sign(message, ec.ECDSA(hashes.SHA256()))
        return base64.b64encode(signature).decode()


def key_id(purpose: Purpose, key: PublicKey) -> str:
    """``<purpose>-<first 16 hex digits of the SHA-256 of the SubjectPublicKeyInfo>``."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"{purpose}-{sha256_hex(der)[:16]}"


def signature_holds(key: PublicKey, signature: str, message: bytes) -> bool:
    """Whether a base64 signature is right, in its one canonical spelling."""
    try:
        raw = base64.b64decode(signature, validate=True)
    except ValueError:
        return False
    if base64.b64encode(raw).decode() != signature:  # spare bits of the last character: another spelling, same bytes
        return False
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(raw, message)
        else:
            key.verify(raw, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def keys_dir(home: Home) -> Path:
    """Where an installation's keys lie: ``keys/`` of its directory, or where its settings say."""
    return home / "keys" if isinstance(home, Path) else home.key_directory


def trust_path(home: Home) -> Path:
    """The public bundle: what serving and auditors are given."""
    return keys_dir(home) / "trust.json"


def ensure(home: Home, *, now: datetime | None = None) -> TrustBundle:
    """Make the keys that are missing, and say which are trusted. Safe to call from several processes at once."""
    with _locked(home):
        bundle = _read_or_empty(home)
        missing = [purpose for purpose in PURPOSES if bundle.current(purpose) is None]
        for purpose in missing:
            bundle = TrustBundle((*bundle.keys, _create(home, purpose, now or datetime.now(UTC))))
        if missing:
            _write_trust(home, bundle)
        return bundle


def must_be_kept(settings: "Settings") -> None:
    """To be asked before a key is replaced: what is made in a copy is lost with it, and what it signed is refused then.

    Raises:
        LetheError: ``keys.copied``.
    """
    if settings.keys.copied:
        raise LetheError("keys.copied", "The keys here are a copy that ends with this process.")


def rotate(home: Home, purpose: Purpose, *, now: datetime | None = None) -> TrustedKey:
    """Retire the current key of a purpose and make the next one.

    The old private key is deleted; its public half stays in ``trust.json`` with the time of retirement. Hand out the
    new ``trust.json`` before anything is signed with the new key.
    """
    at = now or datetime.now(UTC)
    with _locked(home):
        bundle = _read_or_empty(home)
        kept = tuple(
            replace(key, retired_at=_iso(at)) if key.purpose == purpose and key.retired_at is None else key
            for key in bundle.keys
        )
        created = _create(home, purpose, at)
        _write_trust(
            home, TrustBundle((*kept, created))
        )  # first the new bundle: a crash leaves an unused file at worst
        for key in bundle.of(purpose):
            private_path(home, key.id).unlink(missing_ok=True)
        return created


def private_path(home: Home, key_id: str) -> Path:
    """The PEM file of a private key."""
    return keys_dir(home) / f"{key_id}.pem"


def load_private(home: Home, purpose: Purpose) -> SigningKey:
    """The key that signs now for a purpose.

    Raises:
        LetheError: ``keys.missing`` (never made, or this machine holds public keys only), ``keys.permissions`` (others
            may read the file), ``keys.malformed``.
    """
    current = _read_or_empty(home).current(purpose)
    if current is None:
        raise LetheError("keys.missing", f"There is no {purpose} key in this installation.")
    path = private_path(home, current.id)
    if not path.exists():
        raise LetheError("keys.missing", f"The private half of {current.id} is not on this machine.")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise LetheError("keys.permissions", f"The private key {current.id} can be read by others.")
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except ValueError as error:
        raise LetheError("keys.malformed", f"The private key {current.id} cannot be read.") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        raise LetheError("keys.malformed", f"The private key {current.id} is of an unknown kind.")
    if key_id(purpose, key.public_key()) != current.id:
        raise LetheError("keys.malformed", f"The private key {current.id} does not belong to the trusted key.")
    return SigningKey(id=current.id, purpose=purpose, key=key, path=path)


def trust_bundle(home: Home) -> TrustBundle:
    """The public keys of an installation.

    Raises:
        LetheError: ``keys.missing`` or ``keys.malformed``.
    """
    return load_trust(trust_path(home))


def load_trust(path: Path) -> TrustBundle:
    """Read a ``trust.json``, each key checked against its id.

    Raises:
        LetheError: ``keys.missing`` or ``keys.malformed``.
    """
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise LetheError("keys.missing", "The file of trusted keys does not exist.") from error
    except (ValueError, OSError) as error:
        raise LetheError("keys.malformed", "The file of trusted keys cannot be read as JSON.") from error
    try:
        bundle = _parse_trust(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LetheError("keys.malformed", "The file of trusted keys has not the expected form.") from error
    for key in bundle.keys:
        key.load()
    return bundle


def _parse_trust(data: Any) -> TrustBundle:
    if data["format"] != TRUST_FORMAT:
        raise ValueError(data["format"])
    keys = tuple(TrustedKey(**item) for item in data["keys"])
    for key in keys:
        if key.purpose not in PURPOSES or key.algorithm not in get_args(Algorithm):
            raise ValueError(key.id)
        for moment in (key.created_at, key.retired_at):
            if moment is not None and datetime.fromisoformat(moment).tzinfo is None:
                raise ValueError(key.id)
    return TrustBundle(keys)


def _read_or_empty(home: Home) -> TrustBundle:
    return load_trust(trust_path(home)) if trust_path(home).exists() else TrustBundle(())


def _create(home: Home, purpose: Purpose, at: datetime) -> TrustedKey:
    algorithm = _ALGORITHMS[purpose]
    key: PrivateKey = (
        ed25519.Ed25519PrivateKey.generate() if algorithm == "ed25519" else ec.generate_private_key(ec.SECP256R1())
    )
    public = key.public_key()
    trusted = TrustedKey(
        id=key_id(purpose, public),
        purpose=purpose,
        algorithm=algorithm,
        public_key=public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode(),
        created_at=_iso(at),
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_whole(private_path(home, trusted.id), pem, mode=0o600)
    return trusted


def _write_trust(home: Home, bundle: TrustBundle) -> None:
    data = {"format": TRUST_FORMAT, "keys": [vars(key) for key in bundle.keys]}
    write_whole(trust_path(home), json.dumps(data, indent=2, sort_keys=True).encode() + b"\n", mode=0o644)


@contextmanager
def _locked(home: Home) -> Iterator[None]:
    """One process at a time makes or rotates keys; the lock goes with the process."""
    directory = keys_dir(home)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (directory / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")
