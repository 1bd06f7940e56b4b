"""API keys and default-deny: a route that declares no scope answers nobody.

``Guard`` stands in front of an app; ``requires("tickets:read")`` on a route says which scope it needs. The guard looks
at the route before anything of the body is read, so a forgotten declaration is a 403 in the first request, never an
open door.
"""

import hashlib
import hmac
import json
import logging
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from fastapi.routing import iter_route_contexts
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from policies.errors import LetheError
from services import audit
from services.store.engine import Store
from services.store.tables import ApiKey
from services.store.types import utc_now

SCOPES: dict[str, str] = {
    "tickets:submit": "file tickets",
    "tickets:read": "see tickets and reports, without raw identity",
    "tickets:identity": "see the raw identity and the words of reasons",
    "tickets:decide": "approve, deny, hold, cancel, retry and review",
    "ops:read": "see runs, releases, replicas, metrics and API documents",
    "ops:run": "plan, cancel and retry runs; move the desired state",
    "infer": "ask the served model",
    "audit:read": "export the audit log",
    "admin": "make and revoke keys",
}
OPERATOR_SCOPES = tuple(scope for scope in SCOPES if scope != "tickets:identity")
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
IDENTITY = "lethe.identity"  # where the ASGI scope holds who asks
_SCOPE_MARK = "__lethe_scope__"
_LOG = logging.getLogger(__name__)
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks: the id of a key, and what it may do."""

    key_id: str
    scopes: frozenset[str]
    role: str | None = None

    @property
    def actor(self) -> str:
        """How history and audit log name this key."""
        return f"key:{self.key_id}"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made; its token is shown once and stored nowhere."""

    key_id: str
    token: str = field(repr=False)


def create_key(
    session: Session,
    *,
    name: str,
    scopes: Iterable[str],
    actor: str,
    role: str | None = None,
    expires_at: datetime | None = None,
    at: datetime | None = None,
) -> NewKey:
    """Makes a key of the form ``lethe_<id>_<256 random bits>``.

    ``role`` is what the holder is to a policy pack when approving (``privacy_officer``); without one an approval with
    this key counts nowhere.

    Raises:
        LetheError: ``auth.unknown_scope``.
    """
    wanted = sorted(set(scopes))
    unknown = [scope for scope in wanted if scope not in SCOPES]
    if unknown or not wanted:
        raise LetheError(
            "auth.unknown_scope", "A key needs scopes that exist.", (*unknown, f"known: {', '.join(SCOPES)}")
        )
    key_id, secret = secrets.token_hex(6), secrets.token_hex(32)
    moment = at or utc_now()
    session.add(
        ApiKey(
            key_id=key_id,
            name=name,
            secret_hash=_hash(secret),
            scopes=wanted,
            role=role,
            created_at=moment,
            expires_at=expires_at,
        )
    )
    session.flush()
    audit.append(session, kind="key.created", payload={"key_id": key_id, "scopes": wanted, "actor": actor}, at=moment)
    return NewKey(key_id, f"lethe_{key_id}_{secret}")


def list_keys(session: Session) -> list[ApiKey]:
    """All keys, oldest first, revoked ones too."""
    return list(session.scalars(select(ApiKey).order_by(ApiKey.created_at, ApiKey.key_id)))


def revoke_key(session: Session, key_id: str, *, actor: str, at: datetime | None = None) -> None:
    """Ends a key at once.

    Raises:
        LetheError: ``auth.key_not_found``.
    """
    row = _get(session, key_id)
    if row.revoked_at is None:
        row.revoked_at = at or utc_now()
        session.flush()
        audit.append(session, kind="key.revoked", payload={"key_id": key_id, "actor": actor}, at=at)


def rotate_key(
    session: Session, key_id: str, *, actor: str, overlap_until: datetime | None = None, at: datetime | None = None
) -> NewKey:
    """A new key with the name and scopes of an old one, which ends at once or at ``overlap_until``.

    Raises:
        LetheError: ``auth.key_not_found``.
    """
    row = _get(session, key_id)
    made = create_key(session, name=row.name, scopes=row.scopes, role=row.role, actor=actor, at=at)
    if overlap_until is None:
        revoke_key(session, key_id, actor=actor, at=at)
    else:
        row.expires_at = min(row.expires_at or overlap_until, overlap_until)
        session.flush()
    return made


