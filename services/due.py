"""How many open tickets are overdue, due soon, or due later: for the metrics and for whoever asks."""

from datetime import datetime, timedelta

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from policies.lifecycle import CLOSED_TICKET
from services import telemetry
from services.settings import Settings
from services.store import dialect
from services.store.engine import Store
from services.store.tables import Ticket

WHEN = ("overdue", "soon", "later", "undated")


def open_by_date(session: Session, *, now: datetime, soon_days: int) -> dict[str, int]:
    """Open tickets by when they are due; every class is there, also with 0.

    Args:
        session: A reading session.
        now: The present moment.
        soon_days: What is due within so many days is due soon.
    """
    soon = now + timedelta(days=soon_days)
    when = case(
        (Ticket.due_at.is_(None), "undated"),
        (Ticket.due_at < now, "overdue"),
        (Ticket.due_at < soon, "soon"),
        else_="later",
    )
    rows = session.execute(select(when, func.count()).where(Ticket.status.not_in(CLOSED_TICKET)).group_by(when))
    found: dict[str, int] = {str(name): int(number) for name, number in rows}
    return {name: found.get(name, 0) for name in WHEN}


def observe_due(store: Store, settings: Settings) -> None:
    """Let the metrics of this process tell it; for the intake, after ``telemetry.setup``."""

    def figures() -> list[tuple[float, dict[str, str]]]:
        with store.read() as session:
            found = open_by_date(session, now=dialect.clock(session), soon_days=settings.planning.soon_days)
        return [(number, {"lethe.when": name}) for name, number in found.items()]

    telemetry.observe("lethe.tickets.open", figures)
