"""Letters to the subject of a ticket and notices to recipients: made, read, sent by mail, and recorded as sent."""

from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from fastapi import FastAPI, Request
from starlette.responses import RedirectResponse, Response

from policies.errors import LetheError
from policies.lifecycle import TicketStatus
from services.auth import requires
from services.console.acts import body_of
from services.console.door import PREFIX
from services.console.place import Console, field, who
from services.installation import open_installation
from services.intake.letters import LetterBody, SentBody
from services.people import notices, sending, telling
from services.store.tickets import get_ticket


def add_letters(app: FastAPI, console: Console) -> None:
    """Adds ``/tickets/{ticket_id}/letters`` and the acts on its rows."""

    @app.get("/tickets/{ticket_id}/letters")
    @requires("tickets:read")
    def show(request: Request, ticket_id: str) -> Response:
        """What was made and sent; the words on request only."""
        return _page(console, request, ticket_id)

    @app.get("/tickets/{ticket_id}/letters/{notice_id}")
    @requires("tickets:identity")
    def read(request: Request, ticket_id: str, notice_id: str) -> Response:
        """The same page with the words of one of them, which may name the person."""
        return _page(console, request, ticket_id, opened=notice_id)

    @app.post("/tickets/{ticket_id}/letters")
    @requires("tickets:decide")
    def make(request: Request, ticket_id: str) -> Response:
        """Makes a letter from its template."""

        def act() -> None:
            said = body_of(LetterBody, request, letter=field(request, "letter"), why=field(request, "why"))
            with console.store().write() as session:
                ticket = get_ticket(session, ticket_id, lock=True)
                pack = console.desk().packs.get(ticket.regime)
                at = console.clock()
                notices.make_letter(session, ticket, pack, said.letter, actor=who(request).actor, at=at, why=said.why)

        return _done(console, request, ticket_id, act)

    @app.post("/tickets/{ticket_id}/letters/{notice_id}/sent")
    @requires("tickets:decide")
    def sent(request: Request, ticket_id: str, notice_id: str) -> Response:
        """Records that one went out; a report that was written already is written anew."""

        def act() -> None:
            said = body_of(SentBody, request, way=field(request, "way"), sent_at=_moment(console, request))
            with console.store().write() as session:
                _of_ticket(notices.get_notice(session, notice_id).ticket_id, ticket_id)
                notices.record_sent(
                    session,
                    notice_id,
                    way=said.way,
                    sent_at=said.sent_at,
                    actor=who(request).actor,
                    at=console.clock(),
                )
            telling.report_anew(open_installation(console.settings), console.store(), ticket_id)

        return _done(console, request, ticket_id, act)

    @app.post("/tickets/{ticket_id}/letters/{notice_id}/send")
    @requires("tickets:decide")
    def send(request: Request, ticket_id: str, notice_id: str) -> Response:
        """Sends one by mail and records that it went out."""

        def act() -> None:
            with console.store().read() as session:
                _of_ticket(notices.get_notice(session, notice_id).ticket_id, ticket_id)
            mail = console.settings.mail
            sending.send(console.store(), mail, notice_id, actor=who(request).actor, at=console.clock())
            telling.report_anew(open_installation(console.settings), console.store(), ticket_id)

        return _done(console, request, ticket_id, act)

    @app.post("/tickets/{ticket_id}/letters/{notice_id}/not-sent")
    @requires("tickets:decide")
    def not_sent(request: Request, ticket_id: str, notice_id: str) -> Response:
        """Records that what the mail server was given did not arrive."""

        def act() -> None:
            with console.store().write() as session:
                _of_ticket(notices.get_notice(session, notice_id).ticket_id, ticket_id)
                sending.not_sent(session, notice_id, actor=who(request).actor, at=console.clock())

        return _done(console, request, ticket_id, act)

    @app.post("/tickets/{ticket_id}/letters/{notice_id}/impossible")
    @requires("tickets:decide")
    def impossible(request: Request, ticket_id: str, notice_id: str) -> Response:
        """Records that telling this recipient is impossible or disproportionate (Art. 19)."""

        def act() -> None:
            with console.store().write() as session:
                _of_ticket(notices.get_notice(session, notice_id).ticket_id, ticket_id)
                notices.record_impossible(session, notice_id, actor=who(request).actor, at=console.clock())

        return _done(console, request, ticket_id, act)


def _done(console: Console, request: Request, ticket_id: str, act: Callable[[], None]) -> Response:
    try:
        act()
    except LetheError as error:
        away = error.code.startswith("mail.")  # nothing is wrong here: the page says what stood in the way
        if (error.kind.status >= 500 and not away) or error.code == "ticket.not_found":
            raise
        return _page(console, request, ticket_id, error=error)
    return RedirectResponse(f"{PREFIX}/tickets/{ticket_id}/letters", 303)


def _of_ticket(found: str, ticket_id: str) -> None:
    if found != ticket_id:
        raise LetheError("notice.not_found", "This ticket has no such letter or notice.")


def _moment(console: Console, request: Request) -> datetime | None:
    """What a browser's field for date and time gives, in the controller's zone; empty: now."""
    text = field(request, "sent")
    if not text:
        return console.clock()
    try:
        return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(console.zone)).astimezone(UTC)
    except ValueError:
        return None


def _page(
    console: Console, request: Request, ticket_id: str, *, opened: str = "", error: LetheError | None = None
) -> Response:
    with console.store().read() as session:
        ticket = get_ticket(session, ticket_id)
        rows = notices.of_ticket(session, ticket_id)
        shown = next((row for row in rows if row.notice_id == opened), None)
        if opened and shown is None:
            raise LetheError("notice.not_found", "This ticket has no such letter or notice.")
        text = None if shown is None else notices.text_of(session, shown)
    values = {
        "ticket_id": ticket_id,
        "rows": rows,
        "letters": notices.LETTERS,
        "ways": notices.WAYS,
        "why": notices.WHY,
        "mails": bool(console.settings.mail.host),
        "erased": ticket.status == TicketStatus.COMPLETED,
        "opened": shown,
        "text": text,
        "error": error,
    }
    # A mail server that is away is no fault of ours: what stands in front of us must not put its own page in place.
    status = min(error.kind.status, 422) if error else 200
    return console.page(request, "letters.html.jinja", values, here="board", status=status)
