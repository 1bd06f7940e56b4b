"""What people order of the released model: promote a release, roll back, re-check. Never back into remembering.

A target must cover every ticket of the desired watermark; whom it does not cover is suppressed first, on every replica,
or the order is refused. An order is a row; a durable job of the intake carries it out, and goes on after any crash.
"""

import os
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from policies.errors import LetheError
from policies.lifecycle import RunStatus, TicketStatus
from services import audit, sealed_items, sealing, suppression
from services.installation import Installation
from services.rechecks.rounds import failed_releases
from services.reports.collect import report_ticket
from services.serving.figures import record_receipt
from services.serving.swap import swap_to
from services.store import suppressions
from services.store.engine import Store
from services.store.releases import get_desired, get_release, list_desired, list_releases
from services.store.runs import list_runs
from services.store.tables import Release, ReleaseOrder, Report, Ticket
from services.store.types import new_id, utc_now

Kind = Literal["promote", "rollback", "forward", "recheck"]
OPEN, DONE, FAILED = "open", "done", "failed"
_KINDS = {"promote": "release.promoted", "rollback": "release.rolled_back", "forward": "release.rolled_forward"}
_POLL_S = 0.1
_APPLIED_S = 30.0  # beside a lease: how long replicas have to apply the rules of whoever is suppressed for a move


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a move would do; nothing in it is done yet.

    Attributes:
        kind: Of the order.
        base: Digest of the base.
        live: Digest of the release that is served.
        target: Digest of the release that would be.
        generation: That the move would make.
        uncovered: Tickets of the watermark that the target does not carry.
        suppressed: Those of them that every replica suppresses already.
        to_suppress: Those whose sealed rule can be put in force again.
        not_coverable: Those that can be neither: they refuse the move.
        refused: The error that ordering it now would give; None: it can be ordered.
    """

    kind: Kind
    base: str
    live: str
    target: str
    generation: int
    uncovered: tuple[str, ...]
    suppressed: tuple[str, ...]
    to_suppress: tuple[str, ...]
    not_coverable: tuple[str, ...]
    refused: str | None


def plan(session: Session, kind: Kind, target: str | None, *, base: str | None = None, suppress: bool) -> Plan:
    """What a move would do.

    Args:
        session: Any.
        kind: ``promote`` or ``rollback``.
        target: Digest of a release, or its beginning; None for a rollback: the parent of what is served.
        base: Digest of a base or its beginning; None: that of the target, or the only one.
        suppress: Whether whom the target does not cover may be suppressed instead.

    Raises:
        LetheError: ``release.not_found``, ``desired_state.missing``.
    """
    release = None if target is None else find(session, target)
    desired = get_desired(session, release.base_digest if release else _base(session, base))
    live = get_release(session, desired.release_digest)
    if release is None:
        release = get_release(session, live.parent_digest or "")
    uncovered = sorted(set(desired.watermark) - set(release.watermark))
    active = suppression.active_tickets(session, desired.base_digest)
    begun = {row.ticket_id for row in suppressions.active(session, base_digest=desired.base_digest)}
    kept = set(sealed_items.tickets_with(session, sealed_items.SUPPRESSION)) | begun
    rest = [one for one in uncovered if one not in active]
    found = Plan(
        kind=kind,
        base=desired.base_digest,
        live=live.digest,
        target=release.digest,
        generation=desired.generation + 1,
        uncovered=tuple(uncovered),
        suppressed=tuple(one for one in uncovered if one in active),
        to_suppress=tuple(one for one in rest if one in kept),
        not_coverable=tuple(one for one in rest if one not in kept),
        refused=None,
    )
    return Plan(**{**asdict(found), "refused": _refusal(session, found, live, release, suppress)})


def order(session: Session, found: Plan, *, actor: str, why: str, suppress: bool) -> str:
    """Order a planned move; the order's id.

    Raises:
        LetheError: What the plan says under ``refused``.
    """
    if found.refused is not None:
        details = (*found.not_coverable, *(() if suppress else found.to_suppress))
        raise LetheError(found.refused, "This move is not made.", details)
    return _insert(session, found.kind, found.base, found.target, suppress=suppress, actor=actor, why=why)


def order_recheck(session: Session, *, base: str | None, actor: str) -> str:
    """Order a re-check of people who were forgotten, now; the order's id."""
    return _insert(session, "recheck", _base(session, base), None, suppress=False, actor=actor)


