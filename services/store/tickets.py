"""Tickets in the store, and the one function that changes a ticket's status."""

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.event import listen
from sqlalchemy.orm import Session

from policies.deadlines import local_date
from policies.decisions import Decision
from policies.errors import LetheError
from policies.lifecycle import (
    CLOSED_TICKET,
    TICKET,
    TicketContext,
    TicketEvent,
    TicketStatus,
    asks_the_ticket_alone,
)
from services import audit, sealing, telemetry
from services.store import dialect
from services.store.callbacks import queue_callbacks
from services.store.holds import not_held, person_held
from services.store.tables import DesiredState, ForgetSet, MatchReview, Run, RunTicket, SubjectKey, Ticket
from services.store.tables import TicketEvent as TicketEventRow
from services.store.types import new_id, utc_now

REASON = "reason"  # purpose of a sealed reason
REPEATED_BY = "repeated_by"  # of a ticket's acts: tickets that were closed as its repetition
_APPROVALS = frozenset({TicketEvent.RECORD_APPROVAL, TicketEvent.APPROVE})


def add_ticket(
    session: Session,
    *,
    channel: str,
    external_id: str,
    body_digest: str,
    regime: str,
    base: str,
    subject_ref: str,
    received_at: datetime,
    actor: str,
    submitted_at: datetime | None = None,
    trace_id: str | None = None,
    at: datetime | None = None,
) -> Ticket:
    """Stores a new ticket with status ``received``, and its first audit entry."""
    ticket = Ticket(
        ticket_id=new_id("t"),
        channel=channel,
        external_id=external_id,
        body_digest=body_digest,
        regime=regime,
        base=base,
        subject_ref=subject_ref,
        received_at=received_at,
        submitted_at=submitted_at,
        trace_id=trace_id,
        status="",
        version=0,
        identity_verified=False,
        approvals_needed=1,
        approvals=[],
        entered_by=actor,
        legal_hold=False,
        acts={},
    )
    status = TICKET.apply(None, TicketEvent.RECEIVE, TicketContext())
    _record(session, ticket, TicketEvent.RECEIVE, None, status, actor, at or utc_now())
    return ticket


def find_ticket(session: Session, channel: str, external_id: str) -> Ticket | None:
    """The ticket that a controller filed under its own id."""
    return session.scalar(select(Ticket).where(Ticket.channel == channel, Ticket.external_id == external_id))


def get_ticket(session: Session, ticket_id: str, *, lock: bool = False) -> Ticket:
    """One ticket; with ``lock``, nobody else changes it until the transaction ends.

    Raises:
        LetheError: ``ticket.not_found``.
    """
    if lock and dialect.is_only_writer(session):
        ticket = session.get(Ticket, ticket_id)
    else:
        query = select(Ticket).where(Ticket.ticket_id == ticket_id).execution_options(populate_existing=lock)
        ticket = session.scalar(query.with_for_update() if lock else query)
    if ticket is None:
        raise LetheError("ticket.not_found", "There is no such ticket.")
    return ticket


def decision_of(ticket: Ticket) -> Decision:
    """The decision on a ticket that was decided, as it was stored."""
    return Decision.model_validate_json(json.dumps(ticket.decision))


def zone_of(ticket: Ticket, otherwise: str = "UTC") -> str:
    """The zone in which a ticket's deadlines end; ``otherwise`` before it is decided."""
    clock = (ticket.decision or {}).get("deadlines") or {}
    return str(clock.get("zone") or otherwise)


def day_of(ticket: Ticket, moment: datetime) -> date:
    """The day of a moment as the ticket's law counts it: what letters and registers say is what the decision says."""
    return local_date(moment, zone_of(ticket))


def list_tickets(
    session: Session,
    *,
    statuses: Collection[str] = (),
    due_before: datetime | None = None,
    base: str | None = None,
    held: bool = True,
    after: tuple[datetime, str] | None = None,
    limit: int = 100,
) -> list[Ticket]:
    """Tickets in the order of receipt; ``after`` is (received_at, ticket_id) of the last one seen.

    ``held``: also those whose person stands under a legal hold, with which nothing may be done.
    """
    query = select(Ticket).order_by(Ticket.received_at, Ticket.ticket_id).limit(limit)
    if statuses:
        query = query.where(Ticket.status.in_(statuses))
    if due_before is not None:
        query = query.where(Ticket.due_at < due_before)
    if base is not None:
        query = query.where(Ticket.base == base)
    if not held:
        query = query.where(not_held())
    if after is not None:
        received_at, ticket_id = after
        later = (Ticket.received_at == received_at) & (Ticket.ticket_id > ticket_id)
        query = query.where((Ticket.received_at > received_at) | later)
    return list(session.scalars(query))


