"""Tables of the intake's protocols: who may send, what was said to whom, batches, and requests from the web form.

Everything that a sender or a stranger wrote is sealed under a key of the installation; the ticket's own subject has the
rest.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from services.store.tables import Base, Code, Id


class Sender(Base):
    """A system that files tickets: how it proves who it is, and what it may say."""

    __tablename__ = "senders"

    sender_id: Mapped[str] = mapped_column(Code, primary_key=True)
    kind: Mapped[str] = mapped_column(Code)  # webhook, transcend, onetrust, kertos, opendsr, csv
    base: Mapped[str | None] = mapped_column(String(200))  # stands in where a message names none
    regime: Mapped[str | None] = mapped_column(Code)
    attests: Mapped[bool]  # whether its word that the person was recognised counts
    key_id: Mapped[str | None] = mapped_column(Id, index=True)  # its API key, where it shows one
    secret: Mapped[bytes | None]  # sealed; of its signatures
    old_secret: Mapped[bytes | None]  # counts beside the new one until ``old_until``
    old_until: Mapped[datetime | None]
    public_key: Mapped[str | None] = mapped_column(Text)  # PEM; of its tokens
    domains: Mapped[list[str]]  # hosts to which callbacks may go
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class SentTicket(Base):
    """Which sender a ticket came from, and whom to tell what becomes of it."""

    __tablename__ = "sent_tickets"

    ticket_id: Mapped[str] = mapped_column(ForeignKey("tickets.ticket_id"), primary_key=True)
    sender_id: Mapped[str] = mapped_column(ForeignKey("senders.sender_id"), index=True)
    reference: Mapped[str] = mapped_column(String(200))  # the sender's own id
    callback_urls: Mapped[bytes | None]  # sealed: a path may name somebody
    callbacks: Mapped[int]  # how many addresses that are
    created_at: Mapped[datetime]


class Callback(Base):
    """One message to one address of a sender: kept until it is delivered or given up."""

    __tablename__ = "callbacks"
    __table_args__ = (Index("ix_callbacks_state_next_at", "state", "next_at"),)

    callback_id: Mapped[str] = mapped_column(Id, primary_key=True)
    ticket_id: Mapped[str] = mapped_column(ForeignKey("tickets.ticket_id"), index=True)
    number: Mapped[int]  # which of the sender's addresses
    sequence: Mapped[int]  # the ticket's version: to one address in this order
    request_status: Mapped[str] = mapped_column(Code)
    ticket_status: Mapped[str] = mapped_column(Code)
    expected_at: Mapped[datetime | None]
    state: Mapped[str] = mapped_column(Code)  # open, delivered, given_up
    attempts: Mapped[int]
    next_at: Mapped[datetime]
    answer: Mapped[int | None]  # HTTP status of the last attempt
    reason_code: Mapped[str | None] = mapped_column(Code)  # the ticket's
    failed_code: Mapped[str | None] = mapped_column(Code)  # of the last attempt
    made_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class Batch(Base):
    """A file of requests: each row is filed once, however often the file is sent."""

    __tablename__ = "batches"

    batch_id: Mapped[str] = mapped_column(Id, primary_key=True)
    sender_id: Mapped[str] = mapped_column(ForeignKey("senders.sender_id"), index=True)
    rows: Mapped[int]
    counts: Mapped[dict[str, Any]]
    filed_at: Mapped[datetime]


class BatchRow(Base):
    """What became of one row."""

    __tablename__ = "batch_rows"

    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.batch_id"), primary_key=True)
    row: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    outcome: Mapped[str] = mapped_column(Code)  # filed, known, refused
    ticket_id: Mapped[str | None] = mapped_column(ForeignKey("tickets.ticket_id"))
    code: Mapped[str | None] = mapped_column(Code)
    fields: Mapped[list[str]]  # paths of what is wrong, never values


class FormRequest(Base):
    """A request of the web form that waits for the code which went to the address that it names."""

    __tablename__ = "form_requests"

    form_id: Mapped[str] = mapped_column(Id, primary_key=True)
    address_hash: Mapped[str] = mapped_column(Id, index=True)  # under the look-up key
    code_hash: Mapped[str] = mapped_column(Id)  # keyed
    attempts: Mapped[int]
    asked: Mapped[bytes | None]  # sealed; gone once it is used or lapsed
    made_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    mailed_at: Mapped[datetime | None]
    ticket_id: Mapped[str | None] = mapped_column(ForeignKey("tickets.ticket_id"))
