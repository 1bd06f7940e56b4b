import pytest

from policies.errors import LetheError
from policies.lifecycle import RunEvent, TicketEvent
from services.store import releases, runs
from services.store.engine import Store
from services.store.tables import Run, Ticket
from tests.unit.services.store.samples import BASE, NOW, a_ready_ticket, a_release, a_ticket, step, swap


def a_run(store: Store) -> tuple[Run, list[Ticket]]:
    with store.write() as session:
        waiting = [a_ready_ticket(session, f"e-{i}") for i in range(2)]
        run = runs.plan_run(
            session,
            base_digest=BASE,
            ticket_ids=[t.ticket_id for t in waiting],
            method="relearn",
            seed=7,
            actor="system:plan",
        )
    return run, waiting


def move(store: Store, run: Run, event: RunEvent, attempt: int | None = 1, **results: bool | str) -> str:
    with store.write() as session:
        moved = runs.transition_run(session, run.run_id, event, actor="w", attempt=attempt, at=NOW, **results)  # type: ignore[arg-type]
        return moved.status


def test_a_run_goes_its_way_with_results_from_the_store(store: Store) -> None:
    run, waiting = a_run(store)
    with store.write() as session:
        assert runs.new_attempt(session, run.run_id, actor="w", at=NOW) == 1
    assert move(store, run, RunEvent.START) == "augmenting"
    assert move(store, run, RunEvent.AUGMENTED) == "checking"
    with pytest.raises(LetheError) as unchecked:
        move(store, run, RunEvent.CHECKED)
    assert unchecked.value.code == "lifecycle.guarded"
    assert move(store, run, RunEvent.CHECKED, checks_passed=True) == "training"
    assert move(store, run, RunEvent.TRAINED) == "verifying"
    assert move(store, run, RunEvent.VERIFIED, verdict_passed=True) == "releasing"
    assert move(store, run, RunEvent.RELEASED, release_digest="r1") == "swapping"
    with pytest.raises(LetheError) as early:
        move(store, run, RunEvent.SWAPPED)
    assert early.value.code == "lifecycle.guarded"
    with store.write() as session:
        releases.init_desired(session, a_release(session, "r0"), actor="t")
        a_release(session, "r1", tuple(t.ticket_id for t in waiting))
        swap(session, "r1")
    assert move(store, run, RunEvent.SWAPPED) == "reporting"
    assert move(store, run, RunEvent.REPORTED) == "completed"
    with store.read() as session:
        assert runs.get_run(session, run.run_id).ended_at == NOW
        assert [t.ticket_id for t in runs.tickets_of(session, run.run_id)] == sorted(t.ticket_id for t in waiting)
        assert [r.run_id for r in runs.runs_of(session, waiting[0].ticket_id)] == [run.run_id]


def test_a_late_write_of_an_older_attempt_is_refused(store: Store) -> None:
    run, _ = a_run(store)
    with store.write() as session:
        runs.new_attempt(session, run.run_id, actor="w-1")
        assert runs.write_progress(session, run.run_id, 1, {"step": 1}) is False
    with store.write() as session:
        assert runs.new_attempt(session, run.run_id, actor="w-2") == 2
    with pytest.raises(LetheError) as late, store.write() as session:
        runs.write_progress(session, run.run_id, 1, {"step": 2})
    assert late.value.code == "run.stale_attempt"
    with pytest.raises(LetheError) as late, store.write() as session:
        runs.transition_run(session, run.run_id, RunEvent.START, actor="w-1", attempt=1)
    assert late.value.code == "run.stale_attempt"
    with store.read() as session:
        found = runs.get_run(session, run.run_id)
        assert (found.progress, found.status) == ({"step": 1}, "planned")


def test_the_worker_learns_of_a_cancel_with_its_progress(store: Store) -> None:
    run, _ = a_run(store)
    with store.write() as session:
        runs.new_attempt(session, run.run_id, actor="w")
        runs.request_cancel(session, run.run_id)
        assert runs.write_progress(session, run.run_id, 1, {"step": 3}) is True


def test_a_hold_on_one_ticket_stops_the_run_of_all(store: Store) -> None:
    run, waiting = a_run(store)
    with store.write() as session:
        step(session, waiting[0], TicketEvent.HOLD, reason="claim")
    with pytest.raises(LetheError) as held:
        move(store, run, RunEvent.START, attempt=None)
    assert held.value.code == "lifecycle.guarded"
    assert move(store, run, RunEvent.CANCEL, attempt=None, reason_code="ticket.held") == "cancelled"


def test_no_run_without_a_ready_ticket(store: Store) -> None:
    with store.write() as session:
        ticket = a_ticket(session)
    with pytest.raises(LetheError) as refused, store.write() as session:
        runs.plan_run(
            session, base_digest=BASE, ticket_ids=[ticket.ticket_id], method="relearn", seed=0, actor="system:plan"
        )
    assert refused.value.code == "lifecycle.guarded"
    with store.read() as session:
        assert runs.list_runs(session) == []


def test_an_ended_run_takes_no_new_attempt(store: Store) -> None:
    run, _ = a_run(store)
    move(store, run, RunEvent.FAIL, attempt=None, reason_code="internal")
    with pytest.raises(LetheError) as ended, store.write() as session:
        runs.new_attempt(session, run.run_id, actor="w")
    assert ended.value.code == "lifecycle.forbidden"
    with store.read() as session:
        assert [r.reason_code for r in runs.list_runs(session, statuses=["failed"], base_digest=BASE)] == ["internal"]


def test_an_unknown_run_has_its_code(store: Store) -> None:
    with pytest.raises(LetheError) as error, store.write() as session:
        runs.fenced(session, "r-none", 1)
    assert error.value.code == "run.not_found"
