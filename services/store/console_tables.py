"""The console's own rows: who is logged in. Only the hash of a session's token is kept."""

from datetime import datetime

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from services.store.tables import Base, Code, Id, Ticket

Index("ix_tickets_status_due_at_ticket_id", Ticket.status, Ticket.due_at, Ticket.ticket_id)  # the board's order


class ConsoleSession(Base):
    """One log-in of one browser; it ends by itself, by logging out, or with the key it was opened with."""

    __tablename__ = "console_sessions"

    session_hash: Mapped[str] = mapped_column(Id, primary_key=True)
    kind: Mapped[str] = mapped_column(Code)  # key or person: whose row is asked again at each request
    key_id: Mapped[str] = mapped_column(String(200))  # of the key, or of the account
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
