"""Tickets whose identity nobody verified in time are decided again: a pack may have a rule that goes by time."""

import logging
from datetime import datetime

from policies.errors import LetheError
from policies.lifecycle import TicketStatus
from services.auth import Identity
from services.intake.desk import Desk
from services.store.tickets import list_tickets

_WHO = Identity("control", frozenset(), None, "system:control")
_PAGE = 200
_log = logging.getLogger(__name__)


def decide_lapsed(desk: Desk, *, now: datetime) -> list[str]:
    """Deny every overdue ticket of which a rule of its pack says so; their ids. Doing it twice is doing it once.

    Identities are unsealed only under packs that have such a rule.

    Args:
        desk: Whose tickets.
        now: The present moment.
    """
    with_rule = [name for name in desk.packs.regimes() if _may_deny(desk, name)]
    denied: list[str] = []
    after: tuple[datetime, str] | None = None
    while with_rule:
        with desk.store.read() as session:
            waiting = (TicketStatus.AWAITING_IDENTITY,)
            page = list_tickets(session, statuses=waiting, due_before=now, after=after, limit=_PAGE)
        denied += [one.ticket_id for one in page if one.regime in with_rule and _lapsed(desk, one.ticket_id)]
        if len(page) < _PAGE:
            break
        after = (page[-1].received_at, page[-1].ticket_id)
    return denied


def _may_deny(desk: Desk, regime: str) -> bool:
    return any(rule.outcome == "deny" for rule in desk.packs.get(regime).data.rules)


def _lapsed(desk: Desk, ticket_id: str) -> bool:
    try:
        return desk.lapse(ticket_id, _WHO) == TicketStatus.DENIED
    except LetheError as error:  # one ticket's fault is not that of the others
        if error.code.startswith("store."):
            raise
        _log.error("an overdue ticket was not decided again: %s", error.code)
        return False
