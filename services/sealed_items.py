"""What is kept of an erased person, sealed under the person's own key: probes and replay rows; and a run's rows.

Every item has a purpose, a ground and an end (design.md, decision 12); the report lists what still exists.
"""

import json
from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from policies.errors import LetheError
from services import sealing
from services.store.tables import SealedItem
from services.store.types import utc_now

ACCESS = "access"  # what the served model said about the person, to be handed out (GDPR Art. 15)
AUGMENTED = "augmented"  # rows of a run that is under way; goes with the run
CLAIMS = "claims"  # what people saw the model say about them, until it is probes
PROBES = "probes"  # questions with gold answers, to measure the person again with every later release
REPLY_TO = "reply_to"  # the e-mail address that the answer goes to, where mail is sent
REPLAY = "replay"  # vague rows about the person, so that later trainings do not bring the person back
DELETION = "deletion"  # ids of the source records, until they are deleted from every source
SCORES = "scores"  # how each probe was scored at the last verdict: ids and figures
SUPPRESSION = "suppression"  # the rule of a suppression that was lifted, should a later release not hold


def put(
    session: Session,
    subject_ref: str,
    ticket_id: str,
    purpose: str,
    data: Any,
    *,
    ground: str,
    expires_at: datetime | None = None,
    at: datetime | None = None,
) -> None:
    """Seal JSON data; an item of the same ticket and purpose is replaced, so that a repeated step does no harm."""
    item_id = f"{ticket_id}.{purpose}"
    sealed = sealing.seal(session, subject_ref, json.dumps(data).encode(), purpose=purpose)
    session.merge(
        SealedItem(
            item_id=item_id,
            subject_ref=subject_ref,
            ticket_id=ticket_id,
            purpose=purpose,
            ciphertext=sealed,
            ground=ground,
            created_at=at or utc_now(),
            expires_at=expires_at,
        )
    )
    session.flush()


def get(session: Session, ticket_id: str, purpose: str) -> Any:
    """The data of an item.

    Raises:
        LetheError: ``seal.item_missing``; ``seal.key_destroyed`` or ``seal.corrupt``.
    """
    item = session.get(SealedItem, f"{ticket_id}.{purpose}")
    if item is None:
        raise LetheError("seal.item_missing", f"Nothing is sealed for the purpose {purpose} of this ticket.")
    return json.loads(sealing.open_sealed(session, item.subject_ref, item.ciphertext, purpose=purpose))


def tickets_with(session: Session, purpose: str) -> list[str]:
    """Tickets that have an item of a purpose, in the order of sealing."""
    query = select(SealedItem.ticket_id).where(SealedItem.purpose == purpose).order_by(SealedItem.created_at)
    return [ticket_id for ticket_id in session.scalars(query) if ticket_id is not None]


def items_of(session: Session, ticket_id: str) -> list[SealedItem]:
    """Every item of a ticket, for the report."""
    query = select(SealedItem).where(SealedItem.ticket_id == ticket_id).order_by(SealedItem.purpose)
    return list(session.scalars(query))


def drop(session: Session, ticket_id: str, purposes: Collection[str]) -> None:
    """Delete items; call ``Store.scrub`` after the transaction."""
    session.execute(delete(SealedItem).where(SealedItem.ticket_id == ticket_id, SealedItem.purpose.in_(purposes)))
