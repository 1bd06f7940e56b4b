"""A ticket that repeats another one: linked by a person, and never a way round the identity check.

Both tickets must have shown on their own who asks. A ticket whose requester was not recognised can be linked to
nothing, so that nobody borrows another ticket's check or ends another person's request by claiming to be them.

A repetition asks for nothing that the other ticket does not ask for, and that ticket is not withdrawn any more (the
lifecycle's guard): the raw identity of a repetition is gone, so it could not go on where the other one left off.
"""

from datetime import datetime
from fnmatch import fnmatchcase

from sqlalchemy import select
from sqlalchemy.orm import Session

from policies.errors import LetheError
from policies.lifecycle import TicketEvent, TicketStatus
from services.store.tables import LookupHash, Ticket
from services.store.tickets import REPEATED_BY, decision_of, get_ticket, transition_ticket

CODE = "duplicate"
_ENDED_WITHOUT = frozenset({TicketStatus.DENIED, TicketStatus.CANCELLED})


def link(
    session: Session, ticket: Ticket, original_id: str, candidates: list[str], *, actor: str, reason: str, at: datetime
) -> None:
    """Closes ``ticket`` as a repetition of another one, whose answer is its answer; twice is once.

    Args:
        session: A writing session.
        ticket: The later one, locked.
        original_id: The one that goes on.
        candidates: Tickets that share an identifier with ``ticket``.
        actor: Who looked.
        reason: Why they are the same request; sealed.
        at: When.

    Raises:
        LetheError: ``duplicate.refused`` with what stands against it; ``ticket.not_found``, ``lifecycle.guarded``.
    """
    if ticket.acts.get("duplicate_of") == original_id:
        return
    original = get_ticket(session, original_id, lock=True)
    faults = []
    if original_id == ticket.ticket_id:
        faults.append("a ticket does not repeat itself")
    elif original_id not in candidates:
        faults.append("the two share no identifier")
    if not ticket.identity_verified:
        faults.append("the identity of this ticket is not verified")
    if not original.identity_verified:
        faults.append("the identity of the other ticket is not verified")
    if original.base != ticket.base or original.regime != ticket.regime:
        faults.append("they are of another base or law")
    if _identifiers(session, ticket) - _identifiers(session, original):
        faults.append("this ticket names identifiers that the other one does not")
    if not _covers(original, ticket):
        faults.append("this ticket asks for categories that the other one does not")
    if ticket.acts.get(REPEATED_BY):
        faults.append("this ticket has repetitions itself")
    if original.acts.get("duplicate_of"):
        faults.append("the other ticket is itself a repetition")
    if original.status in _ENDED_WITHOUT:
        faults.append("the other ticket ended without an erasure")
    if original.received_at > ticket.received_at:
        faults.append("the other ticket is the later one: its deadline is later")
    if faults:
        raise LetheError("duplicate.refused", "This ticket cannot be closed as a repetition.", tuple(faults))
    transition_ticket(
        session,
        ticket.ticket_id,
        TicketEvent.CANCEL,
        actor=actor,
        reason=reason,
        reason_code=CODE,
        facts={"duplicate_of": original_id},
        at=at,
    )
    ticket.acts = {**ticket.acts, "duplicate_of": original_id}
    original.acts = {**original.acts, REPEATED_BY: [*original.acts.get(REPEATED_BY, ()), ticket.ticket_id]}


def _identifiers(session: Session, ticket: Ticket) -> set[tuple[str, str]]:
    query = select(LookupHash.kind, LookupHash.hash).where(LookupHash.subject_ref == ticket.subject_ref)
    return {(kind, found) for kind, found in session.execute(query)}


def _covers(original: Ticket, ticket: Ticket) -> bool:
    wide = decision_of(original).scope
    return all(any(fnmatchcase(asked, pattern) for pattern in wide) for asked in decision_of(ticket).scope)
