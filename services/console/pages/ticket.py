"""One ticket: where it stands, what can be done, why, and everything that happened."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse
from sqlalchemy.orm import Session
from starlette.responses import RedirectResponse, Response

from policies.errors import LetheError
from policies.lifecycle import CLOSED_RUN, CLOSED_TICKET
from services import suppression
from services.auth import requires
from services.console import live, render, words
from services.console.acts import ACTS, Act, body_of
from services.console.door import PREFIX
from services.console.place import Console, field, held_by, who
from services.intake.people import EndBody
from services.intake.views import TicketView, detail, events, notes_of
from services.people import exemptions
from services.reports.pdf import render_pdf
from services.reports.write import read_report
from services.store.steps import steps_of
from services.store.tables import Report, Ticket
from services.store.tickets import get_ticket, zone_of

_STOP_ASKING = 286  # what makes htmx end its polling
_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; base-uri 'none'"
_TYPED = (  # shown again after a refusal
    *("reason", "ground", "method", "evidence_ref", "agent_ref", "sent"),
    *("code", "category", "record", "review", "of"),
)
_DONE = {"end-exemption": "The exemption is ended.", "claim": "The claim is filed."}
_FORMS = {"html": "text/html", "json": "application/json", "pdf": "application/pdf"}


def add_ticket(app: FastAPI, console: Console) -> None:
    """Adds ``/tickets/{ticket_id}`` and what belongs to it."""

    @app.get("/tickets/{ticket_id}")
    @requires("tickets:read")
    def show(request: Request, ticket_id: str, person: int = 0, done: str = "") -> Response:
        """The page of a ticket; who it is about only on request, and only for whoever may see that."""
        if person:
            _may_see(request)
        return _page(console, request, ticket_id, with_person=bool(person), done=done)

    @app.get("/tickets/{ticket_id}/live")
    @requires("tickets:read")
    def look(request: Request, ticket_id: str, seen: str = "", version: int = 0) -> Response:
        """The part of the page that moves; nothing where nothing has changed."""
        with console.store().read() as session:
            values = _live(
                session, detail(session, get_ticket(session, ticket_id), console.clock(), with_identity=False)
            )
        values |= {"version": version, "announce": True}
        if values["stamp"] == seen:
            return Response(status_code=_STOP_ASKING if values["closed"] else 204)
        html = render.markup("live.html.jinja", held_by(request), console.zone, values)
        return Response(html, _STOP_ASKING if values["closed"] else 200, media_type="text/html")

    @app.get("/tickets/{ticket_id}/report.{form}")
    @requires("tickets:read")
    def report(ticket_id: str, form: str) -> Response:
        """The report of a closed ticket; its page carries its own style and runs nothing."""
        with console.store().read() as session:
            get_ticket(session, ticket_id)
            row = session.get(Report, ticket_id)
        path = None if row is None or form not in _FORMS else row.html_path if form == "html" else row.json_path
        if path is None or not (file := console.settings.home / path).is_file():
            raise LetheError("report.not_ready", "There is no report of this ticket yet.")
        headers = {"Content-Security-Policy": _REPORT_POLICY}
        if form == "pdf":
            return Response(render_pdf(read_report(file)), media_type=_FORMS[form], headers=headers)
        return FileResponse(file, media_type=_FORMS[form], headers=headers)

    @app.post("/tickets/{ticket_id}/exemptions/{exemption_id}/end")
    @requires("tickets:decide")
    def end_exemption(request: Request, ticket_id: str, exemption_id: str) -> Response:
        """Ends an exemption; an open ticket is decided again."""
        try:
            said = body_of(EndBody, request, reason=field(request, "reason"))
            console.desk().end_exemption(ticket_id, exemption_id, who(request), reason=said.reason)
        except LetheError as error:
            if error.kind.status >= 500 or error.code == "ticket.not_found":
                raise
            return _page(console, request, ticket_id, error=error, tried=exemption_id)
        return RedirectResponse(f"{PREFIX}/tickets/{ticket_id}?done=end-exemption", 303)

    for name, act in ACTS.items():
        app.post(f"/tickets/{{ticket_id}}/{name}")(requires(act.scope)(_acting(console, name, act)))


def _acting(console: Console, name: str, act: Act) -> Callable[[Request, str], Response]:
    def done(request: Request, ticket_id: str) -> Response:
        try:
            act.do(console, request, ticket_id)
        except LetheError as error:
            if error.kind.status >= 500 or error.code == "ticket.not_found":
                raise
            return _page(console, request, ticket_id, error=error, tried=name)
        return RedirectResponse(f"{PREFIX}/tickets/{ticket_id}?done={name}", 303)

    done.__doc__ = act.label
    return done


def _may_see(request: Request) -> None:
    if "tickets:identity" not in who(request).scopes:
        raise LetheError("auth.forbidden", "You may not see identities.", ("needs tickets:identity",))


def _page(
    console: Console,
    request: Request,
    ticket_id: str,
    *,
    with_person: bool = False,
    done: str = "",
    error: LetheError | None = None,
    tried: str = "",
) -> Response:
    now = console.clock()
    with console.store().read() as session:
        row = get_ticket(session, ticket_id)
        ticket, person = _with_person(session, row, now, with_person)
        happened = events(session, row, after=0, with_identity=person == "shown")
        values = _live(session, ticket)
        restricted = suppression.RESTRICTED in row.acts
        extended = row.acts.get("extension")
        identity = row.acts.get("identity")
        zone = zone_of(row, console.zone)
        kept = [(one, words.day(one.review_by, zone)) for one in exemptions.of_ticket(session, ticket_id)]
        scopes = who(request).scopes
        # Whoever approves needs no identity, but has to know what came with the request.
        notes = notes_of(session, row) if scopes & {"tickets:approve", "tickets:identity"} else []
    pack = console.desk().packs.get(ticket.regime)
    values |= {
        "ticket": ticket,
        "person": person,
        "events": happened,
        "due": words.due(ticket.due_at, now, zone, closed=values["closed"]),
        "due_on": words.day(ticket.due_at, zone),
        "extendable_to": _day((row.decision or {}).get("deadlines", {}).get("extendable_to"), zone),
        "told_on": _day((extended or {}).get("notice_sent_at"), zone),
        "acts": _possible(ticket, scopes, restricted=restricted),
        "pack": pack.data,
        "extended": extended,
        "identity": identity,
        "kept": kept,
        "notes": notes,
        "done": ACTS[done].done if done in ACTS else _DONE.get(done),
        "error": error,
        "tried": tried,
        "typed": {name: field(request, name) if error else "" for name in _TYPED},
        "version": ticket.version,
        "announce": False,
    }
    return console.page(request, "ticket.html.jinja", values, here="board", status=error.kind.status if error else 200)


def _day(moment: str | None, zone: str) -> str:
    """The day of a moment that is kept as text; empty where there is none."""
    return words.day(datetime.fromisoformat(moment), zone) if moment else ""


def _with_person(session: Session, row: Ticket, now: Any, wanted: bool) -> tuple[TicketView, str]:
    """The ticket, and whether its person is ``shown``, ``hidden`` or ``gone`` (deleted when it closed)."""
    if not wanted:
        return detail(session, row, now, with_identity=False), "hidden"
    try:
        return detail(session, row, now, with_identity=True), "shown"
    except LetheError as error:
        if not error.code.startswith("seal."):
            raise
        return detail(session, row, now, with_identity=False), "gone"


def _live(session: Session, ticket: TicketView) -> dict[str, Any]:
    runs = [
        {
            "run": run,
            "steps": live.steps(run, frozenset(steps_of(session, run.run_id))),
            "progress": live.progress(run),
            "ended": words.RUN_ENDED.get(run.status),
            "verdict": "verify" in steps_of(session, run.run_id),
        }
        for run in reversed(ticket.runs)
    ]
    values = {
        "ticket": ticket,
        "runs": runs,
        "headline": live.headline(ticket),
        "closed": ticket.status in CLOSED_TICKET and all(run.status in CLOSED_RUN for run in ticket.runs),
    }
    return {**values, "stamp": live.stamp(ticket.model_dump(exclude={"identity"}), runs)}


def _possible(ticket: TicketView, scopes: frozenset[str], *, restricted: bool) -> dict[str, Act]:
    """What can be done now by whoever asks; the functions behind it look again."""
    hidden = {"restrict"} if restricted else {"unrestrict"}
    if ticket.status in CLOSED_TICKET:
        hidden |= {"extend"}
    if not ticket.possible_duplicates:
        hidden |= {"duplicate"}
    return {
        name: act
        for name, act in ACTS.items()
        if act.event.value in ticket.allowed_events and act.scope in scopes and name not in hidden
    }
