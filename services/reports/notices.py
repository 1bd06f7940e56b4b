"""Who was told (point 11 of the report): letters to the subject, notices to recipients, callbacks to senders."""

from sqlalchemy.orm import Session

from services.people import notices
from services.reports.data import NoticePart
from services.store.callbacks import callbacks_of
from services.store.protocol_tables import SentTicket
from services.store.tables import Ticket


def notices_of(session: Session, ticket: Ticket) -> tuple[NoticePart, ...] | None:
    """What went out or was given up, in the order of time; None where nothing is recorded, which the report says."""
    parts = sorted([*_letters(session, ticket), *_callbacks(session, ticket)], key=lambda part: part.sent_at)
    return tuple(parts) or None


def _letters(session: Session, ticket: Ticket) -> list[NoticePart]:
    return [
        NoticePart(
            to="recipient" if row.recipient_id else "subject",
            recipient=row.recipient_id or None,
            letter=row.letter,
            sent_at=row.sent_at,
        )
        for row in notices.of_ticket(session, ticket.ticket_id)
        if row.sent_at is not None
    ]


def _callbacks(session: Session, ticket: Ticket) -> list[NoticePart]:
    """By the sender's id, never by an address."""
    sent = session.get(SentTicket, ticket.ticket_id)
    return [
        NoticePart(
            to="callback",
            recipient=sent.sender_id if sent else None,
            sent_at=row.ended_at,
            outcome=row.state,
            attempts=row.attempts,
        )
        for row in callbacks_of(session, ticket.ticket_id)
        if row.ended_at is not None
    ]
