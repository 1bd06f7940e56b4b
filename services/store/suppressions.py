"""Rows of suppression: a rule each, sealed under the suppression key, gone once lifted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, select
from sqlalchemy.orm import Session

from services.store.tables import Suppression

_AS_BEGUN = (Suppression.since, Suppression.version, Suppression.suppression_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where the suppression of a ticket stands; no personal data.

    Attributes:
        state: ``none``, ``off`` (the setting), ``pending`` (some replica may not apply it yet), ``confirmed``,
            ``lifted``.
        since: When it began.
        confirmed_at: When every replica with a lease applied it.
        lifted_at: When it ended.
        reason: Why: ``approved``, ``restriction``, ``rollback``, ``probe_failed``.
    """

    state: str
    since: datetime | None = None
    confirmed_at: datetime | None = None
    lifted_at: datetime | None = None
    reason: str | None = None


def active(session: Session, *, base_digest: str | None = None, ticket_id: str | None = None) -> list[Suppression]:
    """Rows that suppress somebody now, in the order in which they began."""
    query = select(Suppression).where(Suppression.lifted_at.is_(None))
    if base_digest is not None:
        query = query.where(Suppression.base_digest == base_digest)
    if ticket_id is not None:
        query = query.where(Suppression.ticket_id == ticket_id)
    return list(session.scalars(query.order_by(*_AS_BEGUN)))


def listed(session: Session, *, ended: bool = False) -> list[Suppression]:
    """Rows in force; with ``ended`` those that were lifted too."""
    query = select(Suppression).order_by(*_AS_BEGUN)
    return list(session.scalars(query)) if ended else active(session)


def of_ticket(session: Session, ticket_id: str) -> list[Suppression]:
    """Every row of a ticket, lifted ones too, in the order in which they began."""
    query = select(Suppression).where(Suppression.ticket_id == ticket_id)
    return list(session.scalars(query.order_by(*_AS_BEGUN)))


def sealed_rules(session: Session, base_digest: str, *, after: int) -> list[tuple[str, int, bytes | None]]:
    """(id, version, sealed rule) of every row in force; the rule only where it came or changed after a version.

    One statement: what it gives is one moment of the table on every database.
    """
    rule = case((Suppression.version > after, Suppression.ciphertext), else_=None)
    query = select(Suppression.suppression_id, Suppression.version, rule).where(
        Suppression.base_digest == base_digest, Suppression.lifted_at.is_(None)
    )
    return [(row_id, version, sealed) for row_id, version, sealed in session.execute(query)]


def unconfirmed(session: Session) -> list[Suppression]:
    """Rows in force that some replica may not apply yet."""
    query = select(Suppression).where(Suppression.lifted_at.is_(None), Suppression.confirmed_at.is_(None))
    return list(session.scalars(query.order_by(*_AS_BEGUN)))


def lifted_since(session: Session, moment: datetime) -> bool:
    """Whether a rule was deleted after a moment."""
    return session.scalar(select(Suppression.suppression_id).where(Suppression.lifted_at > moment).limit(1)) is not None


def end(rows: Iterable[Suppression], *, at: datetime) -> None:
    """The rule is deleted; what stays is that there was one, from when to when."""
    for row in rows:
        row.ciphertext, row.lifted_at = None, at


def state_of(rows: Sequence[Suppression]) -> State:
    """Where a ticket stands that has had these rows, in the order in which they began; at least one."""
    active = [row for row in rows if row.lifted_at is None]
    shown = active or rows[-1:]
    confirmed = [row.confirmed_at for row in shown if row.confirmed_at is not None]
    everywhere = len(confirmed) == len(shown)
    return State(
        state="lifted" if not active else "confirmed" if everywhere else "pending",
        since=min(row.since for row in shown),
        confirmed_at=max(confirmed) if everywhere else None,
        lifted_at=None if active else shown[-1].lifted_at,
        reason=shown[0].reason,
    )
