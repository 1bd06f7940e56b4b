"""Records of possible namesakes beside what is known of the person: a person says whose they are."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from sqlalchemy import select
from starlette.responses import RedirectResponse, Response

from policies.errors import LetheError
from policies.identifiers import Name, normalise_name
from policies.lifecycle import TicketStatus
from policies.record import Record
from policies.subjects import Level, find_subject
from services.auth import requires
from services.console.door import PREFIX
from services.console.place import Console, field, fields, who
from services.corpus_index import open_index
from services.installation import Installation
from services.request import request_of
from services.store.tables import MatchReview
from services.store.tickets import get_ticket
from services.ticket import as_known, identifiers_of

_WORDS = re.compile(r"(\W+)")
_PAGE = 25
_SURE = 6  # records that are surely the person's, to compare with
_ANSWERS = {"mine": "confirm", "other": "deny"}
REASONS = {
    "name_exact": "The name is spelt as it was given.",
    "name_variant": "The name has a middle name or second surname more or less.",
    "name_order": "The words of the name stand in another order.",
    "name_initial": "Only an initial of the name stands in it.",
    "name_diminutive": "A short form of the name stands in it.",
    "name_typo": "The name differs by a letter.",
    "single_name": "Only one word of the name stands in it.",
    "namesake": "Somebody else in the corpus has this very name.",
    "several_fit": "The spelling fits several people.",
    "other_identifier": "An identifier in it belongs to somebody else.",
    "name_words": "The words of the name stand in it, not as a name.",
    "longer_name": "It has a longer form of the name.",
    "other_email": "Another e-mail address than the person's stands beside the name.",
    "possible_namesake": "It may be another person of this name.",
}


class Piece(NamedTuple):
    """A stretch of a record's text, and whether a word of the person's name is in it."""

    text: str
    marked: bool


def add_matches(app: FastAPI, console: Console) -> None:
    """Adds ``/tickets/{ticket_id}/matches``."""

    @app.get("/tickets/{ticket_id}/matches")
    @requires("tickets:identity")
    def show(request: Request, ticket_id: str) -> Response:
        """The open matches of a ticket, at most a page of them."""
        return _page(console, request, ticket_id, None)

    @app.post("/tickets/{ticket_id}/matches")
    @requires("tickets:decide")
    def review(request: Request, ticket_id: str) -> Response:
        """Records what a person says of them; those without an answer stay open."""
        said: dict[str, list[str]] = {"confirm": [], "deny": []}
        for record in fields(request, "record"):
            answer = field(request, f"of:{record}")
            if answer in _ANSWERS:
                said[_ANSWERS[answer]].append(record)
        try:
            if not said["confirm"] and not said["deny"]:
                raise LetheError("request.invalid", "No record was answered.", ("Choose for at least one record.",))
            status = console.desk().review(ticket_id, who(request), confirm=said["confirm"], deny=said["deny"])
        except LetheError as error:
            if "tickets:identity" not in who(request).scopes or error.kind.status >= 500:
                raise
            return _page(console, request, ticket_id, error)
        again = status == TicketStatus.AWAITING_REVIEW
        return RedirectResponse(f"{PREFIX}/tickets/{ticket_id}{'/matches' if again else ''}", 303)


def _page(console: Console, request: Request, ticket_id: str, error: LetheError | None) -> Response:
    with console.store().read() as session:
        ticket = get_ticket(session, ticket_id)
        if ticket.status != TicketStatus.AWAITING_REVIEW:
            if error is not None:
                raise error
            return RedirectResponse(f"{PREFIX}/tickets/{ticket_id}", 303)
        rows = select(MatchReview).where(MatchReview.ticket_id == ticket_id).order_by(MatchReview.record_id)
        matches = list(session.scalars(rows))
        asked = request_of(session, ticket)
    waiting = [row for row in matches if row.decision is None]
    shown = {row.record_id: row.reason for row in waiting[:_PAGE]}
    with open_index(Installation(console.settings), console.store()) as index:
        known = as_known(asked, index)
        subject = None if known is None else find_subject(identifiers_of(known, index.region), index)
        sure = index.records(subject.of(Level.CERTAIN)[:_SURE]) if subject else []
        records = index.records(shown)
    names = (subject and subject.names) or tuple(normalise_name(i.value) for i in asked.subject if i.kind == "name")
    values = {
        "ticket_id": ticket_id,
        "subject": asked.subject,
        "sure": [_shown(record, names, "") for record in sure],
        "records": [_shown(record, names, shown[record.record_id]) for record in records],
        "gone": sorted(set(shown) - {record.record_id for record in records}),
        "open": len(waiting),
        "decided": len(matches) - len(waiting),
        "error": error,
        "chosen": {record: field(request, f"of:{record}") for record in shown} if error else {},
    }
    status = error.kind.status if error else 200
    return console.page(request, "matches.html.jinja", values, here="board", status=status)


def _shown(record: Record, names: Iterable[Name], reason: str) -> dict[str, Any]:
    said = [REASONS.get(code, code.replace("_", " ")) for code in reason.split(",") if code]
    return {"id": record.record_id, "category": record.category, "pieces": _pieces(record.text, names), "why": said}


def _pieces(text: str, names: Iterable[Name]) -> list[Piece]:
    """The text with the words of the person's names marked, in whatever case and with whatever accents they stand."""
    known = {word for name in names for word in name if len(word) > 1}
    return [Piece(part, bool(known.intersection(normalise_name(part)))) for part in _WORDS.split(text) if part]
