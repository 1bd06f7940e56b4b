"""Who is suppressed in output, why, and from when to when (GDPR Art. 18): told as suppression, never as erasure.

A ticket is suppressed from its approval until the probes passed that follow the swap, and as long as a person restricts
it. Rules are rows, sealed under the suppression key; every change raises the version that the replicas of the base
follow, in the same transaction. Everything here looks at what is stored and does what is due, so it can be called again
at any moment, and a crash between two lines loses nothing (``tend``).
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from policies.errors import LetheError
from policies.lifecycle import CLOSED_TICKET, TicketStatus
from policies.suppression import Rule, rule_of_request
from services import audit, sealed_items, sealing
from services.region import region_of
from services.request import request_of
from services.store import suppressions
from services.store.engine import Store
from services.store.releases import bump_suppression, get_desired, list_desired, live_replicas
from services.store.tables import Suppression, Ticket
from services.store.tickets import get_ticket
from services.store.types import new_id, utc_now

APPROVED = "approved"
RESTRICTION = "restriction"
ROLLBACK = "rollback"
PROBE_FAILED = "probe_failed"
PASSED = "probes_passed"
RESTRICTED = "restricted"  # in a ticket's acts: since when a person has restricted it
OFF = "suppression_off"  # in a ticket's acts: approved while the setting was off
ACTOR = "system:control"
_LOG = logging.getLogger(__name__)
_GROUND = "To suppress the person again should a later release not hold"
_SCRUBBED = timedelta(minutes=1)  # how long after a lift the database's log is still cleared of the rule
_SUPPRESSED = frozenset(
    {
        TicketStatus.APPROVED,
        TicketStatus.AWAITING_REVIEW,
        TicketStatus.READY,
        TicketStatus.IN_RUN,
        TicketStatus.REJECTED,
        TicketStatus.QUARANTINED,
        TicketStatus.FAILED,
    }
)
_ENDED = CLOSED_TICKET - {TicketStatus.COMPLETED}  # what is completed is lifted by whoever has probed it


def follow(session: Session, ticket: Ticket, *, enabled: bool, actor: str, at: datetime | None = None) -> bool:
    """Begin or end what the status of a ticket makes due, in the transaction that changed the status.

    Args:
        session: A writing session.
        ticket: As it is now.
        enabled: The setting ``serving.suppression``; off is recorded, once for each ticket.
        actor: Who made the change.
        at: When; now by default.

    Returns:
        Whether a rule was deleted: call ``Store.scrub`` after the transaction.
    """
    if ticket.status in _ENDED:
        return lift(session, ticket.ticket_id, actor=actor, why=ticket.status, at=at) > 0
    moment = at or utc_now()
    if ticket.status in _SUPPRESSED and not enabled and OFF not in ticket.acts:
        ticket.acts = {**ticket.acts, OFF: moment.isoformat()}
        payload = {"ticket_id": ticket.ticket_id, "actor": actor}
        audit.append(session, kind="suppression.off", payload=payload, subject_ref=ticket.subject_ref, at=moment)
    for reason in _wanted(ticket) if enabled else ():
        bases = _missing(session, ticket, reason)
        if bases:
            _begin(session, ticket, reason, bases, _rule(session, ticket), actor, moment)
    return False


def _rule(session: Session, ticket: Ticket) -> Rule:
    """What is known of the person by now: a rule in force may have been widened already."""
    rows = [row for row in suppressions.active(session, ticket_id=ticket.ticket_id) if _opens(session, row)]
    return _widest(session, rows) if rows else rule_of_request(request_of(session, ticket), region=region_of(session))


def _wanted(ticket: Ticket) -> list[str]:
    wanted = [APPROVED] if ticket.status in _SUPPRESSED else []
    return [*wanted, RESTRICTION] if RESTRICTED in ticket.acts and ticket.status not in CLOSED_TICKET else wanted


def _missing(session: Session, ticket: Ticket, reason: str) -> list[str]:
    """Bases that are served and have no row for this; what a rollback began does for an approval too."""
    restriction = reason == RESTRICTION
    rows = suppressions.active(session, ticket_id=ticket.ticket_id)
    held = {row.base_digest for row in rows if (row.reason == RESTRICTION) is restriction}
    return [desired.base_digest for desired in list_desired(session) if desired.base_digest not in held]


def _begin(
    session: Session, ticket: Ticket, reason: str, bases: Sequence[str], rule: Rule, actor: str, at: datetime
) -> None:
    for base_digest in bases:
        row = Suppression(
            suppression_id=new_id("x"),
            ticket_id=ticket.ticket_id,
            subject_ref=ticket.subject_ref,
            base_digest=base_digest,
            reason=reason,
            since=at,
        )
        _seal(session, row, rule)
        session.add(row)
        session.flush()
        _record(session, "began", row, {**_sizes(rule), "actor": actor}, at)


def _seal(session: Session, row: Suppression, rule: Rule) -> None:
    row.ciphertext = sealing.seal_rule(sealing.ring_of(session).suppression, row.suppression_id, rule.to_json())
    row.version = bump_suppression(session, row.base_digest)


def _open(session: Session, row: Suppression) -> Rule:
    if row.ciphertext is None:
        raise LetheError("suppression.rule_invalid", "A rule that is in force has no content.")
    key = sealing.ring_of(session).suppression
    return Rule.from_json(sealing.open_rule(key, row.suppression_id, row.ciphertext))


def _widest(session: Session, rows: Sequence[Suppression]) -> Rule:
    return max((_open(session, row) for row in rows), key=lambda rule: len(rule.to_json()))


def widen(session: Session, ticket_id: str, rule: Rule, *, actor: str, at: datetime | None = None) -> None:
    """Replace the rule of every row of a ticket, now that its forget set is settled; the same rule changes nothing."""
    for row in suppressions.active(session, ticket_id=ticket_id):
        if _open(session, row) != rule:
            _seal(session, row, rule)
            session.flush()
            _record(session, "widened", row, {**_sizes(rule), "actor": actor}, at or utc_now())


def lift(
    session: Session,
    ticket_id: str,
    *,
    actor: str,
    why: str = PASSED,
    only: Collection[str] = (),
    at: datetime | None = None,
) -> int:
    """End the suppression of a ticket; the number of rows that ended. Nothing to end is no fault.

    Call ``Store.scrub`` after the transaction: until then the deleted rule may still lie in the log of the database.

    Args:
        session: A writing session.
        ticket_id: Which ticket.
        actor: Who did it.
        why: A code: ``unrestricted``, ``key_destroyed``, or the status that the ticket ended with. After
            ``probes_passed`` the rule is kept for ``suppress_again``, sealed under the subject's own key, unless the
            policy pack keeps nothing.
        only: Reasons to end; empty: all.
        at: When; now by default.
    """
    rows = [row for row in suppressions.active(session, ticket_id=ticket_id) if not only or row.reason in only]
    if not rows:
        return 0
    moment = at or utc_now()
    decision = get_ticket(session, ticket_id).decision or {}
    if why == PASSED and decision.get("keep_probes") != "none":
        _keep(session, rows, moment)
    suppressions.end(rows, at=moment)
    for base_digest in dict.fromkeys(row.base_digest for row in rows):
        bump_suppression(session, base_digest)
    session.flush()
    for row in rows:
        seconds = round((moment - row.since).total_seconds(), 3)
        _record(session, "lifted", row, {"why": why, "actor": actor, "seconds": seconds}, moment)
    return len(rows)


def forget(session: Session, subject_ref: str, *, at: datetime) -> None:
    """Lift everything of a subject whose key is about to be destroyed: the rule lies under another key than that."""
    query = select(Suppression.ticket_id).where(Suppression.subject_ref == subject_ref).distinct()
    for ticket_id in session.scalars(query).all():
        lift(session, ticket_id, actor=ACTOR, why="key_destroyed", at=at)


def _keep(session: Session, rows: Sequence[Suppression], at: datetime) -> None:
    """The widest rule, for as long as the probes are kept."""
    ticket_id = rows[0].ticket_id
    items = {item.purpose: item.expires_at for item in sealed_items.items_of(session, ticket_id)}
    expires_at = items.get(sealed_items.PROBES) or items.get(sealed_items.SUPPRESSION)
    sealed_items.put(
        session,
        rows[0].subject_ref,
        ticket_id,
        sealed_items.SUPPRESSION,
        _widest(session, rows).to_json().decode(),
        ground=_GROUND,
        expires_at=expires_at,
        at=at,
    )


def suppress_again(
    session: Session, ticket_id: str, reason: str, *, actor: str = ACTOR, at: datetime | None = None
) -> None:
    """Suppress a person anew whose erasure does not hold, from the sealed rule; doing it twice is the same as once.

    Args:
        session: A writing session.
        ticket_id: A ticket whose suppression was lifted.
        reason: ``rollback`` or ``probe_failed``.
        actor: Who did it.
        at: When; now by default.

    Raises:
        LetheError: ``seal.item_missing``: no rule was kept (``keep_probes: none``); ``seal.key_destroyed``.
    """
    ticket = get_ticket(session, ticket_id)
    bases = _missing(session, ticket, reason)
    if bases:
        _begin(session, ticket, reason, bases, _kept(session, ticket_id), actor, at or utc_now())


def _kept(session: Session, ticket_id: str) -> Rule:
    return Rule.from_json(str(sealed_items.get(session, ticket_id, sealed_items.SUPPRESSION)).encode())


def restrict(session: Session, ticket: Ticket, *, enabled: bool, at: datetime) -> None:
    """A person restricts an open ticket: ``follow`` suppresses it until ``unrestrict``, approved or not.

    Raises:
        LetheError: ``suppression.off``: the setting forbids what was asked for.
    """
    if not enabled:
        raise LetheError("suppression.off", "Nobody is suppressed here: serving.suppression is off.")
    if RESTRICTED not in ticket.acts:
        ticket.acts = {**ticket.acts, RESTRICTED: at.isoformat()}


def unrestrict(session: Session, ticket: Ticket, *, actor: str, at: datetime) -> None:
    """A person ends the restriction; what the approval began goes on.

    Raises:
        LetheError: ``suppression.not_restricted``.
    """
    if RESTRICTED not in ticket.acts:
        raise LetheError("suppression.not_restricted", "This ticket is not restricted.")
    ticket.acts = {name: value for name, value in ticket.acts.items() if name != RESTRICTED}
    lift(session, ticket.ticket_id, actor=actor, why="unrestricted", only=(RESTRICTION,), at=at)


def confirm(session: Session, *, at: datetime | None = None) -> list[str]:
    """Note which rules every replica with a running lease applies by now; the tickets that this is news for.

    A replica that has served a higher generation than the store knows applies none of its rules, whatever version it
    reports: the store is an older copy.
    """
    moment = at or utc_now()
    told: dict[str, None] = {}
    for row in suppressions.unconfirmed(session):
        replicas = live_replicas(session, row.base_digest, at=at)
        known = get_desired(session, row.base_digest).generation
        if all(one.generation <= known and one.suppression_version >= row.version for one in replicas):
            row.confirmed_at = moment
            session.flush()
            seconds = round((moment - row.since).total_seconds(), 3)
            _record(session, "confirmed", row, {"replicas": len(replicas), "seconds": seconds}, moment)
            told[row.ticket_id] = None
    return list(told)


def pending(session: Session, ticket_id: str, *, enabled: bool) -> bool:
    """Whether some replica may still answer about the subject of an approved ticket."""
    if not enabled:
        return False
    rows = suppressions.active(session, ticket_id=ticket_id)
    return any(row.confirmed_at is None for row in rows) or (not rows and bool(list_desired(session)))


def ensure(session: Session, *, enabled: bool, actor: str = ACTOR) -> None:
    """Make up for what is missing: rows of suppressed tickets, the end of those that have ended.

    Where the setting is off no replica applies a rule, so none is left standing that would say so.
    """
    for row in () if enabled else suppressions.active(session):
        lift(session, row.ticket_id, actor=actor, why="switched_off")
    _remake(session, actor)
    restricted = Ticket.acts[RESTRICTED].as_string().is_not(None)
    query = select(Ticket).where(Ticket.closed_at.is_(None), or_(Ticket.status.in_(_SUPPRESSED), restricted))
    tickets = {ticket.ticket_id: ticket for ticket in session.scalars(query) if _wanted(ticket)}
    for row in suppressions.active(session):
        if row.ticket_id not in tickets:
            tickets[row.ticket_id] = get_ticket(session, row.ticket_id)
    for ticket in tickets.values():
        try:
            follow(session, ticket, enabled=enabled, actor=actor)
        except LetheError as error:  # one damaged request must not leave others unsuppressed
            _LOG.error("ticket %s cannot be suppressed: %s", ticket.ticket_id, error.code)


def _remake(session: Session, actor: str) -> None:
    """Rules that a lost key sealed are made anew: until then no replica can read them, and answers nobody."""
    for row in suppressions.active(session):
        if _opens(session, row):
            continue
        try:
            rule = _made_anew(session, get_ticket(session, row.ticket_id))
        except LetheError as error:  # the row stays: whom nobody can suppress, nobody is told about
            _LOG.error("the rule of ticket %s cannot be made anew: %s", row.ticket_id, error.code)
            continue
        _seal(session, row, rule)
        session.flush()
        _record(session, "remade", row, {**_sizes(rule), "actor": actor}, utc_now())


def _made_anew(session: Session, ticket: Ticket) -> Rule:
    if any(item.purpose == sealed_items.SUPPRESSION for item in sealed_items.items_of(session, ticket.ticket_id)):
        return _kept(session, ticket.ticket_id)
    return rule_of_request(request_of(session, ticket), region=region_of(session))


def _opens(session: Session, row: Suppression) -> bool:
    try:
        _open(session, row)
    except LetheError:
        return False
    return True


def tend(store: Store, *, enabled: bool, repair: bool = False) -> None:
    """One look around of the control loop: note what is confirmed.

    Args:
        store: Opened with keys.
        enabled: The setting ``serving.suppression``.
        repair: Also make up for what a crash left undone; reads more, so not at every look.
    """
    with store.read() as session:
        waits = bool(suppressions.unconfirmed(session))
        lifted = repair and suppressions.lifted_since(session, utc_now() - _SCRUBBED)
    if waits or repair:
        with store.write() as session:
            if repair:
                ensure(session, enabled=enabled)
            confirm(session)
    if lifted:
        store.scrub()


def state_of(session: Session, ticket: Ticket) -> suppressions.State:
    """Where the suppression of a ticket stands."""
    rows = suppressions.of_ticket(session, ticket.ticket_id)
    return suppressions.state_of(rows) if rows else suppressions.State(state="off" if OFF in ticket.acts else "none")


def active_tickets(session: Session, base_digest: str) -> set[str]:
    """Tickets whose suppression every replica of a base has confirmed: a release may be served that lacks them."""
    rows = suppressions.active(session, base_digest=base_digest)
    return {row.ticket_id for row in rows if row.confirmed_at is not None}


def _sizes(rule: Rule) -> Mapping[str, int]:
    return {"names": len(rule.names), "identifiers": len(rule.identifiers), "phrases": len(rule.phrases)}


def _record(session: Session, what: str, row: Suppression, facts: Mapping[str, Any], at: datetime) -> None:
    payload = {
        "ticket_id": row.ticket_id,
        "base": row.base_digest,
        "reason": row.reason,
        "version": row.version,
        **facts,
    }
    audit.append(session, kind=f"suppression.{what}", payload=payload, subject_ref=row.subject_ref, at=at)
