"""Default-deny in front of an app: who asks, then what for, before anything of the body is read.

A route says which scope it needs (``requires``) or that it needs nobody (``open_to_all``, with the reason); one that
says neither is a 403 in the first request, never an open door.
"""

import json
import logging
from collections.abc import Callable, Iterable, Sequence

from fastapi.routing import iter_route_contexts
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from policies.errors import LetheError
from services.auth import IDENTITY, OPEN, SCOPE_MARK, Identity, authenticate
from services.store.engine import Store

OPEN_PATHS = frozenset({"/livez", "/readyz", "/healthz"})
GUARDED_PATHS = {  # BentoML's own, which declare nothing
    "/metrics": "ops:read",
    "/docs": "ops:read",
    "/docs.json": "ops:read",
    "/docs/oauth2-redirect": "ops:read",
    "/redoc": "ops:read",
    "/openapi.json": "ops:read",
    "/schema.json": "ops:read",
}
_PASSED = "lethe.guard"  # the ASGI scope holds it once a guard let an open route pass
_LOG = logging.getLogger(__name__)
Credential = Callable[[Store, HTTPConnection], Identity | None]
"""Another way than an API key to say who asks: None where the request carries nothing of that kind, and an error where
it carries something that does not count."""


class Guard:
    """ASGI middleware: nothing passes that is not declared and allowed.

    Args:
        app: The app behind it.
        routes: Its routes, asked for at every request since apps may still add some.
        open_store: Gives the store with the keys; called once, at the first request.
        foreign: Scopes of paths that are not among ``routes`` (BentoML's own).
        credentials: Other ways than API keys to say who asks, tried in this order, first of all.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        routes: Callable[[], Iterable[BaseRoute]],
        open_store: Callable[[], Store],
        foreign: dict[str, str] | None = None,
        credentials: Callable[[], Sequence[Credential]] = tuple,
    ) -> None:
        self._app = app
        self._routes = routes
        self._open_store = open_store
        self._store: Store | None = None
        self._foreign = GUARDED_PATHS if foreign is None else foreign
        self._credentials = credentials

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers it with 401, 403 or 404."""
        # A guard further out has looked already; nobody outside this process can set the scope's own entries.
        if scope["type"] == "lifespan" or scope.get(_PASSED) is True or isinstance(scope.get(IDENTITY), Identity):
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})  # no websockets anywhere
            return
        if scope["path"] in OPEN_PATHS and scope["method"] in {"GET", "HEAD"}:
            await self._app(scope, receive, send)
            return
        try:
            if self._is_open(scope):
                scope[_PASSED] = True
            else:
                scope[IDENTITY] = await run_in_threadpool(self._check, scope)
        except LetheError as error:
            await send_error(send, error)
            return
        except Exception as error:  # a store that is away; without an answer from here BentoML would wait for one
            _LOG.error("a key cannot be looked up: %s", type(error).__name__)
            await send_error(send, LetheError("store.missing", "Keys cannot be checked now."))
            return
        await self._app(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        if scope["path"] in self._foreign:
            return False
        try:
            return scope_of(self._routes(), scope) == OPEN
        except LetheError:
            return False

    def _check(self, scope: Scope) -> Identity:
        """First who asks, then what for: a stranger learns nothing about the paths that are not open."""
        self._store = self._store or self._open_store()
        identity = self._who(self._store, HTTPConnection(scope))
        needed = self._foreign.get(scope["path"]) or scope_of(self._routes(), scope)
        if needed not in identity.scopes:
            raise LetheError("auth.forbidden", "This key may not do that.", (f"needs {needed}",))
        return identity

    def _who(self, store: Store, connection: HTTPConnection) -> Identity:
        for credential in self._credentials():
            found = credential(store, connection)
            if found is not None:
                return found
        with store.read() as session:
            return authenticate(session, token_of(connection))


def token_of(connection: HTTPConnection) -> str | None:
    """The token of ``Authorization: Bearer …`` or ``X-API-Key``; of two, none: a proxy may have looked at the other."""
    bearers, keys = connection.headers.getlist("authorization"), connection.headers.getlist("x-api-key")
    if len(bearers) + len(keys) != 1:
        return None
    kind, _, value = "".join(bearers).partition(" ")
    return value.strip() if kind.lower() == "bearer" else "".join(keys) or None


def scope_of(routes: Iterable[BaseRoute], scope: Scope) -> str:
    """The scope that the matching route declares.

    Raises:
        LetheError: ``request.not_found``, ``request.method_not_allowed``, ``auth.route_without_scope``.
    """
    partial = False
    for context in iter_route_contexts(list(routes)):  # sees into routers that were included, under their prefix
        match, child = context.matches(dict(scope))
        if match is Match.FULL:
            if isinstance(context.route, Mount):
                return scope_of(context.route.routes, {**scope, **child})
            declared = getattr(context.endpoint, SCOPE_MARK, None)
            if declared is None:
                raise LetheError("auth.route_without_scope", "This route declares no scope, so nobody may use it.")
            return str(declared)
        partial = partial or match is Match.PARTIAL
    if partial:
        raise LetheError("request.method_not_allowed", "This path does not take that method.")
    raise LetheError("request.not_found", "There is no such path.")


async def send_error(send: Send, error: LetheError) -> None:
    """Answers with the one error body, in bare ASGI, since it happens before any framework."""
    body = json.dumps(error.body()).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if error.kind.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="lethe"'))
    await send({"type": "http.response.start", "status": error.kind.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
