"""Tables about people's accounts, and about what people decide around a ticket."""

from datetime import datetime

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from services.store.tables import Base, Code, Id


class Account(Base):
    """Somebody who logged in at an identity provider: no name, and the provider's id only as a keyed hash."""

    __tablename__ = "accounts"
    __table_args__ = (UniqueConstraint("issuer", "subject_hash"),)

    account_id: Mapped[str] = mapped_column(Id, primary_key=True)
    issuer: Mapped[str] = mapped_column(String(500))
    subject_hash: Mapped[str] = mapped_column(Id)
    role: Mapped[str] = mapped_column(Code)
    first_seen_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    blocked_at: Mapped[datetime | None]


class Exemption(Base):
    """What of one ticket's person is kept, and why; the words of the reason are sealed in the ticket's history."""

    __tablename__ = "exemptions"

    exemption_id: Mapped[str] = mapped_column(Id, primary_key=True)
    ticket_id: Mapped[str] = mapped_column(ForeignKey("tickets.ticket_id"), index=True)
    category: Mapped[str | None] = mapped_column(String(100))
    record_id: Mapped[str | None] = mapped_column(String(200))
    code: Mapped[str] = mapped_column(Code)
    article: Mapped[str] = mapped_column(String(120))
    decided_by: Mapped[str] = mapped_column(String(200))
    decided_at: Mapped[datetime]
    review_by: Mapped[datetime] = mapped_column(index=True)
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[str | None] = mapped_column(String(200))


class Recipient(Base):
    """Somebody to whom data or adapters went (GDPR Art. 19): a code, no name and no address."""

    __tablename__ = "recipients"

    recipient_id: Mapped[str] = mapped_column(Id, primary_key=True)
    kind: Mapped[str] = mapped_column(Code)  # data, model
    base: Mapped[str | None] = mapped_column(String(200))  # of this base only; None: of every one
    added_by: Mapped[str] = mapped_column(String(200))
    added_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]


class Notice(Base):
    """A letter to the subject or a notice to a recipient; its text is sealed under the subject's key."""

    __tablename__ = "notices"
    __table_args__ = (UniqueConstraint("ticket_id", "letter", "recipient_id"),)

    notice_id: Mapped[str] = mapped_column(Id, primary_key=True)
    ticket_id: Mapped[str] = mapped_column(ForeignKey("tickets.ticket_id"), index=True)
    letter: Mapped[str] = mapped_column(Code)
    recipient_id: Mapped[str] = mapped_column(Id)  # empty: the subject
    status: Mapped[str] = mapped_column(Code, index=True)  # made, sending, sent, impossible, dropped
    digest: Mapped[str] = mapped_column(Id)  # keyed
    ciphertext: Mapped[bytes | None]
    made_by: Mapped[str] = mapped_column(String(200))
    made_at: Mapped[datetime]
    sent_by: Mapped[str | None] = mapped_column(String(200))
    sent_at: Mapped[datetime | None]
    way: Mapped[str | None] = mapped_column(Code)  # email, post, portal
    attempts: Mapped[int] = mapped_column(default=0, server_default="0")  # by mail
    failed_code: Mapped[str | None] = mapped_column(Code)  # what stood in the way of the last one
    next_at: Mapped[datetime | None]  # not tried again by itself before
