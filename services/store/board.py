"""Tickets in the order of their deadlines, a page at a time, and how many there are of what."""

import heapq
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from policies.deadlines import local_date
from services.store.tables import Ticket
from services.store.tickets import zone_of

Place = tuple[datetime, str]  # (due_at, ticket_id) of the last ticket seen
_ANY_ID = 200
_ZONES = timedelta(hours=14)  # how far a local calendar lies from that of UTC at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which tickets of a board.

    Attributes:
        statuses: One or more.
        regime: Only this one; empty: all.
        due_from: Only what is due then or later.
        due_before: Only what is due before.
        due_at: Only what is due at one of these moments.
    """

    statuses: tuple[str, ...]
    regime: str = ""
    due_from: datetime | None = None
    due_before: datetime | None = None
    due_at: tuple[datetime, ...] | None = None


def board(session: Session, wanted: Wanted, *, after: Place | None = None, limit: int = 50) -> list[Ticket]:
    """Tickets, the one that is due first before all others; equal ones by id.

    Each status is read for itself, in the order of the index, and the heads are merged: the cost is that of a page,
    however many tickets there are.
    """
    pages = [list(session.scalars(_of(wanted, status, after).limit(limit))) for status in wanted.statuses]
    return list(islice(heapq.merge(*pages, key=_order), limit))


def undated(session: Session, wanted: Wanted, *, limit: int = 50) -> list[Ticket]:
    """Tickets without a deadline, which no order of deadlines would show."""
    query = select(Ticket).where(Ticket.status.in_(wanted.statuses), Ticket.due_at.is_(None))
    if wanted.regime:
        query = query.where(Ticket.regime == wanted.regime)
    return list(session.scalars(query.order_by(Ticket.ticket_id).limit(limit)))


def by_status(session: Session) -> Counter[str]:
    """How many tickets have each status."""
    found: Counter[str] = Counter()
    for status, number in session.execute(select(Ticket.status, func.count()).group_by(Ticket.status)):
        found[status] = number
    return found


def count_due(session: Session, statuses: Collection[str], *, before: datetime) -> int:
    """How many tickets are due before a moment."""
    query = select(func.count()).select_from(Ticket).where(Ticket.status.in_(statuses), Ticket.due_at < before)
    return session.scalar(query) or 0


def due_days(
    session: Session, statuses: Collection[str], *, first: date, last: date, zone: str
) -> list[tuple[date, datetime, int]]:
    """The deadlines that end on the days of a stretch: day, moment, and how many tickets have it.

    A day is that of the ticket's own zone. There are few, since a deadline ends with its day; so one ticket of each
    moment and law tells the zone of all.

    Args:
        session: Any session.
        statuses: Of tickets.
        first: The first day.
        last: The last one, included.
        zone: Of a ticket that was not decided yet.
    """
    since = datetime.combine(first, time(), UTC) - _ZONES
    before = datetime.combine(last + timedelta(days=1), time(), UTC) + _ZONES
    alike = (
        select(func.min(Ticket.ticket_id).label("one"), func.count().label("number"))
        .where(Ticket.status.in_(statuses), Ticket.due_at >= since, Ticket.due_at < before)
        .group_by(Ticket.due_at, Ticket.regime)
        .subquery()
    )
    query = select(Ticket, alike.c.number).join(alike, alike.c.one == Ticket.ticket_id).order_by(Ticket.due_at)
    found = []
    for ticket, number in session.execute(query):
        assert ticket.due_at is not None
        found.append((local_date(ticket.due_at, zone_of(ticket, zone)), ticket.due_at, number))
    return [one for one in found if first <= one[0] <= last]


def called(session: Session, name: str, *, limit: int = 50) -> list[Ticket]:
    """Tickets with this id, or with this id at whoever sent them."""
    if not 0 < len(name) <= _ANY_ID:
        return []
    query = select(Ticket).where(or_(Ticket.ticket_id == name, Ticket.external_id == name))
    return list(session.scalars(query.order_by(Ticket.received_at, Ticket.ticket_id).limit(limit)))


def _of(wanted: Wanted, status: str, after: Place | None) -> Select[Ticket]:
    query = select(Ticket).where(Ticket.status == status, Ticket.due_at.is_not(None))
    query = query.order_by(Ticket.due_at, Ticket.ticket_id)
    if wanted.regime:
        query = query.where(Ticket.regime == wanted.regime)
    if wanted.due_from is not None:
        query = query.where(Ticket.due_at >= wanted.due_from)
    if wanted.due_before is not None:
        query = query.where(Ticket.due_at < wanted.due_before)
    if wanted.due_at is not None:
        query = query.where(Ticket.due_at.in_(wanted.due_at))
    if after is not None:
        due_at, ticket_id = after
        # The first condition is implied by the second, and is the one that an index can begin with.
        query = query.where(Ticket.due_at >= due_at, or_(Ticket.due_at > due_at, Ticket.ticket_id > ticket_id))
    return query


def _order(ticket: Ticket) -> Place:
    assert ticket.due_at is not None
    return ticket.due_at, ticket.ticket_id
