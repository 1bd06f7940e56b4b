"""Runs in the store: planned, fenced by attempt, and changed by one function."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from policies.errors import LetheError
from policies.lifecycle import CLOSED_RUN, OPEN_RUN, RUN, RunContext, RunEvent, RunStatus, TicketStatus
from services import audit
from services.store.holds import held_among
from services.store.tables import DesiredState, Run, RunTicket, Ticket
from services.store.types import new_id, utc_now

_READY = frozenset({TicketStatus.READY, TicketStatus.IN_RUN})
_STOPPED = frozenset({TicketStatus.ON_HOLD, TicketStatus.CANCELLED, TicketStatus.DENIED})


def plan_run(
    session: Session,
    *,
    base_digest: str,
    ticket_ids: Collection[str],
    method: str,
    seed: int,
    actor: str,
    parent_digest: str | None = None,
    at: datetime | None = None,
) -> Run:
    """A new run for tickets that are ready. Its attempt is 0 until a worker takes it (``new_attempt``).

    Raises:
        LetheError: ``lifecycle.guarded`` where no ticket is ready, or one is held.
    """
    moment = at or utc_now()
    run = Run(
        run_id=new_id("r"),
        base_digest=base_digest,
        status="",
        version=0,
        attempt=0,
        method=method,
        seed=seed,
        cancel_requested=False,
        parent_digest=parent_digest,
        planned_at=moment,
        updated_at=moment,
    )
    tickets = list(session.scalars(select(Ticket).where(Ticket.ticket_id.in_(ticket_ids))))
    status = RUN.apply(None, RunEvent.PLAN, _context(session, run, tickets))
    session.add(run)
    session.flush()
    session.add_all(RunTicket(run_id=run.run_id, ticket_id=ticket.ticket_id) for ticket in tickets)
    facts = {"ticket_ids": sorted(ticket.ticket_id for ticket in tickets), "method": method, "seed": seed}
    _record(session, run, RunEvent.PLAN, None, status, actor, moment, facts)
    return run


def get_run(session: Session, run_id: str, *, lock: bool = False) -> Run:
    """One run; with ``lock``, nobody else changes it until the transaction ends.

    Raises:
        LetheError: ``run.not_found``.
    """
    query = select(Run).where(Run.run_id == run_id).execution_options(populate_existing=lock)
    run = session.scalar(query.with_for_update() if lock else query)
    if run is None:
        raise LetheError("run.not_found", "There is no such run.")
    return run


def list_runs(session: Session, *, statuses: Collection[str] = (), base_digest: str | None = None) -> list[Run]:
    """Runs in the order of planning."""
    query = select(Run).order_by(Run.planned_at, Run.run_id)
    if statuses:
        query = query.where(Run.status.in_(statuses))
    if base_digest is not None:
        query = query.where(Run.base_digest == base_digest)
    return list(session.scalars(query))


def tickets_of(session: Session, run_id: str) -> list[Ticket]:
    """The tickets that a run serves, in the order of receipt."""
    query = select(Ticket).join(RunTicket, RunTicket.ticket_id == Ticket.ticket_id).where(RunTicket.run_id == run_id)
    return list(session.scalars(query.order_by(Ticket.received_at, Ticket.ticket_id)))


def runs_of(session: Session, ticket_id: str) -> list[Run]:
    """The runs that a ticket had, in the order of planning."""
    query = select(Run).join(RunTicket, RunTicket.run_id == Run.run_id).where(RunTicket.ticket_id == ticket_id)
    return list(session.scalars(query.order_by(Run.planned_at, Run.run_id)))


def new_attempt(session: Session, run_id: str, *, actor: str, at: datetime | None = None) -> int:
    """Takes a run up, again or for the first time; from now on writes of earlier attempts are refused.

    Raises:
        LetheError: ``run.not_found``; ``lifecycle.forbidden`` where the run has ended.
    """
    moment = at or utc_now()
    run = get_run(session, run_id, lock=True)
    status = RUN.apply(RunStatus(run.status), RunEvent.RESUME, _context(session, run, tickets_of(session, run_id)))
    run.attempt += 1
    run.started_at = run.started_at or moment
    _record(session, run, RunEvent.RESUME, RunStatus(run.status), status, actor, moment, {})
    return run.attempt


def fenced(session: Session, run_id: str, attempt: int, *, at: datetime | None = None) -> None:
    """Lets only the newest attempt write: every write of a worker begins with this, in the same transaction.

    Raises:
        LetheError: ``run.stale_attempt`` or ``run.not_found``.
    """
    touched = session.execute(
        update(Run)
        .where(Run.run_id == run_id, Run.attempt == attempt)
        .values(updated_at=at or utc_now())
        .returning(Run.run_id)
    ).scalar()
    if touched is None:
        newest = get_run(session, run_id).attempt
        raise LetheError("run.stale_attempt", f"Attempt {attempt} is no longer the run's: {newest} is.")


def write_progress(session: Session, run_id: str, attempt: int, progress: Mapping[str, Any]) -> bool:
    """Stores how far a run is, and says whether somebody asked to cancel it.

    Raises:
        LetheError: ``run.stale_attempt``.
    """
    fenced(session, run_id, attempt)
    run = get_run(session, run_id, lock=True)
    run.progress = dict(progress)
    session.flush()
    return run.cancel_requested


def request_cancel(session: Session, run_id: str) -> None:
    """Asks the worker to stop; it looks every few steps and then cancels the run."""
    get_run(session, run_id, lock=True).cancel_requested = True
    session.flush()


def stop_runs_of(session: Session, ticket_ids: Collection[str]) -> None:
    """Asks the workers of these tickets' open runs to stop."""
    theirs = select(RunTicket.run_id).where(RunTicket.ticket_id.in_(ticket_ids))
    for run in session.scalars(select(Run).where(Run.run_id.in_(theirs), Run.status.in_(OPEN_RUN))):
        run.cancel_requested = True


