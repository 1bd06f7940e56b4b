"""The way of a deletion: planned at the swap, looked for, ordered, deleted, looked for again, told in the report.

Level-triggered as the rest of the control loop: every function looks at the rows and does what is due, so it can be
called again at any moment. What is looked for lies sealed under the subject's key until every source is done with it.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from dateutil.relativedelta import relativedelta
from sqlalchemy import select
from sqlalchemy.orm import Session

from policies.errors import LetheError
from services import audit, sealed_items, sealing
from services.deletion.port import Census
from services.deletion.sources import open_source, source_kinds
from services.installation import Installation
from services.reports.collect import report_ticket
from services.settings import Settings
from services.store import deletions
from services.store.deletions import DONE, FAILED, HELD, ORDERED, PLANNED, TRIED, WAITING
from services.store.engine import Store
from services.store.evidence_tables import Deletion
from services.store.holds import person_held
from services.store.tables import ForgetSet, Ticket, TicketEvent
from services.store.tickets import get_ticket
from services.store.types import utc_now
from services.ticket import subject_set

ACTOR = "system:deletion"
GROUND = "To delete the source records"
_MONTHS = 12  # nobody ordered the deletion for so long: the ids go, and the report says that nothing was deleted


class Noted(StrEnum):
    """What a ticket's history says of a deletion."""

    PLANNED = "sources_planned"
    TRIED = "source_tried"
    ORDERED = "sources_ordered"
    DELETED = "source_deleted"
    HELD = "source_held"
    FAILED = "source_failed"


def plan(session: Session, settings: Settings, ticket: Ticket, record_ids: Collection[str]) -> None:
    """Plan the deletion of a forgotten person's records from every source; planning it again changes nothing."""
    kinds = source_kinds(settings)
    if settings.deletion.mode == "off" or not record_ids or not kinds:
        return
    known = {row.source for row in deletions.of_ticket(session, ticket.ticket_id)}
    new = [name for name in kinds if name not in known]
    if not new:
        return
    at = utc_now()
    _keep_ids(session, ticket, sorted(record_ids))
    for name in new:
        session.add(
            Deletion(
                ticket_id=ticket.ticket_id,
                source=name,
                kind=kinds[name],
                status=PLANNED,
                version=1,
                asked=len(record_ids),
                held=0,
                planned_at=at,
            )
        )
    session.flush()
    _note(session, ticket, Noted.PLANNED, ACTOR, {"sources": new, "records": len(record_ids)}, at)


def look(installation: Installation, store: Store, ticket_id: str) -> int:
    """The dry run: count what each planned source holds of the person, and change nothing; how many were looked at."""
    ids, rows = _todo(store, ticket_id, PLANNED)
    for name in rows:
        found = _attempt(installation, store, ticket_id, name, lambda source, key: source.census(ids, key))
        if found is None:
            continue
        at_once = installation.settings.deletion.mode == "delete"
        with store.write() as session:
            row, ticket = _row(session, ticket_id, name)
            if row.status != PLANNED:
                continue
            _before(row, found)
            row.status, row.tried_at, row.version = (ORDERED if at_once else TRIED), utc_now(), row.version + 1
            if at_once:
                row.ordered_by, row.ordered_at = ACTOR, row.tried_at
            _note(session, ticket, Noted.TRIED, ACTOR, _facts(row), row.tried_at)
    if rows:
        report_ticket(installation, store, ticket_id)
    return len(rows)


def order(session: Session, ticket_id: str, *, actor: str) -> list[Deletion]:
    """A person's yes to what the dry run showed; what failed or was held is tried again.

    Raises:
        LetheError: ``deletion.not_found``; ``deletion.held``.
    """
    ticket = get_ticket(session, ticket_id, lock=True)
    rows = deletions.of_ticket(session, ticket_id)
    if not rows:
        raise LetheError("deletion.not_found", "There is no deletion of this ticket.")
    if person_held(session, ticket):
        raise LetheError("deletion.held", "Another ticket of this person is under a legal hold.")
    at = utc_now()
    again = [row for row in rows if row.status in WAITING]
    for row in again:
        row.ordered_by, row.ordered_at = actor, at
        _again(row)
    if again:
        session.flush()
        _note(session, ticket, Noted.ORDERED, actor, {"sources": [row.source for row in again]}, at)
    return rows


def carry_out(installation: Installation, store: Store, ticket_id: str) -> int:
    """Delete from every ordered source, read it anew, and keep what both readings found; how many are done."""
    ids, rows = _todo(store, ticket_id, ORDERED)
    done = 0
    for name in rows:
        with store.read() as session:
            held = _held_ids(session, get_ticket(session, ticket_id), ids)
        targets = sorted(set(ids) - held)

        def work(source: Any, key: bytes, name: str = name, targets: list[str] = targets) -> Census:
            _keep_before(store, ticket_id, name, source.census(ids, key))  # a crash must not lose what there was
            if targets:
                source.delete(targets)
            found: Census = source.census(ids, key)
            return found

        found = _attempt(installation, store, ticket_id, name, work)
        if found is not None:
            done += _ended(store, ticket_id, name, found, len(held))
    if rows:
        _forget_ids(store, ticket_id)
        report_ticket(installation, store, ticket_id)
    return done


def retry(store: Store, settings: Settings, *, at: datetime | None = None) -> int:
    """Order anew what was held or failed some time ago; how many sources."""
    moment = at or utc_now()
    before = moment - timedelta(hours=settings.deletion.retry_hours)
    with store.read() as session:
        if not deletions.stuck(session, before):
            return 0
    with store.write() as session:
        rows = deletions.stuck(session, before)
        for row in rows:
            _again(row)
        return len(rows)


