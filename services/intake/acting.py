"""An act on a ticket: one transaction with decision, status, history and audit entry, or none of it.

What runs for long (forget set, run, swap) is not done here; ``on_change`` tells whoever does it, after the commit.
"""

from collections.abc import Callable, Collection
from datetime import datetime

from sqlalchemy.orm import Session

from policies.errors import LetheError
from policies.lifecycle import TICKET, TicketContext, TicketEvent, TicketStatus
from services import suppression
from services.auth import Identity
from services.intake.deciding import Deciding
from services.intake.packs import Packs
from services.store.engine import Store
from services.store.runs import stop_runs_of
from services.store.tables import Ticket
from services.store.tickets import get_ticket, transition_ticket
from services.store.types import utc_now

Changed = Callable[[str, str], object]


class Acting:
    """What every act needs.

    Args:
        store: Opened with keys.
        packs: Of the installation.
        zone: The controller's time zone; empty: that of the pack.
        suppress: The setting ``serving.suppression``.
        bases: The setting ``base.names``; empty: a ticket may name any base.
        on_change: Told (ticket id, status) after every commit; must not raise.
        clock: The present moment.
    """

    def __init__(
        self,
        store: Store,
        packs: Packs,
        *,
        zone: str = "",
        suppress: bool = True,
        bases: Collection[str] = (),
        on_change: Changed | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.store = store
        self.packs = packs
        self._suppress = suppress
        self._bases = bases
        self._deciding = Deciding(packs, zone)
        self._on_change = on_change
        self._clock = clock

    def _act(self, ticket_id: str, who: Identity, act: Callable[[Session, Ticket, datetime], None]) -> str:
        with self.store.write() as session:
            ticket = get_ticket(session, ticket_id, lock=True)
            now = self._clock()
            act(session, ticket, now)
            lifted = suppression.follow(session, ticket, enabled=self._suppress, actor=who.actor, at=now)
        if lifted:
            self.store.scrub()
        self._tell(ticket)
        return ticket.status

    def _move(
        self,
        ticket_id: str,
        event: TicketEvent,
        who: Identity,
        *,
        reason: str | None = None,
        version: int | None = None,
        stops_runs_of: Callable[[Session, Ticket], Collection[str]] | None = None,
    ) -> str:
        def act(session: Session, ticket: Ticket, now: datetime) -> None:
            transition_ticket(
                session, ticket_id, event, actor=who.actor, reason=reason, expected_version=version, at=now
            )
            if stops_runs_of is not None:
                stop_runs_of(session, stops_runs_of(session, ticket))

        return self._act(ticket_id, who, act)

    @staticmethod
    def _note(
        session: Session,
        ticket: Ticket,
        event: TicketEvent,
        who: Identity,
        reason: str,
        version: int | None,
        now: datetime,
    ) -> None:
        """An act that leaves the status as it is, and why the ticket stands there."""
        code, ticket_id = ticket.reason_code, ticket.ticket_id
        transition_ticket(
            session, ticket_id, event, actor=who.actor, reason=reason, expected_version=version, at=now
        ).reason_code = code

    def _tell(self, ticket: Ticket) -> None:
        if self._on_change is not None:
            self._on_change(ticket.ticket_id, ticket.status)


def must_take(ticket: Ticket, event: TicketEvent) -> None:
    """Says what the lifecycle says, before the identity is unsealed: it is gone once a ticket is closed."""
    status = TicketStatus(ticket.status)
    if event not in TICKET.allowed(status):
        TICKET.apply(status, event, TicketContext())


def same_version(ticket: Ticket, version: int | None) -> None:
    """Refuses an act on a ticket that has changed since somebody looked at it."""
    if version is not None and ticket.version != version:
        raise LetheError("ticket.changed", f"The ticket is at version {ticket.version} by now.")
