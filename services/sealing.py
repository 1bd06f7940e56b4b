"""Subject keys: what identifies a person is readable only while the person's own key exists.

Each subject has a random AES-256 key, wrapped by a key that lies outside the database and its backups. Destroying the
subject's key makes everything sealed under it unreadable, in backups too, and unlinks its commitment in the audit log.

Three more installation keys: one for look-up hashes, which never leave the store, one for digests over personal data,
one for the rules of suppression, the only one that the serving replicas are given.
"""

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import delete
from sqlalchemy.orm import Session

from policies.canonical import keyed_digest, sha256_hex
from policies.errors import LetheError
from services.settings import Settings
from services.store.tables import LookupHash, SealedIdentity, SealedItem, SubjectKey
from services.store.types import new_id, utc_now

KEY_RING = "key_ring"  # where a session's info holds the installation's keys
_NEW_ROWS = "new_subjects"
_KEY_BYTES = 32
_NONCE_BYTES = 12
_MAGIC = b"LS1"
_FILE_HEAD = "lethe-key/1:"
_SUPPRESSION = "suppression"


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The secret keys of one installation; never logged (``repr`` hides them)."""

    kek: bytes = field(repr=False)
    lookup: bytes = field(repr=False)
    digest: bytes = field(repr=False)
    suppression: bytes = field(repr=False)

    @property
    def kek_id(self) -> str:
        """Says which key wrapped a subject's key, without telling the key."""
        return sha256_hex(b"lethe-kek-id/1" + self.kek)[:16]

    def lookup_hash(self, kind: str, value: str) -> str:
        """Hash of a normalised identifier, to find a person again; it never leaves the store."""
        return keyed_digest(self.lookup, f"{kind}\0{value}".encode())

    def keyed_digest(self, data: bytes) -> str:
        """Digest over personal data: nobody without the key can confirm a guess."""
        return keyed_digest(self.digest, data)


def key_paths(settings: Settings) -> dict[str, Path]:
    """Where each key of the ring lies."""
    directory = settings.key_directory
    others = {name: directory / name for name in ("lookup", "digest", _SUPPRESSION)}
    return {"kek": settings.kek_path, **others}


def create_key_ring(settings: Settings) -> KeyRing:
    """Makes the key files that do not exist yet, each once, readable by their owner only."""
    for path in key_paths(settings).values():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _create_key_file(path)
    return load_key_ring(settings)


def create_suppression_key(settings: Settings) -> None:
    """Makes the key of the rules where an installation has none yet; what it sealed can be made anew."""
    path = key_paths(settings)[_SUPPRESSION]
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _create_key_file(path)


def load_key_ring(settings: Settings) -> KeyRing:
    """Reads the key files.

    Raises:
        LetheError: ``installation.incomplete`` naming the files that are missing or damaged.
    """
    return KeyRing(**_read_keys(key_paths(settings)))


def load_suppression_key(settings: Settings) -> bytes:
    """The one key that a serving replica is given: it opens rules of suppression and nothing else.

    Raises:
        LetheError: ``installation.incomplete``.
    """
    return _read_keys({_SUPPRESSION: key_paths(settings)[_SUPPRESSION]})[_SUPPRESSION]


def _read_keys(paths: Mapping[str, Path]) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    faults: list[str] = []
    for name, path in paths.items():
        try:
            text = path.read_text()
            keys[name] = base64.b64decode(text.removeprefix(_FILE_HEAD).strip(), validate=True)
        except (OSError, ValueError):
            faults.append(f"{name}: {path} cannot be read")
            continue
        if not text.startswith(_FILE_HEAD) or len(keys[name]) != _KEY_BYTES:
            faults.append(f"{name}: {path} is not a key file")
    if faults:
        raise LetheError("installation.incomplete", "Key files are missing or damaged.", tuple(faults))
    return keys


