"""The register of recipients (GDPR Art. 19): to whom data about people, or adapters of the model, went."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from policies.errors import LetheError
from services import audit
from services.store.people_tables import Recipient

KINDS = ("data", "model")


def add(session: Session, recipient_id: str, kind: str, base: str | None, *, actor: str, at: datetime) -> Recipient:
    """Registers a recipient, or takes one back that was removed; the same again changes nothing.

    Raises:
        LetheError: ``recipient.exists`` with another kind or base.
    """
    row = session.get(Recipient, recipient_id)
    if row is not None and (row.kind, row.base) != (kind, base):
        raise LetheError("recipient.exists", "This code stands for another recipient.")
    if row is not None and row.removed_at is None:
        return row
    if row is None:
        row = Recipient(recipient_id=recipient_id, kind=kind, base=base, added_by=actor, added_at=at)
        session.add(row)
    row.removed_at = None
    session.flush()
    payload = {"recipient": recipient_id, "recipient_kind": kind, "actor": actor}
    audit.append(session, kind="recipient.added", payload=payload, at=at)
    return row


def remove(session: Session, recipient_id: str, *, actor: str, at: datetime) -> None:
    """No new notices for this recipient; those that were made stay due.

    Raises:
        LetheError: ``recipient.not_found``.
    """
    row = session.get(Recipient, recipient_id)
    if row is None:
        raise LetheError("recipient.not_found", "There is no such recipient.")
    if row.removed_at is None:
        row.removed_at = at
        payload = {"recipient": recipient_id, "actor": actor}
        audit.append(session, kind="recipient.removed", payload=payload, at=at)


def list_recipients(session: Session) -> list[Recipient]:
    """All of them, those that were removed too."""
    return list(session.scalars(select(Recipient).order_by(Recipient.recipient_id)))
