"""Retention: what was kept of a person, for as long as the policy says and no longer.

Two ends of a closed ticket, both counted in months from its pack: sealed probes and replay rows go first, later the
person's own key, which unlinks the audit log. The ticket's row stays: it holds dates, codes and digests, and the
registers are made from it. Whatever a legal hold or a suppression in force still needs waits for its end.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from dateutil.relativedelta import relativedelta
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from policies.lifecycle import CLOSED_RUN, CLOSED_TICKET
from services import audit, sealed_items, sealing
from services.installation import Installation
from services.intake.packs import Packs
from services.reports.collect import report_ticket
from services.store import suppressions
from services.store.engine import Store
from services.store.holds import person_held
from services.store.runs import list_runs
from services.store.tables import Recheck, SealedItem, SubjectKey, Ticket
from services.store.types import utc_now

ACTOR = "system:retention"
# Useless without each other: probes without replay rows would stop every later run.
TOGETHER = frozenset({sealed_items.PROBES, sealed_items.REPLAY, sealed_items.SUPPRESSION})
BATCH = 50  # tickets of one look; the next one takes the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What is over its time.

    Attributes:
        items: Ticket and purposes of sealed items to delete.
        subjects: Tickets whose subject's key is to be destroyed.
        rechecks: Re-checks to delete.
        waiting: Tickets that are over their time and still needed, by the reason.
    """

    items: tuple[tuple[str, tuple[str, ...]], ...]
    subjects: tuple[str, ...]
    rechecks: int
    waiting: tuple[tuple[str, str], ...]

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.items or self.subjects or self.rechecks)


def plan(installation: Installation, session: Session, *, at: datetime | None = None) -> Due:
    """What ``carry_out`` would delete; changes nothing."""
    now = at or utc_now()
    waiting: list[tuple[str, str]] = []
    running = any(run.status not in CLOSED_RUN for run in list_runs(session))

    def free(ticket: Ticket) -> bool:
        why = _still_needed(session, ticket, running=running)
        if why is not None:
            waiting.append((ticket.ticket_id, why))
        return why is None

    subjects = _over(installation, session, now, free)
    items = _expired(session, now, free, without=set(subjects))
    query = select(func.count()).select_from(Recheck).where(Recheck.at < _rechecks_before(installation, now))
    rechecks = session.scalar(query) or 0
    return Due(items=tuple(items), subjects=tuple(subjects), rechecks=rechecks, waiting=tuple(dict.fromkeys(waiting)))


def carry_out(installation: Installation, store: Store, *, actor: str = ACTOR, at: datetime | None = None) -> Due:
    """Delete what is over its time, one ticket a transaction; doing it twice is the same as once."""
    now = at or utc_now()
    with store.read() as session:
        due = plan(installation, session, at=now)
    for ticket_id, purposes in due.items:
        with store.write() as session:
            ticket = session.get_one(Ticket, ticket_id)
            if person_held(session, ticket):  # since the look
                continue
            sealed_items.drop(session, ticket_id, purposes)
            dropped = {"ticket_id": ticket_id, "purposes": list(purposes), "actor": actor}
            audit.append(session, kind="retention.expired", payload=dropped, subject_ref=ticket.subject_ref, at=now)
    for ticket_id in due.subjects:
        report_ticket(installation, store, ticket_id)  # while the log can still be linked: the last word on the person
        with store.write() as session:
            ticket = session.get_one(Ticket, ticket_id)
            if person_held(session, ticket):
                continue
            payload = {"ticket_id": ticket_id, "actor": actor}
            audit.append(session, kind="retention.ended", payload=payload, subject_ref=ticket.subject_ref, at=now)
            sealing.destroy(session, ticket.subject_ref, at=now)
    if due.rechecks:
        before = _rechecks_before(installation, now)
        with store.write() as session:
            session.execute(delete(Recheck).where(Recheck.at < before))
            counted = {"count": due.rechecks, "before": before.isoformat(), "actor": actor}
            audit.append(session, kind="retention.rechecks_deleted", payload=counted, at=now)
    if not due.nothing:
        store.scrub()
    for ticket_id, _ in due.items:
        report_ticket(installation, store, ticket_id)  # it lists what still exists
    return due


def _over(installation: Installation, session: Session, now: datetime, free: Callable[[Ticket], bool]) -> list[str]:
    """Closed tickets beyond their register's months whose subject still has a key."""
    packs = Packs(installation.settings.policy)
    found: list[str] = []
    query = (
        select(Ticket)
        .join(SubjectKey, SubjectKey.subject_ref == Ticket.subject_ref)
        .where(Ticket.status.in_(CLOSED_TICKET), SubjectKey.destroyed_at.is_(None))
        .order_by(Ticket.closed_at, Ticket.ticket_id)
    )
    for regime in packs.regimes():
        before = now - relativedelta(months=packs.get(regime).data.retention.register_months)
        over = session.scalars(query.where(Ticket.regime == regime, Ticket.closed_at < before))
        found += [ticket.ticket_id for ticket in over if free(ticket)]
    return found[:BATCH]


def _expired(
    session: Session, now: datetime, free: Callable[[Ticket], bool], *, without: set[str]
) -> list[tuple[str, tuple[str, ...]]]:
    query = (
        select(SealedItem)
        .where(SealedItem.expires_at <= now, SealedItem.ticket_id.is_not(None))
        .order_by(SealedItem.expires_at, SealedItem.item_id)
    )
    purposes: dict[str, set[str]] = {}
    for item in session.scalars(query):
        assert item.ticket_id is not None
        purposes.setdefault(item.ticket_id, set()).add(item.purpose)
    found: list[tuple[str, tuple[str, ...]]] = []
    for ticket_id, expired in purposes.items():
        if ticket_id not in without and free(session.get_one(Ticket, ticket_id)):
            found.append((ticket_id, tuple(sorted(expired | TOGETHER if expired & TOGETHER else expired))))
    return found[:BATCH]


def _still_needed(session: Session, ticket: Ticket, *, running: bool) -> str | None:
    if person_held(session, ticket):
        return "legal_hold"
    if ticket.status not in CLOSED_TICKET:
        return "open"
    if suppressions.active(session, ticket_id=ticket.ticket_id):
        return "suppressed"  # the rule is all that stands between the person and the model
    return "run_under_way" if running else None  # its steps read the items one after another


def _rechecks_before(installation: Installation, now: datetime) -> datetime:
    before: datetime = now - relativedelta(months=installation.settings.retention.recheck_months)
    return before