def _create_key_file(path: Path) -> None:
    """A crash in the middle must not leave half a key, and two processes must not make two."""
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(_FILE_HEAD + base64.b64encode(os.urandom(_KEY_BYTES)).decode() + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # fails where another process was first, whose key then counts
        except FileExistsError:
            return
    finally:
        draft.unlink(missing_ok=True)


def create_key(path: Path) -> bytes:
    """A key of its own in a file, made once; the one that is there already, if there is one."""
    _create_key_file(path)
    return _read_keys({"new": path})["new"]


def sync(directory: Path) -> None:
    """A renamed key file must be on the disk before anybody relies on it."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rewrap(row: SubjectKey, old: KeyRing, new: KeyRing) -> None:
    """Wrap a subject's key with another key.

    Raises:
        LetheError: ``seal.corrupt``: it was not wrapped with the old one.
    """
    assert row.wrapped is not None
    label = _wrap_label(row.subject_ref)
    row.wrapped, row.kek_id = _encrypt(new.kek, _decrypt(old.kek, row.wrapped, label), label), new.kek_id


def ring_of(session: Session) -> KeyRing:
    """The keys that the session's store was opened with.

    Raises:
        LetheError: ``installation.incomplete``: this process was not given the keys.
    """
    ring = session.info.get(KEY_RING)
    if not isinstance(ring, KeyRing):
        raise LetheError("installation.incomplete", "This process has no keys to unseal with.")
    return ring


def new_subject(session: Session, *, at: datetime | None = None) -> str:
    """A new random subject reference with its own key."""
    ring = ring_of(session)
    subject_ref = new_id("s")
    wrapped = _encrypt(ring.kek, AESGCM.generate_key(bit_length=256), _wrap_label(subject_ref))
    row = SubjectKey(subject_ref=subject_ref, wrapped=wrapped, kek_id=ring.kek_id, created_at=at or utc_now())
    session.add(row)
    session.flush()
    # A session holds no row that nobody else holds: what is sealed next would read it from the database again.
    session.info.setdefault(_NEW_ROWS, []).append(row)
    return subject_ref


def seal(session: Session, subject_ref: str, data: bytes, *, purpose: str) -> bytes:
    """Encrypts under the subject's own key; only the same subject and purpose open it again.

    Raises:
        LetheError: ``seal.key_destroyed``, ``seal.subject_unknown`` or ``seal.corrupt``.
    """
    return _encrypt(_derived(session, subject_ref, "seal"), data, _seal_label(subject_ref, purpose))


def open_sealed(session: Session, subject_ref: str, sealed: bytes, *, purpose: str) -> bytes:
    """Decrypts what ``seal`` made.

    Raises:
        LetheError: ``seal.corrupt`` where it was changed or belongs to another subject or purpose;
            ``seal.key_destroyed``, ``seal.subject_unknown``.
    """
    return _decrypt(_derived(session, subject_ref, "seal"), sealed, _seal_label(subject_ref, purpose))


def seal_rule(key: bytes, suppression_id: str, data: bytes) -> bytes:
    """Encrypts a rule under the suppression key; only the same row opens it again."""
    return _encrypt(key, data, _rule_label(suppression_id))


def open_rule(key: bytes, suppression_id: str, sealed: bytes) -> bytes:
    """Decrypts what ``seal_rule`` made.

    Raises:
        LetheError: ``seal.corrupt`` where it was changed, or belongs to another row or key.
    """
    return _decrypt(key, sealed, _rule_label(suppression_id))


def commitment(session: Session, subject_ref: str) -> str:
    """What the audit log holds in place of the reference: under the subject's key, so it unlinks with the key."""
    return keyed_digest(_derived(session, subject_ref, "commitment"), subject_ref.encode())


def destroy(session: Session, subject_ref: str, *, at: datetime | None = None) -> None:
    """Destroys a subject's key, and with it everything sealed under it; recorded before the link is lost.

    Doing it twice is the same as once. Call ``Store.scrub`` after the transaction.

    Raises:
        LetheError: ``seal.subject_unknown``.
    """
    from services import audit, suppression

    row = _row(session, subject_ref)
    if row.destroyed_at is not None:
        return
    moment = at or utc_now()
    suppression.forget(session, subject_ref, at=moment)
    audit.append(session, kind="subject.key_destroyed", payload={}, subject_ref=subject_ref, at=moment)
    for table in (SealedIdentity, SealedItem, LookupHash):
        session.execute(delete(table).where(table.subject_ref == subject_ref))
    row.wrapped, row.destroyed_at = None, moment
    session.flush()


def _row(session: Session, subject_ref: str) -> SubjectKey:
    row = session.get(SubjectKey, subject_ref)
    if row is None:
        raise LetheError("seal.subject_unknown", "There is no such subject.")
    return row


def _derived(session: Session, subject_ref: str, use: str) -> bytes:
    ring = ring_of(session)
    row = _row(session, subject_ref)
    if row.wrapped is None:
        raise LetheError("seal.key_destroyed", "The key of this subject was destroyed.")
    if row.kek_id != ring.kek_id:
        raise LetheError("seal.other_kek", "The subject's key is wrapped with another key than this process holds.")
    key = _decrypt(ring.kek, row.wrapped, _wrap_label(subject_ref))
    return HKDF(algorithm=hashes.SHA256(), length=_KEY_BYTES, salt=None, info=f"lethe/{use}/1".encode()).derive(key)


def _wrap_label(subject_ref: str) -> bytes:
    return f"lethe-subject-key/1\0{subject_ref}".encode()


def _rule_label(suppression_id: str) -> bytes:
    return f"lethe-rule/1\0{suppression_id}".encode()


def _seal_label(subject_ref: str, purpose: str) -> bytes:
    return f"lethe-seal/1\0{subject_ref}\0{purpose}".encode()


def _encrypt(key: bytes, data: bytes, label: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return _MAGIC + nonce + AESGCM(key).encrypt(nonce, data, label)


def _decrypt(key: bytes, sealed: bytes, label: bytes) -> bytes:
    start = len(_MAGIC) + _NONCE_BYTES
    if sealed[: len(_MAGIC)] != _MAGIC or len(sealed) < start:
        raise LetheError("seal.corrupt", "This is not sealed data.")
    try:
        return AESGCM(key).decrypt(sealed[len(_MAGIC) : start], sealed[start:], label)
    except InvalidTag:
        raise LetheError("seal.corrupt", "Sealed data does not open with this key.") from None
