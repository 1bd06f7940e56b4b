"""The web page on which a person asks for their own data to be forgotten: ``/request``, in plain HTML.

No script, no cookie, no look at the corpus. The answer to an address is the same whoever it belongs to.
"""

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from policies.errors import LetheError
from services import mail
from services.auth import open_to_all
from services.intake.desk import Desk
from services.intake.protocols.form_requests import Asked, ask, confirm
from services.intake.protocols.rates import Rates, address_of
from services.settings import Settings
from services.store.tickets import day_of, get_ticket

PATH = "/request"
_PAGES = Path(__file__).parent / "pages"
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_FORM_ID = re.compile(r"w-[0-9a-f]{20}")
_SUBJECT = "Your code"
_TEXT = """Somebody, we hope you, has asked us to make our language model forget the data about this e-mail address.

Your code: {code}

Enter it on the page where you asked. It counts for {minutes} minutes.
If it was not you, do nothing: without the code nothing happens.
"""
_WHY = "people who ask for themselves have no key; the code proves the address, and nothing is told before that"


class _Form:
    def __init__(self, desk: Callable[[], Desk], settings: Settings, clock: Callable[[], datetime]) -> None:
        self._desk, self._settings, self._clock = desk, settings, clock
        loader = FileSystemLoader(_PAGES)
        self._jinja = Environment(loader=loader, autoescape=select_autoescape(default=True, default_for_string=True))

    def page(self, name: str, status: int = 200, **values: Any) -> HTMLResponse:
        text = self._jinja.get_template(f"{name}.html.jinja").render(path=PATH, **values)
        return HTMLResponse(text, status, _HEADERS)

    def empty(self, status: int = 200, faults: tuple[str, ...] = (), trouble: str = "") -> HTMLResponse:
        regimes = [pack.data for pack in map(self._desk().packs.get, self._settings.form.regimes)]
        return self.page("request", status, regimes=regimes, faults=faults, trouble=trouble)

    def ask(self, fields: dict[str, str]) -> HTMLResponse:
        try:
            asked = Asked(**{name: fields.get(name, "").strip() for name in Asked.__slots__})
            with self._desk().store.write() as session:
                waiting = ask(session, asked, self._settings.form, now=self._clock())
            if waiting.code is not None:
                minutes = max(1, round(self._settings.form.code_s / 60))
                text = _TEXT.format(code=waiting.code, minutes=minutes)
                mail.send(self._settings.mail, to=asked.email, subject=_SUBJECT, text=text)
        except LetheError as error:
            return self.empty(error.kind.status, error.details, error.code)
        return self.page("code", form_id=waiting.form_id, wrong=False)

    def confirm(self, form_id: str, code: str) -> HTMLResponse:
        desk, form = self._desk(), self._settings.form
        try:
            ticket_id = confirm(desk, form_id, code, form, base=form.base, now=self._clock())
        except LetheError as error:
            if error.code != "form.code":
                return self.empty(error.kind.status, (), error.code)
            shown = form_id if _FORM_ID.fullmatch(form_id) else "unknown"
            return self.page("code", 422, form_id=shown, wrong=True)
        with desk.store.read() as session:
            ticket = get_ticket(session, ticket_id)
            due_on = None if ticket.due_at is None else day_of(ticket, ticket.due_at)
        return self.page("filed", ticket=ticket, due_on=due_on)


def add_form(
    app: FastAPI, desk: Callable[[], Desk], settings: Settings, clock: Callable[[], datetime], rates: Rates
) -> None:
    """Add the pages."""
    form = _Form(desk, settings, clock)
    urlencoded = {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}
    body = {"requestBody": {"content": urlencoded, "required": True}}
    said: dict[int | str, dict[str, Any]] = {
        status: {"description": text, "content": {"text/html": {}}}
        for status, text in {422: "Some fields cannot be taken.", 503: "The store or the mail server is away."}.items()
    }

    async def fields_of(request: Request) -> dict[str, str]:
        rates.take(f"form/{address_of(request)}", settings.form.posts_per_minute)
        if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            return {}
        try:
            sent = await request.form(max_files=0, max_fields=20)
        except HTTPException:
            return {}
        return {name: value for name, value in sent.items() if isinstance(value, str)}

    @app.get(PATH, response_class=HTMLResponse, tags=["form"])
    @open_to_all(_WHY)
    def empty() -> HTMLResponse:
        """The page on which a person asks."""
        return form.empty()

    @app.get(f"{PATH}/style.css", response_class=Response, tags=["form"])
    @open_to_all("how the page looks")
    def style() -> Response:
        """How the page looks."""
        return Response((_PAGES / "form.css").read_text(), media_type="text/css")

    @app.post(PATH, response_class=HTMLResponse, responses=said, openapi_extra=body, tags=["form"])
    @open_to_all(_WHY)
    async def asked(request: Request) -> HTMLResponse:
        """Ask: a code goes to the address."""
        fields = await fields_of(request)
        return await run_in_threadpool(form.ask, fields)

    @app.post(f"{PATH}/{{form_id}}", response_class=HTMLResponse, responses=said, openapi_extra=body, tags=["form"])
    @open_to_all(_WHY)
    async def confirmed(form_id: str, request: Request) -> HTMLResponse:
        """Give the code back: the request becomes a ticket."""
        code = (await fields_of(request)).get("code", "")
        return await run_in_threadpool(form.confirm, form_id, code)
