"""How a ticket ends that swaps nothing (denied, withdrawn, nothing found): its report, and the raw identity's end."""

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from policies.lifecycle import TicketStatus
from services import audit
from services.installation import Installation
from services.people import notices, sending
from services.reports.collect import report_ticket
from services.request import request_of
from services.store.engine import Store
from services.store.tables import ForgetSet, Report, SealedIdentity, Ticket
from services.store.tickets import get_ticket
from services.store.types import utc_now

WITHOUT_SWAP = (TicketStatus.DENIED.value, TicketStatus.CANCELLED.value, TicketStatus.NOTHING_FOUND.value)


def due(session: Session) -> list[str]:
    """Tickets that ended without a swap and whose raw identity is still there."""
    query = select(Ticket.ticket_id).join(SealedIdentity, SealedIdentity.subject_ref == Ticket.subject_ref)
    return list(session.scalars(query.where(Ticket.status.in_(WITHOUT_SWAP)).order_by(Ticket.closed_at)))


def close(installation: Installation, store: Store, ticket_id: str) -> bool:
    """Destroys the raw identity and writes the report without its model part; doing it again changes nothing.

    The words of reasons and letters stay sealed under the person's key, since an answer may still have to be shown.
    """
    with store.write() as session:
        ticket = get_ticket(session, ticket_id, lock=True)
        if ticket.status not in WITHOUT_SWAP:
            return False
        gone = session.get(SealedIdentity, ticket.subject_ref)
        if gone is not None:
            _keep_evidence(session, ticket)
            sending.keep_address(session, ticket, installation.settings.mail, at=utc_now())
            session.execute(delete(SealedIdentity).where(SealedIdentity.subject_ref == ticket.subject_ref))
            settled = session.get(ForgetSet, ticket_id)
            if settled is not None:
                settled.ciphertext = None
            dropped = notices.drop_unsent(session, ticket_id)
            payload = {"ticket_id": ticket_id, "notices_dropped": dropped}
            audit.append(
                session, kind="ticket.identity_deleted", payload=payload, subject_ref=ticket.subject_ref, at=utc_now()
            )
    store.scrub()
    with store.read() as session:
        written = session.get(Report, ticket_id)
        closed_at = get_ticket(session, ticket_id).closed_at
    if gone is not None or written is None or (closed_at is not None and written.created_at < closed_at):
        report_ticket(installation, store, ticket_id)
    return gone is not None


def _keep_evidence(session: Session, ticket: Ticket) -> None:
    """How the requester was recognised holds a reference only; it outlives the raw identity."""
    evidence = None if "identity" in ticket.acts else request_of(session, ticket).identity
    if evidence is not None:
        ticket.acts = {**ticket.acts, "identity": evidence.model_dump(mode="json")}
