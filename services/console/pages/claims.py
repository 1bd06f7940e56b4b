"""Regurgitation claims of a ticket: what somebody saw the model say, and a form for one more."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta
from fastapi import FastAPI, Request
from starlette.responses import RedirectResponse, Response

from policies.errors import LetheError
from services.auth import requires
from services.claims import Claim, add_claim, claims_of
from services.console.acts import body_of
from services.console.door import PREFIX
from services.console.place import Console, field, who
from services.intake.protocols.claims import ClaimBody
from services.store.tickets import get_ticket

_TYPED = ("claim_id", "prompt", "output", "how", "model", "seen")


def add_claims(app: FastAPI, console: Console) -> None:
    """Adds ``/tickets/{ticket_id}/claims``."""

    @app.get("/tickets/{ticket_id}/claims")
    @requires("tickets:identity")
    def show(request: Request, ticket_id: str) -> Response:
        """The claims in words; they are about the person."""
        return _page(console, request, ticket_id)

    @app.post("/tickets/{ticket_id}/claims")
    @requires("tickets:submit")
    def file(request: Request, ticket_id: str) -> Response:
        """Files one: the ticket's run asks the model the same again."""
        try:
            said = body_of(
                ClaimBody,
                request,
                **{name: field(request, name) for name in _TYPED[:-1]},
                seen_at=_moment(console, field(request, "seen")),
            )
            claim = Claim(**{**said.model_dump(), "seen_at": said.seen_at.isoformat() if said.seen_at else ""})
            now = console.clock()
            with console.store().write() as session:
                months = console.desk().packs.get(get_ticket(session, ticket_id).regime).data.retention.register_months
                until = now + relativedelta(months=months)
                add_claim(session, ticket_id, claim, actor=who(request).actor, expires_at=until, at=now)
        except LetheError as error:
            if "tickets:identity" not in who(request).scopes or error.kind.status >= 500:
                raise
            return _page(console, request, ticket_id, error)
        return RedirectResponse(f"{PREFIX}/tickets/{ticket_id}?done=claim", 303)


def _moment(console: Console, text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(console.zone)).astimezone(UTC)
    except ValueError:
        return None


def _page(console: Console, request: Request, ticket_id: str, error: LetheError | None = None) -> Response:
    with console.store().read() as session:
        get_ticket(session, ticket_id)
        found = claims_of(session, ticket_id)
    values = {
        "ticket_id": ticket_id,
        "claims": found,
        "error": error,
        "typed": {name: field(request, name) if error else "" for name in _TYPED},
    }
    status = error.kind.status if error else 200
    return console.page(request, "claims.html.jinja", values, here="board", status=status)
