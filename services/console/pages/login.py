"""Logging in and out."""

import re

from fastapi import FastAPI, Request
from starlette.responses import RedirectResponse, Response

from policies.errors import LetheError
from services.auth import authenticate, open_to_all
from services.console import sessions
from services.console.door import COOKIE, PREFIX
from services.console.place import Console, field, held_by

_PAGE = re.compile(rf"{PREFIX}/[A-Za-z0-9/_.-]*")
_MAX_TOKEN = 300


def add_login(app: FastAPI, console: Console) -> None:
    """Adds ``/login`` and ``/logout``."""

    provider = bool(console.settings.oidc.client_id)

    @app.get("/login")
    @open_to_all("Whoever is not logged in has to log in somewhere.")
    def show(request: Request, next: str = "") -> Response:
        """The log-in page; who is logged in already goes on."""
        if held_by(request) is not None:
            return RedirectResponse(_inside(next), 303)
        return console.page(request, "login.html.jinja", {"next": _inside(next), "error": None, "provider": provider})

    @app.post("/login")
    @open_to_all("Whoever is not logged in has to log in somewhere.")
    def log_in(request: Request) -> Response:
        """Takes an API key and gives a session for it; the key itself is not kept."""
        store, target = console.store(), _inside(field(request, "next"))
        try:
            with store.read() as session:
                identity = authenticate(session, field(request, "key")[:_MAX_TOKEN], at=console.clock())
        except LetheError as error:
            values = {"next": target, "error": error, "provider": provider}
            return console.page(request, "login.html.jinja", values, status=error.kind.status)
        with store.write() as session:
            token = sessions.begin(session, identity, console.settings.console, at=console.clock())
        return with_session(RedirectResponse(target, 303), token)

    @app.post("/logout")
    @open_to_all("A session that has ended already can be left too.")
    def log_out(request: Request) -> Response:
        """Ends the session, here and in the store."""
        token, held = request.cookies.get(COOKIE), held_by(request)
        if token and held is not None:
            with console.store().write() as session:
                sessions.end(session, token, held.identity, at=console.clock())
        answer = RedirectResponse(f"{PREFIX}/login", 303)
        answer.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")
        answer.headers["Clear-Site-Data"] = '"cache", "storage"'
        return answer


def with_session(answer: Response, token: str) -> Response:
    """The answer with the session's cookie: over TLS or on this host only, not for scripts or other sites' forms."""
    answer.set_cookie(COOKIE, token, path="/", secure=True, httponly=True, samesite="lax")
    return answer


def _inside(target: str) -> str:
    """A page of the console; nobody is sent elsewhere."""
    return target if _PAGE.fullmatch(target) and "//" not in target and ".." not in target else f"{PREFIX}/"
