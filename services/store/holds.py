"""Legal holds as they concern a person: one on any ticket that shares an identifier keeps everything."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import Session, aliased

from services.store.tables import LookupHash, Ticket


def not_held() -> ColumnElement[bool]:
    """A condition for a query of tickets: neither they nor another that shares an identifier is under a legal hold.

    It is asked for each ticket alone, by the indexes: her hashes, who else has them, and those tickets.
    """
    other = aliased(Ticket)
    mine, theirs = aliased(LookupHash), aliased(LookupHash)
    held = (
        select(other.ticket_id)
        .select_from(mine)
        .join(theirs, (theirs.kind == mine.kind) & (theirs.hash == mine.hash))
        .join(other, other.subject_ref == theirs.subject_ref)
        .where(mine.subject_ref == Ticket.subject_ref, other.legal_hold.is_(True))
        .correlate(Ticket)
    )
    return and_(Ticket.legal_hold.is_(False), ~held.exists())


def person_held(session: Session, ticket: Ticket) -> bool:
    """Whether this ticket, or another that shares an identifier, stands under a legal hold."""
    return ticket.legal_hold or bool(held_among(session, [ticket.ticket_id]))


def held_among(session: Session, ticket_ids: Collection[str]) -> set[str]:
    """Of these tickets, those whose person is held."""
    return set(session.scalars(select(Ticket.ticket_id).where(Ticket.ticket_id.in_(ticket_ids), ~not_held())))


def same_person(session: Session, ticket: Ticket) -> list[str]:
    """Other tickets that share an identifier: perhaps the same person, perhaps a household."""
    mine = select(LookupHash.kind, LookupHash.hash).where(LookupHash.subject_ref == ticket.subject_ref).subquery()
    query = (
        select(Ticket.ticket_id)
        .join(LookupHash, LookupHash.subject_ref == Ticket.subject_ref)
        .join(mine, (mine.c.kind == LookupHash.kind) & (mine.c.hash == LookupHash.hash))
        .where(Ticket.ticket_id != ticket.ticket_id)
        .distinct()
        .order_by(Ticket.ticket_id)
    )
    return list(session.scalars(query))