def transition_run(
    session: Session,
    run_id: str,
    event: RunEvent,
    *,
    actor: str,
    attempt: int | None = None,
    reason_code: str | None = None,
    checks_passed: bool | None = None,
    verdict_passed: bool | None = None,
    release_digest: str | None = None,
    facts: Mapping[str, Any] | None = None,
    at: datetime | None = None,
) -> Run:
    """Changes a run's status as the lifecycle allows it, with the audit entry in this transaction.

    Args:
        session: A writing session.
        run_id: Which run.
        event: What happened.
        actor: Who did it.
        attempt: The worker's attempt; an older one is refused. None for what is not done by the run's worker.
        reason_code: Why it ended, as a registered code.
        checks_passed: Result of the data checks, with the event that reports it.
        verdict_passed: Result of the verdict, with the event that reports it.
        release_digest: The release that the run made.
        facts: More ids, digests, codes and numbers for the audit entry.
        at: When; now by default.

    Raises:
        LetheError: ``run.not_found``, ``run.stale_attempt``, ``lifecycle.forbidden``, ``lifecycle.guarded``.
    """
    moment = at or utc_now()
    if attempt is not None:
        fenced(session, run_id, attempt, at=moment)
    run = get_run(session, run_id, lock=True)
    run.checks_passed = run.checks_passed if checks_passed is None else checks_passed
    run.verdict_passed = run.verdict_passed if verdict_passed is None else verdict_passed
    run.release_digest = release_digest or run.release_digest
    run.reason_code = reason_code or run.reason_code
    before = RunStatus(run.status)
    status = RUN.apply(before, event, _context(session, run, tickets_of(session, run_id)))
    if status in CLOSED_RUN:
        run.ended_at = moment
    _record(session, run, event, before, status, actor, moment, facts or {})
    return run


def _context(session: Session, run: Run, tickets: Collection[Ticket]) -> RunContext:
    """What the guards look at, from what is stored."""
    desired = session.get(DesiredState, run.base_digest)
    ids = {ticket.ticket_id for ticket in tickets}
    held = held_among(session, ids)
    return RunContext(
        tickets_ready=sum(ticket.status in _READY for ticket in tickets),
        held_tickets=sum(ticket.ticket_id in held or ticket.status in _STOPPED for ticket in tickets),
        checks_passed=run.checks_passed is True,
        verdict_passed=run.verdict_passed is True,
        swap_committed=desired is not None
        and bool(ids)
        and ids <= set(desired.watermark)
        and run.release_digest == desired.release_digest,
    )


def _record(
    session: Session,
    run: Run,
    event: RunEvent,
    before: RunStatus | None,
    status: RunStatus,
    actor: str,
    at: datetime,
    facts: Mapping[str, Any],
) -> None:
    run.status = status.value
    run.version += 1
    run.updated_at = at
    session.flush()
    payload = {
        "run_id": run.run_id,
        "base": run.base_digest,
        "attempt": run.attempt,
        "from": before.value if before else None,
        "to": status.value,
        "actor": actor,
        "reason_code": run.reason_code,
        "release": run.release_digest,
        **facts,
    }
    audit.append(session, kind=f"run.{event.value}", payload=payload, at=at)