def _again(row: Deletion) -> None:
    """To be done (again); what was never looked for is looked for first."""
    row.status = PLANNED if row.tried_at is None else ORDERED
    row.version, row.ended_at, row.reason_code = row.version + 1, None, None


def _todo(store: Store, ticket_id: str, status: str) -> tuple[list[str], list[str]]:
    """The ids, and the sources with a status; none where the ids are gone, which each source then says."""
    with store.read() as session:
        rows = [row.source for row in deletions.of_ticket(session, ticket_id) if row.status == status]
        try:
            return (sealed_items.get(session, ticket_id, sealed_items.DELETION) if rows else []), rows
        except LetheError as error:
            code = error.code
    for name in rows:
        _failed(store, ticket_id, name, code)
    return [], []


def _attempt(installation: Installation, store: Store, ticket_id: str, name: str, work: Any) -> Census | None:
    """Work on a source; what hinders it is kept with the source and stops no other one."""
    with store.read() as session:
        key = sealing.ring_of(session).digest
    try:
        with open_source(installation.settings, name) as source:
            found: Census = work(source, key)
            return found
    except LetheError as error:
        code = error.code
        if code.partition(".")[0] == "store":
            raise
    except OSError:
        code = "deletion.source_unreachable"
    _failed(store, ticket_id, name, code)
    return None


def _failed(store: Store, ticket_id: str, name: str, code: str) -> None:
    with store.write() as session:
        row, ticket = _row(session, ticket_id, name)
        row.version += 1
        row.status, row.reason_code, row.ended_at = FAILED, code, utc_now()
        _note(session, ticket, Noted.FAILED, ACTOR, {**_facts(row), "reason_code": code}, row.ended_at)


def _keep_before(store: Store, ticket_id: str, name: str, found: Census) -> None:
    with store.write() as session:
        _before(_row(session, ticket_id, name)[0], found)


def _before(row: Deletion, found: Census) -> None:
    """The state before anything was deleted: what an interrupted deletion has taken already counts as there."""
    gone = max(0, (row.found_before or 0) - found.found)
    row.rows_before, row.found_before, row.rest_before = found.rows + gone, found.found + gone, found.rest
    if not gone:
        row.content_digest = found.content


def _ended(store: Store, ticket_id: str, name: str, found: Census, held: int) -> bool:
    with store.write() as session:
        row, ticket = _row(session, ticket_id, name)
        row.rows_after, row.found_after, row.rest_after, row.held = found.rows, found.found, found.rest, held
        row.version += 1
        row.ended_at = utc_now()
        row.status, row.reason_code = DONE, None
        if held:
            row.status, row.reason_code = HELD, "deletion.held"
        elif found.found:
            row.status, row.reason_code = FAILED, "deletion.not_all_gone"
        elif row.rest_before != row.rest_after:  # a source that is in use changes by itself: said, and not tried again
            row.reason_code = "deletion.others_changed"
        noted = {DONE: Noted.DELETED, HELD: Noted.HELD, FAILED: Noted.FAILED}[row.status]
        _note(session, ticket, noted, ACTOR, {**_facts(row), "reason_code": row.reason_code}, row.ended_at)
        return row.status == DONE


def _facts(row: Deletion) -> dict[str, Any]:
    names = ("source", "kind", "asked", "held", "rows_before", "found_before", "rows_after", "found_after")
    digests = ("content_digest", "rest_before", "rest_after")
    return {name: getattr(row, name) for name in (*names, *digests)}


def _forget_ids(store: Store, ticket_id: str) -> None:
    with store.write() as session:
        if any(row.status != DONE for row in deletions.of_ticket(session, ticket_id)):
            return
        sealed_items.drop(session, ticket_id, {sealed_items.DELETION})
    store.scrub()


def _keep_ids(session: Session, ticket: Ticket, ids: list[str]) -> None:
    sealed_items.put(
        session,
        ticket.subject_ref,
        ticket.ticket_id,
        sealed_items.DELETION,
        ids,
        ground=GROUND,
        expires_at=utc_now() + relativedelta(months=_MONTHS),
    )


def _held_ids(session: Session, ticket: Ticket, ids: Collection[str]) -> set[str]:
    """Records that a legal hold keeps: all of a held person, or those that a held ticket of somebody else is about."""
    if person_held(session, ticket):
        return set(ids)
    query = select(Ticket).join(ForgetSet, ForgetSet.ticket_id == Ticket.ticket_id)
    found: set[str] = set()
    for other in session.scalars(query.where(Ticket.legal_hold.is_(True), ForgetSet.ciphertext.is_not(None))):
        sets = subject_set(session, other).records.sets()
        found.update(sets["forget"], sets["exempt"], sets["pending"])
    return found & set(ids)


def _row(session: Session, ticket_id: str, name: str) -> tuple[Deletion, Ticket]:
    return session.get_one(Deletion, (ticket_id, name)), get_ticket(session, ticket_id, lock=True)


def _note(session: Session, ticket: Ticket, event: Noted, actor: str, facts: dict[str, Any], at: datetime) -> None:
    """History and audit entry; the ticket's status stays as it is."""
    said = TicketEvent(
        ticket_id=ticket.ticket_id,
        at=at,
        event=event.value,
        from_status=ticket.status,
        to_status=ticket.status,
        actor=actor,
        reason_code=facts.get("reason_code"),
    )
    session.add(said)
    session.flush()
    payload = {"ticket_id": ticket.ticket_id, "actor": actor, **facts}
    audit.append(session, kind=f"deletion.{event.value}", payload=payload, subject_ref=ticket.subject_ref, at=at)