def order_forward(session: Session, base: str, *, actor: str) -> str | None:
    """Order the newest other release that no probes have refuted and that covers every completed ticket.

    A ticket that was never completed may be missing where its person is suppressed. None where there is no such
    release, or one is ordered already.
    """
    desired = get_desired(session, base)
    suppressed = {row.ticket_id for row in suppressions.active(session, base_digest=base)}
    done = set(session.scalars(select(Ticket.ticket_id).where(Ticket.status == TicketStatus.COMPLETED)))
    needed = set(desired.watermark) - (suppressed - done)
    refuted = failed_releases(session, base) | {desired.release_digest}
    if any(one.base_digest == base and one.kind != "recheck" for one in open_orders(session)):
        return None
    for release in reversed(list_releases(session, base)):
        if release.digest not in refuted and needed <= set(release.watermark):
            return _insert(session, "forward", base, release.digest, suppress=True, actor=actor)
    return None


def open_orders(session: Session) -> list[ReleaseOrder]:
    """Orders that are not carried out yet, oldest first."""
    query = select(ReleaseOrder).where(ReleaseOrder.status == OPEN)
    return list(session.scalars(query.order_by(ReleaseOrder.ordered_at, ReleaseOrder.order_id)))


def get_order(session: Session, order_id: str) -> ReleaseOrder:
    """One order.

    Raises:
        LetheError: ``release.order_not_found``.
    """
    found = session.get(ReleaseOrder, order_id)
    if found is None:
        raise LetheError("release.order_not_found", "There is no such order.")
    return found


def kind_of(store: Store, order_id: str) -> str:
    """What was ordered."""
    with store.read() as session:
        return get_order(session, order_id).kind


def why_of(session: Session, one: ReleaseOrder) -> str | None:
    """A person's reason, unsealed; for whoever may see it."""
    if one.why is None:
        return None
    return AESGCM(_key(session)).decrypt(one.why[:12], one.why[12:], one.order_id.encode()).decode()


def find(session: Session, beginning: str) -> Release:
    """The release whose digest or name begins so.

    Raises:
        LetheError: ``release.not_found``: none, or several.
    """
    start = beginning.removeprefix("u-")
    found = [release for release in list_releases(session) if release.digest.startswith(start)]
    if not start or len(found) != 1:
        raise LetheError("release.not_found", f"{len(found) if start else 0} releases begin like that.")
    return found[0]


def suppress_uncovered(store: Store, order_id: str) -> str:
    """First step of a move: the people whom the target does not cover are suppressed, and every replica says so.

    Raises:
        LetheError: ``release.not_coverable``, ``swap.timeout``: not every replica applied the rules in time.
    """
    with store.write() as session:
        one = get_order(session, order_id)
        missing = _uncovered(session, one) if one.status == OPEN else []
        if missing and not one.suppress:
            raise LetheError("release.not_coverable", "The release does not cover these tickets.", tuple(missing))
        for ticket_id in missing:
            _suppress(session, ticket_id, one.actor)
    deadline = time.monotonic() + _APPLIED_S
    while missing:
        with store.write() as session:
            suppression.confirm(session)
            missing = _uncovered(session, one)
        if missing and time.monotonic() > deadline:
            raise LetheError("swap.timeout", "Not every replica applied the rules in time.", tuple(missing))
        time.sleep(_POLL_S)
    return one.status


def _suppress(session: Session, ticket_id: str, actor: str) -> None:
    try:
        suppression.suppress_again(session, ticket_id, suppression.ROLLBACK, actor=actor)
    except LetheError as error:
        raise LetheError("release.not_coverable", "A ticket cannot be suppressed again.", (ticket_id,)) from error


def move(installation: Installation, store: Store, order_id: str) -> str:
    """Second step: the swap itself.

    Raises:
        LetheError: As ``swap_to``.
    """
    with store.read() as session:
        one = get_order(session, order_id)
        if one.status != OPEN:
            return one.status
        suppressed = suppression.active_tickets(session, one.base_digest)
    assert one.release_digest is not None
    receipt = swap_to(
        store,
        one.base_digest,
        one.release_digest,
        settings=installation.settings,
        actor=one.actor,
        suppressed=suppressed,
        revive=True,
    )
    record_receipt(receipt)
    result = {
        "generation": receipt.generation,
        "seconds": receipt.seconds,
        "replicas": [word.replica_id for word in receipt.replicas],
        "fenced": list(receipt.fenced),
    }
    status = end(store, order_id, DONE, result=result)
    for ticket_id in sorted(suppressed):
        _report_again(installation, store, ticket_id)
    return status


def _report_again(installation: Installation, store: Store, ticket_id: str) -> None:
    """A report that was written says that the suppression ended; it has begun again."""
    with store.read() as session:
        written = session.get(Report, ticket_id) is not None
    if written:
        report_ticket(installation, store, ticket_id)


