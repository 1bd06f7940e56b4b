"""The outbox of callbacks: a message is queued in the very transaction that changes a ticket's status."""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from policies.lifecycle import TicketStatus
from services import audit
from services.store.protocol_tables import Callback, SentTicket
from services.store.tables import Ticket
from services.store.types import new_id

OPEN, DELIVERED, GIVEN_UP = "open", "delivered", "given_up"
# OpenDSR has four words. A denied request is no fulfilled one, so it is told as cancelled, never as completed; the
# extension says which it is.
REQUEST_STATUS: dict[TicketStatus, str] = {
    TicketStatus.RECEIVED: "pending",
    TicketStatus.AWAITING_IDENTITY: "pending",
    TicketStatus.AWAITING_APPROVAL: "pending",
    TicketStatus.ON_HOLD: "pending",
    TicketStatus.APPROVED: "in_progress",
    TicketStatus.AWAITING_REVIEW: "in_progress",
    TicketStatus.READY: "in_progress",
    TicketStatus.IN_RUN: "in_progress",
    TicketStatus.REJECTED: "in_progress",
    TicketStatus.QUARANTINED: "in_progress",
    TicketStatus.FAILED: "in_progress",
    TicketStatus.COMPLETED: "completed",
    TicketStatus.NOTHING_FOUND: "completed",
    TicketStatus.DENIED: "cancelled",
    TicketStatus.CANCELLED: "cancelled",
}


def queue_callbacks(session: Session, ticket: Ticket, *, at: datetime) -> None:
    """Queue one message for every address that the ticket's sender gave; most tickets have none."""
    sent = session.get(SentTicket, ticket.ticket_id)
    for number in range(sent.callbacks if sent else 0):
        session.add(
            Callback(
                callback_id=new_id("c"),
                ticket_id=ticket.ticket_id,
                number=number,
                sequence=ticket.version,
                request_status=REQUEST_STATUS[TicketStatus(ticket.status)],
                ticket_status=ticket.status,
                reason_code=ticket.reason_code,
                expected_at=ticket.due_at,
                state=OPEN,
                attempts=0,
                next_at=at,
                made_at=at,
            )
        )


def due_callbacks(session: Session, now: datetime, *, limit: int = 50) -> list[tuple[str, int]]:
    """(id, attempts so far) of messages to be sent now; to one address in the order of the changes, one at a time."""
    first = (
        select(Callback.ticket_id, Callback.number, func.min(Callback.sequence).label("sequence"))
        .where(Callback.state == OPEN)
        .group_by(Callback.ticket_id, Callback.number)
        .subquery()
    )
    query = (
        select(Callback.callback_id, Callback.attempts)
        .join(
            first,
            (first.c.ticket_id == Callback.ticket_id)
            & (first.c.number == Callback.number)
            & (first.c.sequence == Callback.sequence),
        )
        .where(Callback.state == OPEN, Callback.next_at <= now)
        .order_by(Callback.next_at, Callback.callback_id)
        .limit(limit)
    )
    return [(callback_id, attempts) for callback_id, attempts in session.execute(query)]


def list_callbacks(session: Session, *, state: str | None = None, limit: int = 100) -> list[Callback]:
    """Messages of all tickets, the newest first."""
    query = select(Callback).order_by(Callback.made_at.desc(), Callback.callback_id).limit(limit)
    return list(session.scalars(query if state is None else query.where(Callback.state == state)))


def retry_callbacks(session: Session, *, ticket_id: str | None, actor: str, at: datetime) -> list[str]:
    """Open the messages again that were given up, of one ticket or of all; their ids. Delivered ones stay.

    They begin anew with their attempts; those to one address go out in the order of the changes, as before.
    """
    query = select(Callback).where(Callback.state == GIVEN_UP).order_by(Callback.sequence, Callback.callback_id)
    rows = list(session.scalars(query if ticket_id is None else query.where(Callback.ticket_id == ticket_id)))
    for row in rows:
        row.state, row.attempts, row.next_at, row.ended_at = OPEN, 0, at, None
        facts = {"ticket_id": row.ticket_id, "callback_id": row.callback_id, "actor": actor}
        audit.append(session, kind="callback.retried", payload=facts, at=at)
    return [row.callback_id for row in rows]


def callbacks_of(session: Session, ticket_id: str) -> list[Callback]:
    """What was told about a ticket, for its page and its report."""
    query = select(Callback).where(Callback.ticket_id == ticket_id).order_by(Callback.sequence, Callback.number)
    return list(session.scalars(query))
