"""The audit log in the store: append in the caller's transaction, sign checkpoints, export."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from policies.canonical import canonical_json
from policies.errors import LetheError
from services.audit import checkpoints
from services.audit.bundle import FORMAT, write_lines
from services.audit.checkpoints import Checkpoint, SignedCheckpoint
from services.audit.entry import GENESIS, OPENED, AuditEntry, chain, check_payload, timestamp
from services.keys import SigningKey
from services.store.dialect import is_only_writer, serialise
from services.store.engine import Store
from services.store.tables import AuditCheckpointRow, AuditEntryRow
from services.store.types import new_id, utc_now

Commit = Callable[[Session, str], str]

_LOCK = "audit"
_BATCH = 1000
_INSERT = insert(AuditEntryRow.__table__)  # type: ignore[arg-type]
_HEAD = "audit_head"  # in a session's info: number and hash of the entry that it appended last


def append(
    session: Session,
    *,
    kind: str,
    payload: Mapping[str, Any],
    subject_ref: str | None = None,
    at: datetime | None = None,
    commit: Commit | None = None,
) -> AuditEntry:
    """Record that something happened, in the caller's transaction: both are kept, or neither.

    Costs one insert, and for the first entry of a transaction one indexed read, however long the log is.

    Args:
        session: A writing session; its transaction holds the log's lock until it ends, so keep it short.
        kind: What happened, as a dotted code (``ticket.approved``).
        payload: Ids, digests, codes and numbers only.
        subject_ref: The subject it is about; the log holds a commitment under that subject's own key.
        at: When; now by default.
        commit: Makes the commitment; the store's sealing by default.

    Raises:
        LetheError: ``audit.personal_data``.
    """
    check_payload(kind, payload)
    serialise(session, _LOCK)
    moment = timestamp(at or utc_now())
    subject = None if subject_ref is None else (commit or _sealing_commitment)(session, subject_ref)
    seq, prev = session.info.get(_HEAD) or _head(session) or (0, GENESIS)
    if seq == 0:
        origin = {"origin": new_id("log"), "format": FORMAT}
        opened = chain(seq=1, at=moment, kind=OPENED, subject=None, payload=origin, prev=GENESIS)
        _insert(session, opened)
        seq, prev = opened.seq, opened.hash
    entry = chain(seq=seq + 1, at=moment, kind=kind, subject=subject, payload=payload, prev=prev)
    _insert(session, entry)
    if is_only_writer(session):  # until its transaction ends nobody else appends, and then the session ends too
        session.info[_HEAD] = entry.seq, entry.hash
    return entry


def checkpoint(session: Session, key: SigningKey, *, at: datetime | None = None) -> SignedCheckpoint:
    """Sign what the log holds now; the last checkpoint again, if nothing has been added since.

    Raises:
        LetheError: ``audit.empty``.
    """
    serialise(session, _LOCK)
    last = _head(session)
    if last is None:
        raise LetheError("audit.empty", "The audit log is empty.")
    size, head = last
    number = session.scalar(select(func.count()).select_from(AuditCheckpointRow)) or 0
    covering = session.get(AuditCheckpointRow, size)
    if covering is not None:
        return _signed(covering, _origin(session), number)
    signed = checkpoints.sign(
        key,
        origin=_origin(session),
        number=number + 1,
        size=size,
        head=head,
        at=timestamp(at or utc_now()),
    )
    point = signed.checkpoint
    row = {"size": point.size, "head": point.head, "at": point.at, "key_id": point.key_id}
    session.execute(insert(AuditCheckpointRow).values(**row, signature=signed.signature))
    return signed


def export(store: Store, path: Path, key: SigningKey, *, at: datetime | None = None) -> SignedCheckpoint:
    """Write the whole log as a bundle that ends with a checkpoint over everything in it.

    Streams: memory does not grow with the log. The file appears whole or not at all.
    """
    with store.write() as session:
        final = checkpoint(session, key, at=at)
    temporary = path.with_name(f".{path.name}.part")
    try:
        with store.read() as session, temporary.open("wb") as file:
            for line in write_lines(final.checkpoint.origin, _parts(session, final.checkpoint.size)):
                file.write(line)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return final


def _parts(session: Session, size: int) -> Iterator[AuditEntry | SignedCheckpoint]:
    """Entries 1 to ``size``, and after each entry the checkpoint that ends with it."""
    origin = _origin(session)
    rows = session.scalars(select(AuditCheckpointRow).order_by(AuditCheckpointRow.size)).all()
    signed = {row.size: _signed(row, origin, number) for number, row in enumerate(rows, start=1)}
    query = select(AuditEntryRow).where(AuditEntryRow.seq <= size).order_by(AuditEntryRow.seq)
    for partition in session.scalars(query.execution_options(yield_per=_BATCH)).partitions():
        for row in partition:
            yield _entry(row)
            if row.seq in signed:
                yield signed[row.seq]
            session.expunge(row)


def _head(session: Session) -> tuple[int, str] | None:
    """Number and hash of the last entry; None while there is none."""
    query = select(AuditEntryRow.seq, AuditEntryRow.hash).order_by(AuditEntryRow.seq.desc()).limit(1)
    last = session.execute(query).one_or_none()
    return None if last is None else (last.seq, last.hash)


def _origin(session: Session) -> str:
    payload = session.scalar(select(AuditEntryRow.payload).where(AuditEntryRow.seq == 1))
    return str(_payload(payload or "").get("origin", ""))


def _signed(row: AuditCheckpointRow, origin: str, number: int) -> SignedCheckpoint:
    point = Checkpoint(origin=origin, number=number, size=row.size, head=row.head, at=row.at, key_id=row.key_id)
    return SignedCheckpoint(checkpoint=point, signature=row.signature)


def _insert(session: Session, entry: AuditEntry) -> None:
    row = {
        "seq": entry.seq,
        "at": entry.at,
        "kind": entry.kind,
        "subject_commitment": entry.subject,
        "payload": canonical_json(dict(entry.payload)).decode(),
        "prev_hash": entry.prev,
        "hash": entry.hash,
    }
    # Past the mapper, which would cost as much again: nobody holds entries as objects while they are written.
    session.connection().execute(_INSERT, row)


def _entry(row: AuditEntryRow) -> AuditEntry:
    return AuditEntry(
        seq=row.seq,
        at=row.at,
        kind=row.kind,
        subject=row.subject_commitment,
        payload=_payload(row.payload),
        prev=row.prev_hash,
        hash=row.hash,
    )


def _payload(stored: str) -> dict[str, Any]:
    """The payload of a row; somebody's scribble becomes a marker, which the chain then shows as a changed entry."""
    try:
        payload = json.loads(stored)
        canonical_json(payload)
    except (ValueError, RecursionError):
        return {"unreadable": True}
    return payload if isinstance(payload, dict) else {"unreadable": True}


def _sealing_commitment(session: Session, subject_ref: str) -> str:
    from services.sealing import commitment  # the audit log itself needs no key of a subject

    return commitment(session, subject_ref)
