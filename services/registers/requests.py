"""The register of requests (11 CCR § 7101) and the yearly counts (§ 7102): exactly the fields that the rules name."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from statistics import mean, median
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from policies.lifecycle import TicketStatus
from services.people.duplicates import CODE as DUPLICATE
from services.store.tables import Ticket
from services.store.tickets import day_of

_S = TicketStatus
_RESPONSES = {
    _S.COMPLETED: "complied",
    _S.NOTHING_FOUND: "nothing_found",
    _S.DENIED: "denied",
    _S.CANCELLED: "withdrawn",
}
REQUEST_FIELDS = (
    "request",
    "regime",
    "date_of_request",
    "nature_of_request",
    "manner_of_request",
    "date_of_response",
    "nature_of_response",
    "basis_of_denial",
)
_FETCH = 500
_ZONES = timedelta(hours=14)  # how far a local calendar lies from that of UTC at most


def requests(session: Session, *, regime: str | None = None, year: int | None = None) -> Iterator[dict[str, Any]]:
    """One row a request, the oldest first; of a year those received in it, in the calendar of its own law."""
    query = select(Ticket).order_by(Ticket.received_at, Ticket.ticket_id).execution_options(yield_per=_FETCH)
    if regime is not None:
        query = query.where(Ticket.regime == regime)
    if year is not None:
        query = query.where(
            Ticket.received_at >= datetime(year, 1, 1, tzinfo=UTC) - _ZONES,
            Ticket.received_at < datetime(year + 1, 1, 1, tzinfo=UTC) + _ZONES,
        )
    for ticket in session.scalars(query):
        if year is None or day_of(ticket, ticket.received_at).year == year:
            yield _row(ticket)


def _row(ticket: Ticket) -> dict[str, Any]:
    response = _response(ticket)
    return {
        "request": ticket.ticket_id,
        "regime": ticket.regime,
        "date_of_request": day_of(ticket, ticket.received_at).isoformat(),
        "nature_of_request": str(ticket.acts.get("kind", "erasure")),
        "manner_of_request": ticket.channel,
        "date_of_response": day_of(ticket, ticket.closed_at).isoformat() if ticket.closed_at else None,
        "nature_of_response": response,
        "basis_of_denial": _basis(ticket) if response in {"denied", "complied_in_part"} else None,
    }


def _response(ticket: Ticket) -> str:
    found = _RESPONSES.get(TicketStatus(ticket.status), "open")
    if found == "withdrawn" and ticket.reason_code == DUPLICATE:  # answered with the request that it repeats
        return "duplicate"
    partial = bool((ticket.decision or {}).get("partial"))
    return "complied_in_part" if found == "complied" and partial else found


def _basis(ticket: Ticket) -> str:
    """Articles, never a person's words: those are sealed."""
    decision = ticket.decision or {}
    if ticket.status == TicketStatus.DENIED:
        return str(
            decision.get("article") if decision.get("outcome") == "deny" else ticket.reason_code or "decided_by_person"
        )
    kept = (*decision.get("kept_categories", ()), *decision.get("kept_records", ()))
    return "; ".join(sorted({str(one["article"]) for one in kept}))


def counts(session: Session, year: int, *, regime: str | None = "ccpa") -> list[dict[str, Any]]:
    """Requests to delete of a calendar year: received, complied with, denied; days until the answer."""
    rows = list(requests(session, regime=regime, year=year))
    named = [row["nature_of_response"] for row in rows]
    days = [
        (datetime.fromisoformat(row["date_of_response"]) - datetime.fromisoformat(row["date_of_request"])).days
        for row in rows
        if row["date_of_response"] and row["nature_of_response"] not in {"withdrawn", "duplicate"}
    ]
    return [
        {
            "year": year,
            "regime": regime or "all",
            "requests": "to_delete",
            "received": len(rows),
            "complied_in_whole": named.count("complied") + named.count("nothing_found"),
            "complied_in_part": named.count("complied_in_part"),
            "denied": named.count("denied"),
            "withdrawn": named.count("withdrawn"),
            "duplicates": named.count("duplicate"),
            "open": named.count("open"),
            "median_days": round(median(days), 1) if days else None,
            "mean_days": round(mean(days), 1) if days else None,
        }
    ]
