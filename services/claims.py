"""Regurgitation claims: what somebody saw the model say about a person, sealed with that person's ticket.

A claim says the prompt, the output and how it came about. A run makes a probe of it (``services.unlearning.material``),
so the verdict asks the very thing that was seen.
"""

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from policies.canonical import canonical_json
from policies.errors import LetheError
from policies.lifecycle import CLOSED_TICKET, TicketStatus
from services import audit, sealed_items, sealing
from services.store.tables import TicketEvent
from services.store.tickets import get_ticket

MOST = 20
GROUND = "GDPR Art. 5(2)"
FILED = "claim_filed"


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim.

    Attributes:
        claim_id: The sender's own id; the same twice is the same claim.
        prompt: What was asked.
        output: What the model said.
        how: How to reproduce it (settings, attempts), in words.
        model: The model's public name, as far as it is known.
        seen_at: When, as RFC 3339.
    """

    claim_id: str
    prompt: str
    output: str
    how: str = ""
    model: str = ""
    seen_at: str = ""


def add_claim(
    session: Session, ticket_id: str, claim: Claim, *, actor: str, expires_at: datetime, at: datetime
) -> bool:
    """Seal a claim; whether it is new.

    Raises:
        LetheError: ``ticket.not_found``; ``claim.too_late`` once a run works on the ticket, or it is closed;
            ``claim.too_many``; ``ticket.conflict`` for the same id with other words.
    """
    ticket = get_ticket(session, ticket_id, lock=True)
    known = {one.claim_id: one for one in claims_of(session, ticket_id)}
    if claim.claim_id in known:
        if known[claim.claim_id] != claim:
            raise LetheError("ticket.conflict", "This claim's id was used before, with other words.")
        return False
    status = TicketStatus(ticket.status)
    if status in CLOSED_TICKET or status is TicketStatus.IN_RUN:
        raise LetheError("claim.too_late", "No claim can be measured for this ticket any more.")
    if len(known) >= MOST:
        raise LetheError("claim.too_many", f"There are {MOST} claims of this ticket already.")
    said = [asdict(one) for one in (*known.values(), claim)]
    sealed_items.put(
        session, ticket.subject_ref, ticket_id, sealed_items.CLAIMS, said, ground=GROUND, expires_at=expires_at, at=at
    )
    event = TicketEvent(
        ticket_id=ticket_id, at=at, event=FILED, from_status=ticket.status, to_status=ticket.status, actor=actor
    )
    session.add(event)
    digest = sealing.ring_of(session).keyed_digest(canonical_json(asdict(claim)))
    facts = {"ticket_id": ticket_id, "claim": digest, "number": len(said), "actor": actor}
    audit.append(session, kind="ticket.claim_filed", payload=facts, subject_ref=ticket.subject_ref, at=at)
    return True


def claims_of(session: Session, ticket_id: str) -> list[Claim]:
    """The claims of a ticket, unsealed, in the order of filing; none once they were deleted."""
    try:
        rows = sealed_items.get(session, ticket_id, sealed_items.CLAIMS)
    except LetheError as error:
        if error.code != "seal.item_missing":
            raise
        return []
    return [Claim(**row) for row in rows]
