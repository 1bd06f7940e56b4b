"""Log-ins of browsers: a random token in a cookie, its hash in the store, and an end that nobody can put off.

At every request the key or the account that opened a session is asked again: revoking a key or blocking an account
ends its sessions at once, and a role that was taken away counts no longer.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from policies.errors import LetheError
from services import audit
from services.auth import Identity
from services.people.accounts import identity_of_account
from services.settings import ConsoleSettings
from services.store.console_tables import ConsoleSession
from services.store.tables import ApiKey
from services.store.types import utc_now

KEY, PERSON = "key", "person"
_SEEN_EVERY = timedelta(seconds=60)  # a session that is used writes no oftener


@dataclass(frozen=True, slots=True)
class Held:
    """A session that counts now.

    Attributes:
        identity: Who it is.
        csrf: What every form of this session carries; another site cannot know it.
        stale: Whether it was noted as used longer ago than a minute.
    """

    identity: Identity
    csrf: str = field(repr=False)
    stale: bool = False


def begin(
    session: Session, identity: Identity, settings: ConsoleSettings, *, kind: str = KEY, at: datetime | None = None
) -> str:
    """A new session; its token, which is shown once. What has ended meanwhile is deleted."""
    moment = at or utc_now()
    session.execute(delete(ConsoleSession).where(ConsoleSession.expires_at <= moment))
    token = secrets.token_hex(32)
    session.add(
        ConsoleSession(
            session_hash=_hash(token),
            kind=kind,
            key_id=identity.key_id,
            created_at=moment,
            seen_at=moment,
            expires_at=moment + timedelta(hours=settings.session_hours),
        )
    )
    session.flush()
    audit.append(session, kind="console.logged_in", payload={"actor": identity.actor, "kind": kind}, at=moment)
    return token


def resume(
    session: Session, token: str | None, settings: ConsoleSettings, *, at: datetime | None = None
) -> Held | None:
    """Whose session a token is; None where it has ended, lay idle for too long, or never was."""
    row = session.get(ConsoleSession, _hash(token)) if token else None
    if row is None or not token:
        return None
    moment = at or utc_now()
    if moment >= row.expires_at or moment >= row.seen_at + timedelta(minutes=settings.idle_minutes):
        return None
    identity = _identity(session, row, moment)
    if identity is None:
        return None
    return Held(identity, csrf_of(token), moment - row.seen_at > _SEEN_EVERY)


def touch(session: Session, token: str, *, at: datetime | None = None) -> None:
    """Notes that somebody used a session, which puts off the end of its idle time and nothing else."""
    row = session.get(ConsoleSession, _hash(token))
    if row is not None:
        row.seen_at = at or utc_now()


def end(session: Session, token: str, identity: Identity, *, at: datetime | None = None) -> None:
    """Logs out; doing it twice is the same as once."""
    row = session.get(ConsoleSession, _hash(token))
    if row is not None:
        session.delete(row)
        session.flush()
        audit.append(session, kind="console.logged_out", payload={"actor": identity.actor}, at=at)


def csrf_of(token: str) -> str:
    """What the forms of a session carry, made from its token: nothing more to store."""
    return hmac.new(token.encode(), b"lethe-console-form/1", hashlib.sha256).hexdigest()


def _identity(session: Session, row: ConsoleSession, moment: datetime) -> Identity | None:
    if row.kind != KEY:
        try:
            return identity_of_account(session, row.key_id)
        except LetheError:  # blocked, or gone
            return None
    key = session.get(ApiKey, row.key_id)
    if key is None or key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= moment):
        return None
    return Identity(key.key_id, frozenset(key.scopes), key.role, key.holder)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