def ticket_context(session: Session, ticket: Ticket, *, stored: bool = True) -> TicketContext:
    """What the guards look at, from what is stored and nothing else: a caller cannot claim an approval.

    Args:
        session: Any session.
        ticket: The row.
        stored: Whether the guard looks at more than the row; if not, nothing is read.
    """
    own = TicketContext(
        identity_verified=ticket.identity_verified,
        approvals_given=_approvals_that_count(ticket),
        approvals_needed=ticket.approvals_needed,
        legal_hold=ticket.legal_hold,
        repeated=bool(ticket.acts.get(REPEATED_BY)),
    )
    return replace(own, **_stored(session, ticket)) if stored else own


def _stored(session: Session, ticket: Ticket) -> dict[str, Any]:
    ambiguous = session.scalar(
        select(func.count())
        .select_from(MatchReview)
        .where(MatchReview.ticket_id == ticket.ticket_id, MatchReview.decision.is_(None))
    )
    forget_set = session.get(ForgetSet, ticket.ticket_id)
    live = next((one for one in session.scalars(select(DesiredState)) if ticket.ticket_id in one.watermark), None)
    last = _release_of_last_run(session, ticket.ticket_id)
    return {
        "person_held": person_held(session, ticket),
        "ambiguous_open": ambiguous or 0,
        "forget_records": int(forget_set.counts.get("records", 0)) if forget_set else 0,
        "swap_committed": live is not None and (last is None or last == live.release_digest),
        "was_live": live is not None,
    }


def transition_ticket(
    session: Session,
    ticket_id: str,
    event: TicketEvent,
    *,
    actor: str,
    reason: str | None = None,
    reason_code: str | None = None,
    role: str | None = None,
    facts: Mapping[str, Any] | None = None,
    expected_version: int | None = None,
    at: datetime | None = None,
) -> Ticket:
    """Changes a ticket's status as the lifecycle allows it, with history and audit entry in this transaction.

    Args:
        session: A writing session.
        ticket_id: Which ticket.
        event: What happened.
        actor: Who did it (``key:<id>``, ``system:<part>``); an approval counts once for each actor.
        reason: A person's words; sealed under the subject's key, never in the audit log.
        reason_code: A registered code, where the reason is one.
        role: In which role of the policy pack the actor approves.
        facts: More ids, codes and numbers for the audit entry.
        expected_version: Refuse if the ticket has changed since this version was read.
        at: When; now by default.

    Raises:
        LetheError: ``ticket.not_found``, ``ticket.changed``, ``lifecycle.forbidden``, ``lifecycle.guarded``.
    """
    ticket = get_ticket(session, ticket_id, lock=True)
    if expected_version is not None and ticket.version != expected_version:
        raise LetheError("ticket.changed", f"The ticket is at version {ticket.version} by now.")
    moment = at or utc_now()
    before = TicketStatus(ticket.status)
    _apply(ticket, event, actor, role, moment)
    context = ticket_context(session, ticket, stored=not asks_the_ticket_alone(before, event))
    if reason or reason_code:
        context = replace(context, reason_given=True)
    status = TICKET.apply(before, event, context)
    if event is TicketEvent.APPROVE and ticket.approved_at is None:
        ticket.approved_at = moment
    if status in CLOSED_TICKET:
        ticket.closed_at = moment
    ticket.reason_code = reason_code
    _record(session, ticket, event, before, status, actor, moment, reason=reason, facts=facts or {})
    return ticket


def history(session: Session, ticket_id: str, *, after: int = 0) -> list[TicketEventRow]:
    """What happened to a ticket, oldest first; ``after`` is the last event id seen."""
    query = select(TicketEventRow).where(TicketEventRow.ticket_id == ticket_id, TicketEventRow.event_id > after)
    return list(session.scalars(query.order_by(TicketEventRow.event_id)))


