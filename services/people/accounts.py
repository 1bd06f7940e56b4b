"""Accounts of people who log in at an identity provider; what they may do comes from there each time.

An account has a random id, so that history and audit log name nobody. The provider's own id of the person is stored
only as a keyed hash: ``account_of`` finds the account of somebody whose id at the provider is known.
"""

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from policies.errors import LetheError
from policies.roles import ROLES
from services import audit, sealing
from services.auth import Identity
from services.store import dialect
from services.store.engine import Store
from services.store.people_tables import Account
from services.store.types import new_id, utc_now

SEEN_EVERY = timedelta(hours=1)  # so that not every request writes
_KIND = "oidc"


def account_of(session: Session, issuer: str, subject: str) -> Account | None:
    """The account of whom the provider calls ``subject``; None: never seen here."""
    query = select(Account).where(Account.issuer == issuer, Account.subject_hash == _hash(session, issuer, subject))
    return session.scalar(query)


def list_accounts(session: Session) -> list[Account]:
    """All accounts, oldest first."""
    return list(session.scalars(select(Account).order_by(Account.first_seen_at, Account.account_id)))


def enter(store: Store, issuer: str, subject: str, role: str, *, at: datetime | None = None) -> Identity:
    """Who somebody is here whom a provider vouches for; the account is made at the first time.

    Raises:
        LetheError: ``auth.blocked``.
    """
    moment = at or utc_now()
    with store.read() as session:
        known = account_of(session, issuer, subject)
        if known is not None and known.role == role and moment - known.last_seen_at < SEEN_EVERY:
            return _identity(known)
    with store.write() as session:
        dialect.serialise(session, f"account:{issuer}:{_hash(session, issuer, subject)}")
        row = account_of(session, issuer, subject)
        if row is None:
            row = Account(
                account_id=new_id("u"),
                issuer=issuer,
                subject_hash=_hash(session, issuer, subject),
                role=role,
                first_seen_at=moment,
                last_seen_at=moment,
            )
            session.add(row)
            session.flush()
            audit.append(session, kind="account.created", payload={"account": row.account_id, "role": role}, at=moment)
        elif row.blocked_at is None and row.role != role:
            facts = {"account": row.account_id, "from_role": row.role, "role": role}
            audit.append(session, kind="account.role_changed", payload=facts, at=moment)
        if row.blocked_at is None:
            row.role, row.last_seen_at = role, moment
        return _identity(row)


def identity_of_account(session: Session, account_id: str) -> Identity:
    """Who an account is now; for a session that began with a log-in.

    Raises:
        LetheError: ``auth.account_not_found``, ``auth.blocked``.
    """
    return _identity(_get(session, account_id))


def block(session: Session, account_id: str, *, actor: str, at: datetime | None = None) -> None:
    """Nothing that this account shows counts from now on; twice is once.

    Raises:
        LetheError: ``auth.account_not_found``.
    """
    row = _get(session, account_id)
    if row.blocked_at is None:
        row.blocked_at = at or utc_now()
        session.flush()
        audit.append(session, kind="account.blocked", payload={"account": account_id, "actor": actor}, at=at)


def unblock(session: Session, account_id: str, *, actor: str, at: datetime | None = None) -> None:
    """Ends a block.

    Raises:
        LetheError: ``auth.account_not_found``.
    """
    row = _get(session, account_id)
    if row.blocked_at is not None:
        row.blocked_at = None
        session.flush()
        audit.append(session, kind="account.unblocked", payload={"account": account_id, "actor": actor}, at=at)


def _get(session: Session, account_id: str) -> Account:
    row = session.get(Account, account_id)
    if row is None:
        raise LetheError("auth.account_not_found", "There is no such account.")
    return row


def _identity(row: Account) -> Identity:
    if row.blocked_at is not None:
        raise LetheError("auth.blocked", "This account is blocked.")
    return Identity(row.account_id, ROLES[row.role].scopes, row.role, f"user:{row.account_id}")


def _hash(session: Session, issuer: str, subject: str) -> str:
    return sealing.ring_of(session).lookup_hash(_KIND, f"{issuer}\0{subject}")
