"""The outermost layer of the serving service: who asks, and whether that very path is open to them."""

import hashlib
import logging
import time
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from policies.errors import LetheError
from services.auth import IDENTITY, Identity, authenticate
from services.guard import GUARDED_PATHS, OPEN_PATHS, token_of
from services.serving.gateway.answers import RETRY, Refusal, send_json
from services.serving.gateway.arrival import request_id
from services.serving.probe_token import PREFIX, ProbeTokens
from services.store.engine import Store
from services.store.types import utc_now

INFER = "infer"
PROBE = "probe"  # a question of the intake to this very replica: no suppression stands before its answer
PROBER = Identity(key_id=PROBE, scopes=frozenset({INFER, PROBE}))
ROUTES = {"/v1/chat/completions": "POST", "/v1/completions": "POST", "/v1/models": "GET"}
_KNOWN_S = 2.0  # a key that was revoked, expired or narrowed is noticed after so long at most
_KNOWN_LIMIT = 4096
_LOG = logging.getLogger(__name__)


class Known:
    """Whom a token belongs to, for two seconds: a look into the store for every request would cost more than the rest.

    Only who was let in is remembered, under a digest of the token.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._found: dict[bytes, tuple[float, Identity]] = {}

    def get(self, token: str | None) -> Identity | None:
        """The identity, if it was looked up a moment ago."""
        if not token:
            return None
        until, identity = self._found.get(_digest(token), (0.0, None))
        return identity if self._clock() < until else None

    def put(self, token: str, identity: Identity, *, asked_at: float) -> None:
        """Remember it from the moment at which the store was asked."""
        if len(self._found) >= _KNOWN_LIMIT:
            self._found.clear()
        self._found[_digest(token)] = (asked_at + _KNOWN_S, identity)

    def now(self) -> float:
        """The clock's moment, for ``put``."""
        return self._clock()


class Door:
    """ASGI middleware: a path that is not on the list does not exist, and nothing is read before the key is checked.

    Args:
        app: What is behind it.
        open_store: Gives the store with the keys; called once, at the first request.
        probes: Checks the intake's probe tokens; None: this door takes none.
    """

    def __init__(self, app: ASGIApp, *, open_store: Callable[[], Store], probes: ProbeTokens | None = None) -> None:
        self._app, self._open_store, self._probes = app, open_store, probes
        self._store: Store | None = None
        self._known = Known()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on or refuse it in OpenAI's form."""
        if scope["type"] == "lifespan" or isinstance(scope.get(IDENTITY), Identity):
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})  # no websockets anywhere
            return
        try:
            # The raw path must be the plain one: no escapes, double slashes, dots or prefixes to be undone by a router.
            raw = scope.get("raw_path") or scope["path"].encode()
            path, method = raw.split(b"?")[0].decode("latin-1"), scope["method"]
            if not (path in OPEN_PATHS and method in {"GET", "HEAD"}):
                scope[IDENTITY] = await self._who(token_of(HTTPConnection(scope)), path)
                _check_route(path, method)
        except Refusal as refusal:
            named = {"x-request-id": request_id(scope)}
            await send_json(send, refusal.status, refusal.body(), refusal.headers | named)
            return
        await self._app(scope, receive, send)

    async def _who(self, token: str | None, path: str) -> Identity:
        identity = self._known.get(token)
        if identity is None:
            identity = await run_in_threadpool(self._look_up, token)
        if GUARDED_PATHS.get(path, INFER) not in identity.scopes:
            raise Refusal(403, "This key may not do that.", "auth.forbidden")
        return identity

    def _look_up(self, token: str | None) -> Identity:
        asked_at = self._known.now()
        try:
            if token is not None and token.startswith(PREFIX):
                return self._probe(token)
            self._store = self._store or self._open_store()
            with self._store.read() as session:
                identity = authenticate(session, token)
        except LetheError as error:
            raise Refusal.of(error) from error
        except Exception as error:  # a store that is away; without an answer from here BentoML would wait for minutes
            _LOG.error("a key cannot be looked up: %s", type(error).__name__)
            raise Refusal(503, "Keys cannot be checked now.", "store.missing", RETRY) from error
        self._known.put(token or "", identity, asked_at=asked_at)
        return identity

    def _probe(self, token: str) -> Identity:
        """Checked every time: it ends within a minute."""
        if self._probes is None or not self._probes.valid(token, now=utc_now()):
            raise LetheError("auth.invalid", "This probe token is not valid here.")
        return PROBER


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _check_route(path: str, method: str) -> None:
    if path in GUARDED_PATHS and method in {"GET", "HEAD"}:
        return
    if path.startswith("/v1/models/") and method == "GET":
        return  # the gateway knows the names
    if path not in ROUTES:
        raise Refusal(404, "There is no such path.", "request.not_found")
    if method != ROUTES[path]:
        raise Refusal(405, "This path does not take that method.", "request.method_not_allowed")
