"""Tables of the evidence: what became of a person's source records."""

from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from services.store.tables import Base, Code, Id


class Deletion(Base):
    """One source that a ticket's records are deleted from: counts and keyed digests, never the records themselves."""

    __tablename__ = "deletions"

    ticket_id: Mapped[str] = mapped_column(ForeignKey("tickets.ticket_id"), primary_key=True)
    source: Mapped[str] = mapped_column(Code, primary_key=True)
    kind: Mapped[str] = mapped_column(Code)
    status: Mapped[str] = mapped_column(Code, index=True)  # planned, tried, ordered, done, held, failed
    version: Mapped[int]  # raised by every change, so that the job of each is another
    asked: Mapped[int]  # records that were looked for
    held: Mapped[int]  # of them, those that a legal hold keeps
    rows_before: Mapped[int | None]
    found_before: Mapped[int | None]  # rows of the source that are the subject's
    rows_after: Mapped[int | None]
    found_after: Mapped[int | None]
    content_digest: Mapped[str | None] = mapped_column(Id)  # keyed, over the subject's rows as they were
    rest_before: Mapped[str | None] = mapped_column(Id)  # keyed, over all other rows
    rest_after: Mapped[str | None] = mapped_column(Id)
    reason_code: Mapped[str | None] = mapped_column(Code)
    planned_at: Mapped[datetime]
    tried_at: Mapped[datetime | None]
    ordered_by: Mapped[str | None] = mapped_column(String(200))
    ordered_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
