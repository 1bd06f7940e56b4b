"""Who asks: API keys, the identity that a key or a log-in gives, and what a route says of who may use it.

``requires("tickets:read")`` on a route says which scope it needs; services/guard.py stands in front and looks.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.requests import HTTPConnection

from policies.errors import LetheError
from policies.roles import ROLES, SCOPES, scopes_for
from services import audit
from services.store.tables import ApiKey
from services.store.types import utc_now

OPERATOR_SCOPES = tuple(scope for scope in SCOPES if scope in ROLES["admin"].scopes)
IDENTITY = "lethe.identity"  # where the ASGI scope holds who asks
SCOPE_MARK = "__lethe_scope__"
OPEN = "open"  # what a route declares that needs nobody
OPEN_REASON = "__lethe_open__"
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks and what they may do, however they showed who they are.

    Attributes:
        key_id: The id of the key, or of the account that logged in.
        scopes: What they may do.
        role: What they are to a policy pack when approving.
        holder: Whose key it is, the same after a rotation, so that one person approves once; None: the key's own.
    """

    key_id: str
    scopes: frozenset[str]
    role: str | None = None
    holder: str | None = None

    @property
    def actor(self) -> str:
        """How history, four eyes and audit log name whoever asks: no name, no address."""
        return self.holder or f"key:{self.key_id}"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made; its token is shown once and stored nowhere."""

    key_id: str
    token: str = field(repr=False)


def create_key(
    session: Session,
    *,
    name: str,
    scopes: Iterable[str] = (),
    actor: str,
    role: str | None = None,
    holder: str | None = None,
    house_roles: Collection[str] = (),
    expires_at: datetime | None = None,
    at: datetime | None = None,
) -> NewKey:
    """Makes a key of the form ``lethe_<id>_<256 random bits>``.

    Args:
        session: A writing session.
        name: What it is for.
        scopes: What it may do; none: all that its role has.
        actor: Who makes it.
        role: One of ``policies.roles.ROLES``, or of ``house_roles``; an approval without one counts nowhere.
        holder: Whose key it is (the actor of another key, ``key:<id>`` or ``user:<id>``); None: somebody new.
        house_roles: Roles of the organisation's own policy packs.
        expires_at: It counts until then.
        at: When; now by default.

    Raises:
        LetheError: ``auth.unknown_scope``, ``auth.unknown_role``.
    """
    wanted = list(scopes_for(role, sorted(set(scopes)), house_roles=house_roles))
    key_id, secret = secrets.token_hex(6), secrets.token_hex(32)
    moment = at or utc_now()
    session.add(
        ApiKey(
            key_id=key_id,
            name=name,
            secret_hash=_hash(secret),
            scopes=wanted,
            role=role,
            holder=holder or f"key:{key_id}",
            created_at=moment,
            expires_at=expires_at,
        )
    )
    session.flush()
    facts = {"key_id": key_id, "scopes": wanted, "role": role, "holder": holder or f"key:{key_id}", "actor": actor}
    audit.append(session, kind="key.created", payload=facts, at=moment)
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
    """A new key in the place of an old one, which ends at once or at ``overlap_until``.

    It has the name, scopes, role, holder and length of life of the old one: under four eyes and in the count of
    approvals the two are one person.

    Raises:
        LetheError: ``auth.key_not_found``, ``auth.key_revoked``.
    """
    row = _get(session, key_id)
    if row.revoked_at is not None:
        raise LetheError("auth.key_revoked", "A revoked key has no successor.")
    moment = at or utc_now()
    made = create_key(
        session,
        name=row.name,
        scopes=row.scopes,
        role=row.role,
        holder=row.holder,
        house_roles=() if row.role is None else (row.role,),  # it was looked at when the old key was made
        actor=actor,
        expires_at=None if row.expires_at is None else moment + (row.expires_at - row.created_at),
        at=moment,
    )
    if overlap_until is None:
        revoke_key(session, key_id, actor=actor, at=moment)
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
    return Identity(row.key_id, frozenset(row.scopes), row.role, row.holder)


def requires(scope: str) -> Callable[[F], F]:
    """Declares the scope of a route: ``@app.get(…)`` over ``@requires("tickets:read")`` over the function."""
    if scope not in SCOPES:
        raise ValueError(scope)

    def mark(function: F) -> F:
        setattr(function, SCOPE_MARK, scope)
        return function

    return mark


def open_to_all(why: str) -> Callable[[F], F]:
    """Declares a route that needs no key; ``why`` is for the reader, and for the test that lists such routes."""
    if not why:
        raise ValueError("an open route needs a reason")

    def mark(function: F) -> F:
        setattr(function, SCOPE_MARK, OPEN)
        setattr(function, OPEN_REASON, why)
        return function

    return mark


def identity_of(connection: HTTPConnection) -> Identity:
    """Who asks; for use in a route (``Depends(identity_of)``), behind the guard."""
    found = connection.scope.get(IDENTITY)
    if not isinstance(found, Identity):
        raise LetheError("auth.route_without_scope", "The request did not come through the guard.")
    return found


def _get(session: Session, key_id: str) -> ApiKey:
    row = session.get(ApiKey, key_id)
    if row is None:
        raise LetheError("auth.key_not_found", "There is no such key.")
    return row


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
