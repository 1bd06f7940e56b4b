"""The request as it was filed, sealed under the subject's own key until the ticket is closed."""

from datetime import datetime

from sqlalchemy.orm import Session

from policies.errors import LetheError
from policies.ticket import TicketRequest
from services import sealing
from services.store.tables import SealedIdentity, Ticket

_PURPOSE = "identity"


def keep_request(session: Session, subject_ref: str, request: TicketRequest, *, at: datetime) -> None:
    """Seal a request that has just been filed."""
    sealed = sealing.seal(session, subject_ref, request.model_dump_json().encode(), purpose=_PURPOSE)
    session.add(SealedIdentity(subject_ref=subject_ref, ciphertext=sealed, created_at=at))


def request_of(session: Session, ticket: Ticket) -> TicketRequest:
    """The request as it was filed, unsealed; never logged.

    Raises:
        LetheError: ``seal.key_destroyed`` once the ticket was closed and its identity deleted.
    """
    sealed = session.get(SealedIdentity, ticket.subject_ref)
    if sealed is None:
        raise LetheError("seal.key_destroyed", "The identity of this ticket was deleted.")
    raw = sealing.open_sealed(session, ticket.subject_ref, sealed.ciphertext, purpose=_PURPOSE)
    return TicketRequest.model_validate_json(raw)