def authenticate(session: Session, token: str | None, *, at: datetime | None = None) -> Identity:
    """Who holds a token.

    Raises:
        LetheError: ``auth.missing``, ``auth.expired``, ``auth.invalid`` (unknown, wrong or revoked: it does not say
            which).
    """
    if not token:
        raise LetheError("auth.missing", "This needs an API key.")
    prefix, _, rest = token.partition("_")
    key_id, _, secret = rest.partition("_")
    row = session.get(ApiKey, key_id) if prefix == "lethe" and key_id else None
    # Compared even where there is no such key: the time taken does not tell which ids exist.
    same = hmac.compare_digest(row.secret_hash if row else _hash(""), _hash(secret))
    if row is None or not same or row.revoked_at is not None:
        raise LetheError("auth.invalid", "This API key is not valid.")
    if row.expires_at is not None and row.expires_at <= (at or utc_now()):
        raise LetheError("auth.expired", "This API key has expired.")
    return Identity(row.key_id, frozenset(row.scopes), row.role)


def requires(scope: str) -> Callable[[F], F]:
    """Declares the scope of a route: ``@app.get(…)`` over ``@requires("tickets:read")`` over the function."""
    if scope not in SCOPES:
        raise ValueError(scope)

    def mark(function: F) -> F:
        setattr(function, _SCOPE_MARK, scope)
        return function

    return mark


def identity_of(connection: HTTPConnection) -> Identity:
    """Who asks; for use in a route (``Depends(identity_of)``), behind the guard."""
    found = connection.scope.get(IDENTITY)
    if not isinstance(found, Identity):
        raise LetheError("auth.route_without_scope", "The request did not come through the guard.")
    return found


class Guard:
    """ASGI middleware: nothing passes that is not declared and allowed.

    Args:
        app: The app behind it.
        routes: Its routes, asked for at every request since apps may still add some.
        open_store: Gives the store with the keys; called once, at the first request.
        foreign: Scopes of paths that are not among ``routes`` (BentoML's own).
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        routes: Callable[[], Iterable[BaseRoute]],
        open_store: Callable[[], Store],
        foreign: dict[str, str] | None = None,
    ) -> None:
        self._app = app
        self._routes = routes
        self._open_store = open_store
        self._store: Store | None = None
        self._foreign = GUARDED_PATHS if foreign is None else foreign

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers it with 401, 403 or 404."""
        # A guard further out has looked already; nobody outside this process can set the scope's own entries.
        if scope["type"] == "lifespan" or isinstance(scope.get(IDENTITY), Identity):
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})  # no websockets anywhere
            return
        if scope["path"] in OPEN_PATHS and scope["method"] in {"GET", "HEAD"}:
            await self._app(scope, receive, send)
            return
        try:
            scope[IDENTITY] = await run_in_threadpool(self._check, scope)
        except LetheError as error:
            await send_error(send, error)
            return
        except Exception as error:  # a store that is away; without an answer from here BentoML would wait for one
            _LOG.error("a key cannot be looked up: %s", type(error).__name__)
            await send_error(send, LetheError("store.missing", "Keys cannot be checked now."))
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> Identity:
        """First who asks, then what for: a stranger learns nothing about the paths."""
        self._store = self._store or self._open_store()
        with self._store.read() as session:
            identity = authenticate(session, token_of(HTTPConnection(scope)))
        needed = self._foreign.get(scope["path"]) or scope_of(self._routes(), scope)
        if needed not in identity.scopes:
            raise LetheError("auth.forbidden", "This key may not do that.", (f"needs {needed}",))
        return identity


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
            declared = getattr(context.endpoint, _SCOPE_MARK, None)
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


def _get(session: Session, key_id: str) -> ApiKey:
    row = session.get(ApiKey, key_id)
    if row is None:
        raise LetheError("auth.key_not_found", "There is no such key.")
    return row


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
