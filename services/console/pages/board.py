"""The board: tickets in the order of their deadlines."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from fastapi import FastAPI, Request
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import RedirectResponse, Response

from policies.errors import LetheError
from policies.lifecycle import CLOSED_TICKET
from policies.ticket import Identifier
from services.auth import requires
from services.console import words
from services.console.door import PREFIX
from services.console.place import Console, field
from services.intake.lookup import lookup_hashes
from services.store.board import Place, Wanted, board, by_status, called, count_due, due_days, undated
from services.store.tables import LookupHash, Ticket
from services.store.tickets import zone_of

_PAGE = 50
_SOON = timedelta(days=7)


def add_board(app: FastAPI, console: Console) -> None:
    """Adds ``/`` and the two ways to find a ticket."""

    @app.get("/")
    @requires("tickets:read")
    def show(
        request: Request, group: str = "open", status: str = "", regime: str = "", due: str = "", after: str = ""
    ) -> Response:
        """Tickets, the one that is due first on top."""
        now = console.clock()
        place = _place(after)
        with console.store().read() as session:
            wanted = _wanted(session, group, status, regime, due, now, console.zone)
            found = board(session, wanted, after=place, limit=_PAGE + 1)
            loose = undated(session, wanted) if place is None and not due else []
            counts = by_status(session)
            late = count_due(session, words.OPEN_STATUSES, before=now)
            soon = count_due(session, words.OPEN_STATUSES, before=now + _SOON) - late
        more = found[_PAGE - 1] if len(found) > _PAGE else None
        values = {
            "rows": [_row(ticket, now, console.zone) for ticket in [*loose, *found[:_PAGE]]],
            "next": None if more is None else _cursor(more),
            "first": place is None,
            "groups": {key: sum(counts[s] for s in statuses) for key, (_, statuses) in words.GROUPS.items()},
            "counts": counts,
            "late": late,
            "soon": soon,
            "regimes": console.desk().packs.regimes(),
            "chosen": {"group": group, "status": status, "regime": regime, "due": due},
        }
        return console.page(request, "board.html.jinja", values, here="board")

    @app.post("/find")
    @requires("tickets:read")
    def find(request: Request) -> Response:
        """A ticket by its id, ours or the sender's."""
        name = field(request, "name")
        with console.store().read() as session:
            found = called(session, name)
        return _found(console, request, found, "No ticket has this id.")

    @app.post("/find-person")
    @requires("tickets:identity")
    def find_person(request: Request) -> Response:
        """Tickets that hold an identifier; it is sent in a form and hashed, never in an address of a page."""
        kind, value = field(request, "kind"), field(request, "value")
        try:
            identifier = Identifier.model_validate({"kind": kind, "value": value})
        except ValidationError:  # its words would repeat the value
            raise LetheError("request.invalid", "The request has 1 fault(s).", ("value: not an identifier",)) from None
        with console.store().read() as session:
            found = _with(session, identifier)
        return _found(console, request, found, "No ticket holds this identifier.")


def _found(console: Console, request: Request, tickets: list[Ticket], otherwise: str) -> Response:
    if len(tickets) == 1:
        return RedirectResponse(f"{PREFIX}/tickets/{tickets[0].ticket_id}", 303)
    rows = [_row(ticket, console.clock(), console.zone) for ticket in tickets]
    return console.page(request, "found.html.jinja", {"rows": rows, "otherwise": otherwise}, here="board")


def _with(session: Session, identifier: Identifier) -> list[Ticket]:
    hashes = lookup_hashes(session, [identifier])
    kinds, found = {kind for kind, _ in hashes}, {one for _, one in hashes}
    known = select(LookupHash.subject_ref).where(LookupHash.kind.in_(kinds), LookupHash.hash.in_(found))
    query = select(Ticket).where(Ticket.subject_ref.in_(known))
    return list(session.scalars(query.order_by(Ticket.received_at, Ticket.ticket_id).limit(_PAGE)))


def _row(ticket: Ticket, now: datetime, zone: str) -> dict[str, Any]:
    closed = ticket.status in CLOSED_TICKET
    zone = zone_of(ticket, zone)
    return {
        "ticket": ticket,
        "shown": words.STATUS[ticket.status],
        "due": words.due(ticket.due_at, now, zone, closed=closed),
        "due_on": words.day(ticket.due_at, zone),
    }


def _wanted(session: Session, group: str, status: str, regime: str, due: str, now: datetime, zone: str) -> Wanted:
    if status in words.STATUS:
        statuses: tuple[str, ...] = (status,)
    else:
        statuses = words.GROUPS.get(group, words.GROUPS["open"])[1]
    if due == "late":
        return Wanted(statuses=statuses, regime=regime, due_before=now)
    if due == "soon":
        return Wanted(statuses=statuses, regime=regime, due_from=now, due_before=now + _SOON)
    if day := _day(due):
        found = due_days(session, statuses, first=day, last=day, zone=zone)
        return Wanted(statuses=statuses, regime=regime, due_at=tuple(moment for _, moment, _ in found))
    return Wanted(statuses=statuses, regime=regime)


def _day(text: str) -> date | None:
    try:
        found = datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        return None
    return found if 2000 <= found.year < 2200 else None  # as the calendar has them


def _cursor(ticket: Ticket) -> str:
    assert ticket.due_at is not None
    return f"{ticket.due_at:%Y%m%dT%H%M%S.%fZ}~{ticket.ticket_id}"


def _place(after: str) -> Place | None:
    if not after:
        return None
    moment, _, ticket_id = after.partition("~")
    try:
        return datetime.strptime(moment, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC), ticket_id
    except ValueError:
        raise LetheError("request.invalid", "The address of this page has faults.", ("after",)) from None
