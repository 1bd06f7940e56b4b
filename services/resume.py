"""Tickets that stand after a fault (a full disk, a lost machine) are tried again, all at once."""

from typing import TYPE_CHECKING

from policies.errors import LetheError
from policies.lifecycle import TicketStatus
from services.store.tickets import list_tickets

if TYPE_CHECKING:
    from services.auth import Identity
    from services.intake.desk import Desk

STANDS = (TicketStatus.FAILED, TicketStatus.REJECTED, TicketStatus.QUARANTINED)
_PAGE = 200


def retry_standing(desk: "Desk", who: "Identity", *, reason: str | None = None) -> list[str]:
    """Let every ticket that failed wait for a run again; the ids of those that do. Doing it twice is doing it once.

    Args:
        desk: Whose tickets.
        who: Asks for it; each retry is an event and an audit entry of its own.
        reason: Only tickets that stand with this code. Without it, tickets that a verdict rejected or whose data were
            quarantined are left alone: the same run would end the same way.
    """
    statuses = (TicketStatus.FAILED,) if reason is None else STANDS
    done, after = [], None
    while True:
        with desk.store.read() as session:
            page = list_tickets(session, statuses=statuses, after=after, limit=_PAGE)
        for ticket in page:
            if reason in {None, ticket.reason_code} and _retried(desk, who, ticket.ticket_id, ticket.version):
                done.append(ticket.ticket_id)
        if len(page) < _PAGE:
            return done
        after = (page[-1].received_at, page[-1].ticket_id)


def _retried(desk: "Desk", who: "Identity", ticket_id: str, version: int) -> bool:
    """Whether this call did it: somebody else may have acted on the ticket since it was listed."""
    try:
        desk.retry(ticket_id, who, version=version)
    except LetheError as error:
        if error.code not in {"ticket.changed", "lifecycle.forbidden", "lifecycle.guarded"}:
            raise
        return False
    return True
