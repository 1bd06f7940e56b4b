"""Rows of what is deleted from which source, for which ticket."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.store.evidence_tables import Deletion

PLANNED = "planned"
TRIED = "tried"  # looked for, and waits for an order
ORDERED = "ordered"
DONE = "done"
HELD = "held"  # a legal hold keeps some or all of the records
FAILED = "failed"
DUE = (PLANNED, ORDERED)
WAITING = (TRIED, HELD, FAILED)  # an order is what is missing, or another try


def of_ticket(session: Session, ticket_id: str) -> list[Deletion]:
    """Every source of a ticket, by name."""
    query = select(Deletion).where(Deletion.ticket_id == ticket_id).order_by(Deletion.source)
    return list(session.scalars(query))


def all_rows(session: Session, *, status: str | None = None, limit: int = 1000) -> list[Deletion]:
    """Deletions, the oldest first."""
    query = select(Deletion) if status is None else select(Deletion).where(Deletion.status == status)
    return list(session.scalars(query.order_by(Deletion.planned_at, Deletion.ticket_id, Deletion.source).limit(limit)))


def due(session: Session) -> dict[str, int]:
    """Tickets with something to do, and a number that every change raises."""
    waiting = select(Deletion.ticket_id).where(Deletion.status.in_(DUE))
    found: dict[str, int] = {}
    for row in session.scalars(select(Deletion).where(Deletion.ticket_id.in_(waiting))):
        found[row.ticket_id] = found.get(row.ticket_id, 0) + row.version
    return found


def stuck(session: Session, before: datetime) -> list[Deletion]:
    """Held or failed, and not tried since a moment."""
    query = select(Deletion).where(Deletion.status.in_((HELD, FAILED)), Deletion.ended_at < before)
    return list(session.scalars(query))
