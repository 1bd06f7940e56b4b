"""Legal holds as they concern a person: one on any ticket that shares an identifier keeps everything."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.store.tables import LookupHash, Ticket


def person_held(session: Session, ticket: Ticket) -> bool:
    """Whether this ticket, or another that shares an identifier, stands under a legal hold."""
    if ticket.legal_hold:
        return True
    mine = select(LookupHash.kind, LookupHash.hash).where(LookupHash.subject_ref == ticket.subject_ref).subquery()
    query = (
        select(Ticket.ticket_id)
        .join(LookupHash, LookupHash.subject_ref == Ticket.subject_ref)
        .join(mine, (mine.c.kind == LookupHash.kind) & (mine.c.hash == LookupHash.hash))
        .where(Ticket.legal_hold.is_(True))
        .limit(1)
    )
    return session.scalar(query) is not None