def note_on_ticket(
    session: Session,
    ticket: Ticket,
    note: str,
    *,
    actor: str,
    reason: str | None,
    facts: Mapping[str, Any] | None = None,
    expected_version: int | None = None,
    at: datetime,
) -> None:
    """Writes an act that moves no ticket into history and audit log, also of a closed one.

    Args:
        session: A writing session.
        ticket: The row, locked.
        note: What was done, named as events are.
        actor: Who did it.
        reason: A person's words; sealed.
        facts: Ids, codes and dates for the audit entry.
        expected_version: Refuse if the ticket has changed since this version was read.
        at: When.

    Raises:
        LetheError: ``ticket.changed``.
    """
    if expected_version is not None and ticket.version != expected_version:
        raise LetheError("ticket.changed", f"The ticket is at version {ticket.version} by now.")
    status = TicketStatus(ticket.status)
    _record(session, ticket, note, status, status, actor, at, reason=reason, facts=facts)


def _approvals_that_count(ticket: Ticket) -> int:
    """Different people, in a role that the decision names; under four eyes not who entered the ticket."""
    rules = ticket.decision or {}
    roles = rules.get("approval_roles")
    people = {given["by"] for given in ticket.approvals if roles is None or given["role"] in roles}
    if rules.get("four_eyes"):
        people.discard(ticket.entered_by)
    return len(people)


def _release_of_last_run(session: Session, ticket_id: str) -> str | None:
    """What the ticket's last run released: "" where it has released nothing yet, None where there was no run."""
    query = select(Run.release_digest).join(RunTicket, RunTicket.run_id == Run.run_id)
    query = query.where(RunTicket.ticket_id == ticket_id).order_by(Run.planned_at.desc(), Run.run_id.desc()).limit(1)
    found = session.execute(query).one_or_none()
    return None if found is None else found[0] or ""


def _apply(ticket: Ticket, event: TicketEvent, actor: str, role: str | None, at: datetime) -> None:
    """What an event changes beside the status; before the guards look."""
    if event in _APPROVALS and not actor.startswith("system:") and actor not in {g["by"] for g in ticket.approvals}:
        ticket.approvals = [*ticket.approvals, {"by": actor, "role": role, "at": at.isoformat()}]
    elif event in {TicketEvent.EXEMPT, TicketEvent.END_EXEMPTION}:
        ticket.approvals = []  # they were given for another erasure
    elif event is TicketEvent.RELEASE_HOLD:  # back through the decision: what was approved may not stand after it
        ticket.legal_hold = False
        ticket.approvals = []
    elif event is TicketEvent.HOLD:
        ticket.legal_hold = True
    elif event is TicketEvent.VERIFY_IDENTITY:
        ticket.identity_verified = True


def _record(
    session: Session,
    ticket: Ticket,
    event: str,
    before: TicketStatus | None,
    status: TicketStatus,
    actor: str,
    at: datetime,
    *,
    reason: str | None = None,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Status, history and audit entry: written together or not at all."""
    ticket.status = status.value
    ticket.version += 1
    if before is None:
        session.add(ticket)
        session.flush()  # before rows that refer to it
    key = session.get(SubjectKey, ticket.subject_ref)
    readable = key is not None and key.destroyed_at is None
    sealed = None
    if reason and readable:
        sealed = sealing.seal(session, ticket.subject_ref, reason.encode(), purpose=REASON)
    row = TicketEventRow(
        ticket_id=ticket.ticket_id,
        at=at,
        event=str(event),
        from_status=before.value if before else None,
        to_status=status.value,
        actor=actor,
        reason_code=ticket.reason_code,
        reason_sealed=sealed,
    )
    session.add(row)
    payload = {
        "ticket_id": ticket.ticket_id,
        "from": row.from_status,
        "to": row.to_status,
        "actor": actor,
        "version": ticket.version,
        "reason_code": ticket.reason_code,
        "reason_given": bool(reason),
        **(facts or {}),
    }
    subject_ref = ticket.subject_ref if readable else None
    audit.append(session, kind=f"ticket.{event}", payload=payload, subject_ref=subject_ref, at=at)
    if before is not status:
        if before is not None:  # nobody can have asked to be told of a ticket that was not there
            queue_callbacks(session, ticket, at=at)
        # Counted only once it is true for everybody.
        listen(session, "after_commit", lambda _: telemetry.count_ticket(status.value), once=True)
