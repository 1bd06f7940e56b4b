"""The one front of all protocols: a sender's message, already in our words, is filed at the desk."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from policies.canonical import canonical_json
from policies.errors import LetheError
from policies.ticket import Channel
from services import sealing
from services.intake.desk import Desk
from services.intake.protocols.installation_seal import seal_text
from services.intake.protocols.senders import identity_of_sender
from services.intake.protocols.shapes import Shaped
from services.store.callbacks import queue_callbacks
from services.store.protocol_tables import Sender, SentTicket
from services.store.tables import Ticket

ATTESTED = "controller_attested"


def file_shaped(
    desk: Desk,
    sender: Sender,
    shaped: Shaped,
    message: dict[str, Any],
    *,
    channel: Channel,
    now: datetime,
    callback_urls: Sequence[str] = (),
    trace_id: str | None = None,
) -> tuple[str, bool]:
    """Files a sender's message once; the ticket's id, and whether it is new.

    Args:
        desk: Where tickets are filed.
        sender: Who sent it, already recognised.
        shaped: The message in our words.
        message: The message as it was sent: what tells "sent twice" from "id used again".
        channel: The way it came in.
        now: The present moment.
        callback_urls: Whom to tell what becomes of it; checked already.
        trace_id: Of the request.

    Raises:
        LetheError: ``sender.may_not_attest``, and whatever ``Desk.file`` raises.
    """
    if shaped.attested and not sender.attests:
        raise LetheError("sender.may_not_attest", "This sender's word about the identity does not count.")
    said = canonical_json(message)
    reference = _digest_of(desk, said) if shaped.nameless else shaped.reference
    given = external_id(sender.sender_id, reference) if isinstance(reference, str) else reference
    fields = {"regime": sender.regime, "base": sender.base, **shaped.fields, "channel": channel, "external_id": given}
    ticket = {name: value for name, value in fields.items() if value is not None}
    if sender.attests and "identity" not in ticket and isinstance(reference, str):
        ticket["identity"] = {
            "method": ATTESTED,
            "verified": True,
            "evidence_ref": ticket["external_id"],
            "verified_at": now.isoformat(),
            "verified_by": sender.sender_id,
        }

    def beside(session: Session, filed: Ticket) -> None:
        urls = json.dumps(list(callback_urls))
        session.add(
            SentTicket(
                ticket_id=filed.ticket_id,
                sender_id=sender.sender_id,
                reference=str(reference),
                callback_urls=seal_text(session, urls, f"callbacks/{filed.ticket_id}") if callback_urls else None,
                callbacks=len(callback_urls),
                created_at=now,
            )
        )
        session.flush()
        queue_callbacks(session, filed, at=now)  # receipt, which was recorded before this row was there

    body = json.dumps(ticket).encode()
    return desk.file(body, identity_of_sender(sender), trace_id=trace_id, said=said, beside=beside)


def external_id(sender_id: str, reference: str) -> str:
    """A ticket's id in its channel: no sender can meet another's."""
    return f"{sender_id}/{reference}"


def _digest_of(desk: Desk, said: bytes) -> str:
    """Stands for a message that has no id of its own; keyed, since the message holds an identity."""
    with desk.store.read() as session:
        return sealing.ring_of(session).keyed_digest(said)[:32]
