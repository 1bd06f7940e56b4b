"""The outermost layer of the serving service: who asks, and whether that very path is open to them."""

from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from policies.errors import LetheError
from services.auth import GUARDED_PATHS, IDENTITY, OPEN_PATHS, Identity, authenticate, token_of
from services.serving.gateway.answers import Refusal, send_json
from services.store.engine import Store

INFER = "infer"
ROUTES = {"/v1/chat/completions": "POST", "/v1/completions": "POST", "/v1/models": "GET"}


class Door:
    """ASGI middleware: a path that is not on the list does not exist, and nothing is read before the key is checked.

    Args:
        app: What is behind it.
        open_store: Gives the store with the keys; called once, at the first request.
    """

    def __init__(self, app: ASGIApp, *, open_store: Callable[[], Store]) -> None:
        self._app, self._open_store = app, open_store
        self._store: Store | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on or refuse it in OpenAI's form."""
        if scope["type"] == "lifespan" or isinstance(scope.get(IDENTITY), Identity):
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no websockets: closing without an answer is a refusal
        try:
            # The raw path must be the plain one: no escapes, double slashes, dots or prefixes to be undone by a router.
            raw = scope.get("raw_path") or scope["path"].encode()
            path, method = raw.split(b"?")[0].decode("latin-1"), scope["method"]
            if not (path in OPEN_PATHS and method in {"GET", "HEAD"}):
                scope[IDENTITY] = await run_in_threadpool(self._check, HTTPConnection(scope), path)
                _check_route(path, method)
        except Refusal as refusal:
            await send_json(send, refusal.status, refusal.body(), refusal.headers)
            return
        await self._app(scope, receive, send)

    def _check(self, connection: HTTPConnection, path: str) -> Identity:
        try:
            self._store = self._store or self._open_store()
            with self._store.read() as session:
                identity = authenticate(session, token_of(connection))
        except LetheError as error:
            raise Refusal.of(error) from error
        if GUARDED_PATHS.get(path, INFER) not in identity.scopes:
            raise Refusal(403, "This key may not do that.", "auth.forbidden")
        return identity


def _check_route(path: str, method: str) -> None:
    if path in GUARDED_PATHS and method in {"GET", "HEAD"}:
        return
    if path not in ROUTES:
        raise Refusal(404, "There is no such path.", "request.not_found")
    if method != ROUTES[path]:
        raise Refusal(405, "This path does not take that method.", "request.method_not_allowed")
