"""The door of the console: a session instead of a key, a token on every form, and headers that let nothing in.

It stands in front of the API's guard and asks the same question of every page: which scope does the route declare, and
does whoever is logged in hold it? What a stranger gets is the log-in page.
"""

import hmac
import logging
from collections.abc import Callable, Iterable
from urllib.parse import parse_qs, quote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from policies.errors import LetheError
from services.auth import IDENTITY, OPEN
from services.console import render, sessions
from services.console.sessions import Held
from services.guard import scope_of
from services.settings import ConsoleSettings
from services.store.engine import Store

PREFIX = "/console"
COOKIE = "__Host-lethe"
HELD, FORM = "lethe.console", "lethe.form"  # where the ASGI scope holds the session and a form's fields
_MAX_FORM = 262_144
_MAX_FIELDS = 4_000
_READS = frozenset({"GET", "HEAD"})
_QUIET = ("/live",)  # pages that a browser asks for by itself: nobody is there
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'none';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
_LOG = logging.getLogger(__name__)
Form = dict[str, list[str]]


class ConsoleDoor:
    """ASGI middleware; what is not below ``/console`` passes untouched.

    Args:
        app: What is behind it.
        routes: Those of the app, asked for at every request.
        open_store: Gives the store with the sessions.
        settings: How long a session lasts.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        routes: Callable[[], Iterable[BaseRoute]],
        open_store: Callable[[], Store],
        settings: ConsoleSettings,
    ) -> None:
        self._app = app
        self._routes = routes
        self._open_store = open_store
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers it with the log-in page or a refusal."""
        path = scope.get("path", "")
        if scope["type"] != "http" or not (path == PREFIX or path.startswith(f"{PREFIX}/")):
            await self._app(scope, receive, send)
            return
        send = _with_headers(send)
        try:
            answer = await self._refusal(scope, receive)
        except LetheError as error:
            answer = render.refusal(error, scope.get(HELD))
        except Exception as error:  # a store that is away
            _LOG.error("a session cannot be looked up: %s", type(error).__name__)
            answer = render.refusal(LetheError("store.missing", "Sessions cannot be checked now."), None)
        if answer is not None:
            await answer(scope, receive, send)
            return
        if FORM in scope:
            receive = _nothing_more
        await self._app(scope, receive, send)

    async def _refusal(self, scope: Scope, receive: Receive) -> Response | None:
        connection = HTTPConnection(scope)
        if scope["path"] == PREFIX:
            return RedirectResponse(f"{PREFIX}/", 308)
        open_route = self._is_open(scope)
        token = connection.cookies.get(COOKIE)
        held = await run_in_threadpool(self._held, token, scope["path"])
        if held is not None:
            scope[HELD] = held
        elif not open_route:
            return _to_login(scope, connection.headers)
        if held is not None and not open_route:
            needed = scope_of(self._routes(), scope)
            if needed not in held.identity.scopes:
                raise LetheError("auth.forbidden", "You may not do that.", (f"needs {needed}",))
            scope[IDENTITY] = held.identity
        if scope["method"] not in _READS:
            _same_site(connection.headers)
            scope[FORM] = await _form(connection.headers, receive)
            if held is not None and not _carries(scope[FORM], held):
                raise LetheError("console.form_refused", "The form is not one of this log-in.")
        return None

    def _is_open(self, scope: Scope) -> bool:
        """Also asked by a stranger, so that a path which does not exist looks like one which does."""
        try:
            return scope_of(self._routes(), scope) == OPEN
        except LetheError:
            return False

    def _held(self, token: str | None, path: str) -> Held | None:
        if not token:
            return None
        store = self._open_store()
        with store.read() as session:
            held = sessions.resume(session, token, self._settings)
        if held is not None and held.stale and not path.endswith(_QUIET):
            with store.write() as session:
                sessions.touch(session, token)
        return held


def _to_login(scope: Scope, headers: Headers) -> Response:
    path = scope["path"]
    if headers.get("hx-request") == "true":  # a part of a page: the whole page has to go
        return Response(status_code=401, headers={"HX-Redirect": f"{PREFIX}/login"})
    back = f"?next={quote(path)}" if scope["method"] in _READS and path != f"{PREFIX}/" else ""
    return RedirectResponse(f"{PREFIX}/login{back}", 303)


def _same_site(headers: Headers) -> None:
    """A form that another site sends is refused before it is read; every browser says where a form comes from."""
    origin = headers.get("origin", "")
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"} or (
        origin.partition("://")[2] != headers.get("host", "")
    ):
        raise LetheError("console.form_refused", "The form comes from another site.")


async def _form(headers: Headers, receive: Receive) -> Form:
    if headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise LetheError("console.form_refused", "This is no form of the console.")
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > _MAX_FORM:
            raise LetheError("request.too_large", f"The form is larger than {_MAX_FORM} bytes.")
        if not message.get("more_body"):
            break
    try:
        return parse_qs(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise LetheError("console.form_refused", "The form cannot be read.") from error


def _carries(form: Form, held: Held) -> bool:
    sent = form.get("csrf", [])
    return len(sent) == 1 and hmac.compare_digest(sent[0].encode(), held.csrf.encode())


async def _nothing_more() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending


__all__ = ["COOKIE", "FORM", "HELD", "PREFIX", "ConsoleDoor", "Form", "HTMLResponse"]
