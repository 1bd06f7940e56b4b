from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from policies.lifecycle import RunStatus, TicketEvent
from services import telemetry
from services.serving.alias import Alias, Served
from services.serving.figures import observe_fleet, observe_replica, read_fleet, record_receipt
from services.serving.swap import Confirmation, SwapReceipt
from services.settings import load_settings
from services.store.engine import Store
from services.store.releases import add_release, init_desired, report_replica
from services.store.runs import plan_run
from services.store.tables import Recheck, Suppression
from services.store.types import new_id, utc_now
from services.telemetry import prometheus
from tests.unit.services.store.samples import BASE, a_ready_ticket, a_ticket, swap

FIRST, SECOND = "1" * 64, "2" * 64


@pytest.fixture
def measured(tmp_path: Path) -> Iterator[None]:
    started = telemetry.setup("lethe-test", load_settings(tmp_path))
    yield
    started.shutdown()


def begin(store: Store) -> None:
    with store.write() as session:
        for digest in (FIRST, SECOND):
            add_release(
                session, digest=digest, base_digest=BASE, path="/r", watermark=(), verdict={}, actor="system:test"
            )
        first = add_release(
            session, digest=FIRST, base_digest=BASE, path="/r", watermark=(), verdict={}, actor="system:test"
        )
        init_desired(session, first, actor="system:test")


def report(store: Store, name: str, *, generation: int, digest: str, lease_s: float, state: str = "ready") -> None:
    with store.write() as session:
        report_replica(
            session,
            name,
            base_digest=BASE,
            state=state,
            generation=generation,
            release_digest=digest,
            lease_s=lease_s,
        )


def test_replicas_are_counted_by_what_they_said(store: Store, measured: None) -> None:
    begin(store)
    report(store, "a", generation=0, digest=FIRST, lease_s=60)
    report(store, "slow", generation=0, digest=FIRST, lease_s=60)
    report(store, "gone", generation=0, digest=FIRST, lease_s=0)
    with store.write() as session:
        swap(session, SECOND)
    report(store, "a", generation=1, digest=SECOND, lease_s=60)
    observe_fleet(store)
    with store.read() as session:
        fleet = read_fleet(session)
    assert (fleet.live, fleet.behind, fleet.fenced) == (2, 1, 0)
    page = prometheus.page()[0].decode()
    assert "lethe_replicas_behind 1.0" in page
    assert f'lethe_generation_desired{{lethe_base="{BASE[:16]}"}} 1.0' in page
    assert "lethe_erasure_due_seconds" not in page  # no open ticket has a deadline


def test_pending_erasures_count_from_the_approval_and_end_with_the_ticket(store: Store) -> None:
    begin(store)
    with store.write() as session:
        ticket = a_ready_ticket(session)
        ticket.approved_at = utc_now() - timedelta(seconds=90)
        ticket.due_at = utc_now() + timedelta(seconds=900)
        a_ticket(session, "e-2")  # not approved: it does not wait for a release
        session.add(
            Suppression(
                suppression_id="s-1",
                ticket_id=ticket.ticket_id,
                subject_ref=ticket.subject_ref,
                base_digest=BASE,
                reason="approved",
                version=1,
                ciphertext=b"x",
                since=utc_now(),
            )
        )
    with store.read() as session:
        fleet = read_fleet(session)
    assert fleet.waiting == 1
    assert 90 <= fleet.pending_s < 900
    assert fleet.due_s is not None
    assert 0 < fleet.due_s <= 900
    assert (fleet.suppressed, fleet.unconfirmed) == (1, 1)
    with store.write() as session:
        from services.store.tickets import transition_ticket

        transition_ticket(session, ticket.ticket_id, TicketEvent.CANCEL, actor="key:1", reason="withdrawn")
    with store.read() as session:
        fleet = read_fleet(session)
    assert (fleet.waiting, fleet.pending_s) == (0, 0.0)


def test_what_the_gate_and_the_rechecks_found_is_told_for_a_day_by_the_store(store: Store, measured: None) -> None:
    """Whoever counted it may be gone: a worker is removed with its last run."""
    observe_fleet(store)
    page = prometheus.page()[0].decode()
    assert "lethe_runs_rejected 0.0" in page
    assert "lethe_rechecks_failed 0.0" in page
    begin(store)
    for hours in (1, 25):
        at = utc_now() - timedelta(hours=hours)
        with store.write() as session:
            ticket = a_ready_ticket(session, f"e-{hours}")
            ids = {"base_digest": BASE, "ticket_ids": [ticket.ticket_id]}
            run = plan_run(session, **ids, method="relearn_robust", seed=1, actor="t", at=at)  # type: ignore[arg-type]
            run.status, run.ended_at = RunStatus.REJECTED, at
            for outcome in ("pass", "fail"):
                finding: dict[str, Any] = {"kind": "scheduled", "replica_id": "a", "outcome": outcome, "figures": {}}
                session.add(Recheck(recheck_id=new_id("k"), at=at, base_digest=BASE, generation=1, **finding))
    page = prometheus.page()[0].decode()
    assert "lethe_runs_rejected 1.0" in page
    assert "lethe_rechecks_failed 1.0" in page


def test_a_replica_tells_its_generation_and_whether_it_answers(measured: None) -> None:
    replica = SimpleNamespace(alias=Alias(), ready=False)
    observe_replica("r-1", replica)
    assert 'lethe_adapter_generation{lethe_replica="r-1"} -1.0' in prometheus.page()[0].decode()
    replica.alias.flip(Served(7, "u-0", FIRST))
    replica.ready = True
    page = prometheus.page()[0].decode()
    assert 'lethe_adapter_generation{lethe_replica="r-1"} 7.0' in page
    assert 'lethe_replica_ready{lethe_replica="r-1"} 1.0' in page


def test_a_swap_is_told_by_its_phases(measured: None) -> None:
    flipped = utc_now()
    word = Confirmation(
        replica_id="r-1",
        digest=SECOND,
        engine=None,
        prepared_at=flipped - timedelta(seconds=2),
        committed_at=flipped,
        acked_at=flipped + timedelta(seconds=1),
    )
    record_receipt(SwapReceipt(base_digest=BASE, generation=1, digest=SECOND, replicas=(word,), fenced=(), seconds=4.0))
    page = prometheus.page()[0].decode()
    assert 'lethe_swap_duration_seconds_sum{lethe_outcome="ok"} 4.0' in page
    assert 'lethe_swap_phase_duration_seconds_sum{lethe_phase="prepare"} 3.0' in page
    assert 'lethe_swap_phase_duration_seconds_sum{lethe_phase="commit"} 1.0' in page