def end(
    store: Store, order_id: str, status: str, *, code: str | None = None, result: dict[str, Any] | None = None
) -> str:
    """Close an order, with its entry in the audit log; a closed one stays as it is."""
    with store.write() as session:
        one = get_order(session, order_id)
        if one.status != OPEN:
            return one.status
        one.status, one.reason_code, one.result, one.ended_at = status, code, result, utc_now()
        session.flush()
        kind = _KINDS.get(one.kind, "recheck.ordered") if status == DONE else "release.order_failed"
        payload = {**_about(session, one), "reason_code": code, "generation": (result or {}).get("generation")}
        audit.append(session, kind=kind, payload=payload, at=one.ended_at)
        # Who is covered again, or was suppressed for nothing, is asked about and then lifted. Not after a move forward
        # that failed: a re-check ordered it, and would order it again and again.
        if one.kind in _KINDS and (status == DONE or one.kind != "forward"):
            _insert(session, "recheck", one.base_digest, None, suppress=False, actor=one.actor)
        return status


def last_recheck(session: Session, base: str) -> datetime | None:
    """When a re-check of a base was ordered last."""
    query = select(func.max(ReleaseOrder.ordered_at)).where(
        ReleaseOrder.base_digest == base, ReleaseOrder.kind == "recheck"
    )
    return session.scalar(query)


def _refusal(session: Session, found: Plan, live: Release, release: Release, suppress: bool) -> str | None:
    if release.digest == live.digest:
        return "release.live"
    if found.kind == "rollback" and release.created_at >= live.created_at:
        return "release.newer"
    swapping = list_runs(session, base_digest=found.base, statuses=[RunStatus.SWAPPING])
    ordered = [one for one in open_orders(session) if one.base_digest == found.base and one.kind != "recheck"]
    if swapping or ordered:  # a proposal of neither is nobody's: the next swap takes it back once it is too old
        return "release.busy"
    if found.not_coverable or (found.to_suppress and not suppress):
        return "release.not_coverable"
    return None


def _insert(
    session: Session, kind: Kind, base: str, target: str | None, *, suppress: bool, actor: str, why: str | None = None
) -> str:
    at = utc_now()
    one = ReleaseOrder(
        order_id=new_id("o"),
        kind=kind,
        base_digest=base,
        release_digest=target,
        suppress=suppress,
        actor=actor,
        status=OPEN,
        ordered_at=at,
    )
    if why is not None:
        nonce = os.urandom(12)
        one.why = nonce + AESGCM(_key(session)).encrypt(nonce, why.encode(), one.order_id.encode())
    session.add(one)
    session.flush()
    audit.append(session, kind="release.ordered", payload=_about(session, one), at=at)
    return one.order_id


def _about(session: Session, one: ReleaseOrder) -> dict[str, Any]:
    """For the audit log: of the reason only a keyed digest, which says later whether it is still the one given."""
    why = why_of(session, one)
    return {
        "order_id": one.order_id,
        "order": one.kind,
        "base": one.base_digest,
        "release": one.release_digest,
        "suppress": one.suppress,
        "actor": one.actor,
        "why": None if why is None else sealing.ring_of(session).keyed_digest(why.encode()),
    }


def _uncovered(session: Session, one: ReleaseOrder) -> list[str]:
    """Tickets of the watermark that neither the target carries nor every replica suppresses."""
    if one.release_digest is None:
        return []
    watermark = set(get_desired(session, one.base_digest).watermark)
    covered = set(get_release(session, one.release_digest).watermark)
    return sorted(watermark - covered - suppression.active_tickets(session, one.base_digest))


def _base(session: Session, beginning: str | None) -> str:
    found = [state.base_digest for state in list_desired(session) if state.base_digest.startswith(beginning or "")]
    if len(found) != 1:
        raise LetheError("desired_state.missing", f"{len(found)} bases begin like that.")
    return found[0]


def reseal_reasons(session: Session, old: bytes, new: bytes) -> None:
    """Seal the reasons of all orders under another key of the installation; those that are so already stay."""
    before, after = AESGCM(_derived(old)), AESGCM(_derived(new))
    for one in session.scalars(select(ReleaseOrder).where(ReleaseOrder.why.is_not(None))):
        assert one.why is not None
        label = one.order_id.encode()
        try:
            why = before.decrypt(one.why[:12], one.why[12:], label)
        except InvalidTag:  # of an attempt that died before it was done
            after.decrypt(one.why[:12], one.why[12:], label)
            continue
        nonce = os.urandom(12)
        one.why = nonce + after.encrypt(nonce, why, label)


def _key(session: Session) -> bytes:
    """Reasons are sealed under the installation's key: they are nobody's in particular, yet may name somebody."""
    return _derived(sealing.ring_of(session).kek)


def _derived(kek: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"lethe/order-reason/1").derive(kek)
