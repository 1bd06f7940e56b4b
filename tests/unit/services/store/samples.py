"""Rows that several tests of the store begin with."""

from datetime import UTC, datetime

from sqlalchemy.orm import Session

from policies.lifecycle import TicketEvent
from services import sealing
from services.store import releases, tickets
from services.store.tables import DesiredState, ForgetSet, Release, Ticket

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RING = sealing.KeyRing(kek=b"k" * 32, lookup=b"l" * 32, digest=b"d" * 32, suppression=b"s" * 32)
BASE = "b" * 64


def a_ticket(session: Session, external_id: str = "e-1", *, received_at: datetime = NOW) -> Ticket:
    return tickets.add_ticket(
        session,
        channel="api",
        external_id=external_id,
        body_digest="0" * 64,
        regime="gdpr",
        base="demo",
        subject_ref=sealing.new_subject(session),
        received_at=received_at,
        actor="key:1",
    )


def step(session: Session, ticket: Ticket, event: TicketEvent, actor: str = "key:1", **more: str) -> Ticket:
    return tickets.transition_ticket(session, ticket.ticket_id, event, actor=actor, at=NOW, **more)  # type: ignore[arg-type]


def a_ready_ticket(session: Session, external_id: str = "e-1") -> Ticket:
    ticket = a_ticket(session, external_id)
    step(session, ticket, TicketEvent.VERIFY_IDENTITY)
    step(session, ticket, TicketEvent.REQUIRE_APPROVAL)
    step(session, ticket, TicketEvent.APPROVE, actor="key:2")
    session.add(ForgetSet(ticket_id=ticket.ticket_id, digest="f" * 64, counts={"records": 3}, created_at=NOW))
    session.flush()
    return step(session, ticket, TicketEvent.FORGET_SET_FIXED)


def swap(
    session: Session, digest: str, *, expected: int = 0, suppressed: tuple[str, ...] = (), base: str = BASE
) -> DesiredState:
    """Propose and commit, as if every replica had prepared."""
    releases.propose(
        session,
        base,
        expected_generation=expected,
        release_digest=digest,
        prepare_s=60,
        actor="t",
        suppressed=suppressed,
    )
    return releases.commit(session, base, generation=expected + 1, release_digest=digest, actor="t")


def a_release(session: Session, digest: str, watermark: tuple[str, ...] = (), base: str = BASE) -> Release:
    return releases.add_release(
        session, digest=digest, base_digest=base, path=f"releases/{digest}", watermark=watermark, verdict={}, actor="t"
    )
