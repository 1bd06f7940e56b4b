"""The way of a run, step by step, against a real store; the child that would train is a fake that says so."""

import contextlib
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from policies.errors import LetheError
from policies.lifecycle import RunEvent, TicketEvent, TicketStatus
from services import run, telemetry
from services.jobs import flow
from services.reports.write import read_report
from services.run import STEPS, Workshop, begin, carry_out, take
from services.store.releases import list_releases
from services.store.runs import new_attempt, request_cancel, transition_run
from services.store.steps import steps_of
from services.store.tables import RunStep
from services.store.tickets import transition_ticket
from services.unlearning.protocol import Progress
from tests.unit.services.place import OFFICER, RELEASE_0, FakeRunners, Place, Script, codes, measured, trained

DIED = LetheError("runner.died", "the runner ended with status -9")


@pytest.fixture
def run_id(place: Place) -> str:
    return place.planned(0, 1)


def shop(place: Place, **answers: Any) -> tuple[Workshop, Script]:
    script = Script({op: list(given) for op, given in answers.items()})
    return Workshop(place.installation, place.store, FakeRunners(place, script)), script


def work(monkeypatch: pytest.MonkeyPatch, workshop: Workshop, run_id: str, attempt: int = 0) -> str:
    """The body of the job, without DBOS around it."""
    job = flow.Job(workflow_id=f"{run_id}:work.1", run_id=run_id, attempt=attempt)
    monkeypatch.setattr("services.jobs.current", lambda: job)
    return carry_out(workshop, run_id)


def found_steps(place: Place, run_id: str) -> dict[str, RunStep]:
    with place.store.read() as session:
        return steps_of(session, run_id)


def report_of(place: Place, run_id: str) -> list[dict[str, Any]]:
    return [
        read_report(place.installation.path("reports", one.ticket_id, "report.json")) for one in place.tickets(run_id)
    ]


def test_every_step_in_order_up_to_the_release(place: Place, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop, script = shop(place)
    assert work(monkeypatch, workshop, run_id) == "released"
    assert script.calls == [
        ("augment", {"run_id": run_id}),
        ("check", {"run_id": run_id}),
        ("train", {"run_id": run_id, "start": "release", "again": 0}),
        ("verify", {"run_id": run_id, "directory": "release"}),
        ("release", {"run_id": run_id}),
    ]
    done = place.run(run_id)
    assert (done.status, done.checks_passed, done.verdict_passed) == ("swapping", True, True)
    assert list(found_steps(place, run_id)) == ["augment", "check", "train", "verify", "release"]
    assert all(step.ended_at and step.result for step in found_steps(place, run_id).values())
    assert done.release_digest is not None
    made = place.release(done.release_digest)
    assert (made.parent_digest, made.run_id) == (RELEASE_0, run_id)
    assert set(made.watermark) == {one.ticket_id for one in place.tickets(run_id)}
    assert {one.status for one in place.tickets(run_id)} == {TicketStatus.IN_RUN}
    assert isinstance(workshop.runners, FakeRunners)
    assert [child.closed for child in workshop.runners.started] == [True]


def test_a_job_that_is_run_again_skips_what_is_done(place: Place, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop, script = shop(place)
    begin(workshop, run_id, 0)
    assert take(workshop, run_id, STEPS[0], 0) == "checking"
    assert take(workshop, run_id, STEPS[0], 0) == "checking"
    assert take(workshop, run_id, STEPS[2], 0) == "checking"  # not due yet
    assert script.ops() == ["augment"]
    with place.store.write() as session:
        attempt = new_attempt(session, run_id, actor="system:reaper")
    assert work(monkeypatch, workshop, run_id, attempt) == "released"
    assert script.ops() == ["augment", "check", "train", "verify", "release"]
    assert work(monkeypatch, workshop, run_id, attempt) == "released"
    assert len(script.calls) == 5
    assert [step.attempt for step in found_steps(place, run_id).values()] == [0, 1, 1, 1, 1]


def test_a_release_that_was_entered_before_the_crash_is_not_sealed_again(
    place: Place, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop, script = shop(place)
    begin(workshop, run_id, 0)
    for step in STEPS[:-1]:
        take(workshop, run_id, step, 0)
    with monkeypatch.context() as dying:
        dying.setattr("services.run._complete", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))  # dies right here
        with pytest.raises(KeyboardInterrupt):
            take(workshop, run_id, STEPS[-1], 0)
    with place.store.write() as session:
        [entered] = [one for one in list_releases(session) if one.run_id == run_id]
        attempt = new_attempt(session, run_id, actor="system:reaper")
    script.answers["release"] = [LetheError("internal", "it would be another digest by now")]
    assert work(monkeypatch, workshop, run_id, attempt) == "released"
    assert script.ops().count("release") == 1
    assert place.run(run_id).release_digest == entered.digest
    with place.store.read() as session:
        assert [one.digest for one in list_releases(session) if one.run_id == run_id] == [entered.digest]


def test_a_step_that_broke_off_is_begun_again_and_keeps_its_first_start(place: Place, run_id: str) -> None:
    workshop, _ = shop(place, augment=[LetheError("storage.full", "full")])
    begin(workshop, run_id, 0)
    with pytest.raises(LetheError):
        take(workshop, run_id, STEPS[0], 0)
    first = found_steps(place, run_id)["augment"]
    assert (place.run(run_id).status, first.ended_at) == ("augmenting", None)
    take(workshop, run_id, STEPS[0], 0)
    again = found_steps(place, run_id)["augment"]
    assert (again.started_at, again.ended_at is None) == (first.started_at, False)


def test_failing_checks_quarantine_the_run_and_its_tickets(
    place: Place, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = [{"expectation": "no_leak", "success": False, "row_ids": ["a" * 12]}]
    workshop, script = shop(place, check=[{"success": False, "results": results}])
    assert work(monkeypatch, workshop, run_id) == "quarantined"
    assert script.ops() == ["augment", "check"]
    assert codes(place.tickets(run_id)) == {(TicketStatus.QUARANTINED, "checks.quarantined")}
    assert place.run(run_id).checks_passed is False
    assert found_steps(place, run_id)["check"].result == {"success": False, "results": results}
    assert not place.installation.path("runs", run_id).exists()
    for report in report_of(place, run_id):
        assert report["summary"]["status"] == "quarantined"


def test_a_rejected_verdict_swaps_nothing_and_the_report_says_why(
    place: Place, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = {
        "train": [trained("base"), {**trained("base"), "directory": "base-1", "seed": 1000}],
        "verify": [measured("undecided"), measured("rejected", "base-1")],
    }
    workshop, script = shop(place, **tries)
    assert work(monkeypatch, workshop, run_id) == "rejected"
    assert script.ops() == ["augment", "check", "train", "verify", "train", "verify"]
    assert codes(place.tickets(run_id)) == {(TicketStatus.REJECTED, "verdict.rejected")}
    done = place.run(run_id)
    assert (done.verdict_passed, done.reason_code, done.release_digest) == (False, "verdict.rejected", None)
    with place.store.read() as session:
        assert [release.digest for release in list_releases(session)] == [RELEASE_0]
    for report in report_of(place, run_id):
        assert report["summary"]["verdict"] == "rejected"
        assert any(gate["state"] == "fail" for gate in report["gates"])


def test_a_warm_start_that_is_rejected_is_made_once_more_from_the_base(
    place: Place, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop, script = shop(place, verify=[measured("undecided")])
    assert work(monkeypatch, workshop, run_id) == "released"
    assert script.calls[2:6] == [
        ("train", {"run_id": run_id, "start": "release", "again": 0}),
        ("verify", {"run_id": run_id, "directory": "release"}),
        ("train", {"run_id": run_id, "start": "base", "again": 0}),
        ("verify", {"run_id": run_id, "directory": "base"}),
    ]
    result = found_steps(place, run_id)["verify"].result or {}
    assert (result["outcome"], result["directory"], result["training"]["start"]) == ("accepted", "base", "base")
    (first,) = result["earlier_tries"]
    assert (first["found"]["outcome"], first["training"]["start"]) == ("undecided", "release")


def test_what_is_rejected_from_the_base_has_one_more_try_with_another_seed(
    place: Place, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop, script = shop(place, train=[trained("base")], verify=[measured("rejected")])
    assert work(monkeypatch, workshop, run_id) == "released"
    asked = [(args["start"], args["again"]) for op, args in script.calls if op == "train"]
    assert asked == [("release", 0), ("base", 1)], "a run without a release behind it began at the base"


def test_the_tries_of_a_run_come_to_an_end(place: Place, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop, script = shop(place, verify=[measured("rejected"), measured("rejected"), measured("rejected")])
    assert work(monkeypatch, workshop, run_id) == "rejected"
    asked = [(args["start"], args["again"]) for op, args in script.calls if op == "train"]
    assert asked == [("release", 0), ("base", 0), ("base", 1)]


def test_nothing_is_trained_again_where_no_training_could_close_what_is_open(
    place: Place, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop, script = shop(place, verify=[{**measured("undecided"), "training_could_help": False}])
    assert work(monkeypatch, workshop, run_id) == "rejected"
    assert script.ops() == ["augment", "check", "train", "verify"]


def test_a_cancel_while_it_trains_leaves_the_tickets_ready_for_the_next_run(
    place: Place, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def training(args: Mapping[str, Any], progress: Progress, should_cancel: Callable[[], bool]) -> dict[str, Any]:
        assert not should_cancel()
        with place.store.write() as session:
            request_cancel(session, run_id)
        progress({"step": 1, "steps": 9})
        assert should_cancel()
        raise LetheError("unlearn.cancelled", "cancelled at step 1")

    workshop, _ = shop(place, train=[training])
    assert work(monkeypatch, workshop, run_id) == "cancelled"
    assert codes(place.tickets(run_id)) == {(TicketStatus.READY, "unlearn.cancelled")}
    assert not place.installation.path("runs", run_id).exists()


@pytest.mark.parametrize("op", ["augment", "check", "verify", "release"])
def test_a_hold_on_one_ticket_cancels_the_run_at_any_step_and_fails_no_other(
    place: Place, run_id: str, monkeypatch: pytest.MonkeyPatch, op: str
) -> None:
    held, other = place.tickets(run_id)

    def hold_first(args: Mapping[str, Any], progress: Progress, cancel: Callable[[], bool]) -> dict[str, Any]:
        place.desk.hold(held.ticket_id, OFFICER, reason="a court asked")
        found: dict[str, Any] = getattr(workshop.runners.of(run_id), f"_{op}")(args, progress, cancel)
        return found

    workshop, _ = shop(place, **{op: [hold_first]})
    assert work(monkeypatch, workshop, run_id) == "cancelled"
    assert place.ticket(held.ticket_id).status == TicketStatus.ON_HOLD
    assert place.ticket(other.ticket_id).status == TicketStatus.READY


def test_a_run_that_was_cancelled_before_it_began_does_not_begin(
    place: Place, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with place.store.write() as session:
        request_cancel(session, run_id)
    workshop, script = shop(place)
    assert work(monkeypatch, workshop, run_id) == "cancelled"
    assert script.calls == []


def test_a_runner_that_dies_twice_is_started_again(place: Place, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop, script = shop(place, train=[DIED, DIED])
    assert work(monkeypatch, workshop, run_id) == "released"
    assert script.ops().count("train") == 3
    assert isinstance(workshop.runners, FakeRunners)
    assert [child.closed for child in workshop.runners.started] == [True] * 3


def test_a_runner_that_always_dies_fails_the_run(place: Place, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop, script = shop(place, train=[DIED] * 9)
    assert work(monkeypatch, workshop, run_id) == "failed"
    assert script.ops().count("train") == 3
    assert codes(place.tickets(run_id)) == {(TicketStatus.FAILED, "runner.died")}
    assert len(report_of(place, run_id)) == 2
    assert work(monkeypatch, workshop, run_id) == "failed"  # the job replayed after a crash


def test_what_a_replay_knows_of_a_refusal_is_its_code_and_that_is_enough(place: Place, run_id: str) -> None:
    results = [{"expectation": "no_leak", "success": False, "row_ids": []}]
    workshop, _ = shop(place, check=[{"success": False, "results": results}])
    begin(workshop, run_id, 0)
    take(workshop, run_id, STEPS[0], 0)
    with pytest.raises(LetheError) as caught:
        take(workshop, run_id, STEPS[1], 0)
    assert run.give_up(workshop, run_id, 0, caught.value.code) == "quarantined"
    assert run.give_up(workshop, run_id, 0, caught.value.code) == "quarantined"
    assert (found_steps(place, run_id)["check"].result or {})["results"] == results


def test_a_stale_attempt_writes_nothing(place: Place, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken_over(args: Mapping[str, Any], progress: Progress, cancel: Callable[[], bool]) -> dict[str, Any]:
        with place.store.write() as session:
            new_attempt(session, run_id, actor="system:reaper")
        return trained("release")

    workshop, _ = shop(place, train=[taken_over])
    with pytest.raises(LetheError) as caught:
        work(monkeypatch, workshop, run_id)
    assert caught.value.code == "run.stale_attempt"
    late = place.run(run_id)
    assert (late.status, late.attempt) == ("training", 1)
    assert found_steps(place, run_id)["train"].result is None
    assert {one.status for one in place.tickets(run_id)} == {TicketStatus.IN_RUN}
    with pytest.raises(LetheError):
        run.give_up(workshop, run_id, 0, "runner.died")
    assert {one.status for one in place.tickets(run_id)} == {TicketStatus.IN_RUN}


def test_a_stale_attempt_is_stopped_by_its_own_progress(place: Place, run_id: str) -> None:
    def slow(args: Mapping[str, Any], progress: Progress, cancel: Callable[[], bool]) -> dict[str, Any]:
        with place.store.write() as session:
            new_attempt(session, run_id, actor="system:reaper")
        progress({"done": 1})
        raise AssertionError("the progress was taken")

    workshop, _ = shop(place, augment=[slow])
    begin(workshop, run_id, 0)
    with pytest.raises(LetheError) as caught:
        take(workshop, run_id, STEPS[0], 0)
    assert caught.value.code == "run.stale_attempt"
    assert place.run(run_id).progress is None


def test_progress_is_stored_at_most_twice_a_second(place: Place, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: now[0]))
    stored: list[int] = []

    def training(args: Mapping[str, Any], progress: Progress, cancel: Callable[[], bool]) -> dict[str, Any]:
        for step in range(100):
            now[0] += 0.1
            progress({"step": step, "steps": 100})
            stored.append((place.run(run_id).progress or {})["step"])
        return trained("release")

    workshop, _ = shop(place, train=[training])
    begin(workshop, run_id, 0)
    for step in STEPS[:3]:
        take(workshop, run_id, step, 0)
    assert 15 <= len(set(stored)) <= 21  # of a hundred in ten seconds


def test_a_run_that_ended_otherwise_is_left_alone(place: Place, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with place.store.write() as session:
        for one in place.tickets(run_id):
            transition_ticket(session, one.ticket_id, TicketEvent.RUN_FAILED, actor="t", reason_code="jobs.given_up")
        transition_run(session, run_id, RunEvent.FAIL, actor="t", reason_code="jobs.given_up")
    workshop, script = shop(place)
    assert work(monkeypatch, workshop, run_id) == "failed"
    assert script.calls == []


@pytest.mark.parametrize(
    ("answer", "outcome"), [(None, "ok"), (DIED, "runner.died"), (ValueError("mara@example.org"), "internal")]
)
def test_how_a_step_ended_is_counted(
    place: Place, run_id: str, monkeypatch: pytest.MonkeyPatch, answer: Exception | None, outcome: str
) -> None:
    def augmenting(args: Mapping[str, Any], progress: Progress, cancel: Callable[[], bool]) -> dict[str, Any]:
        if answer is not None:
            raise answer
        return {}

    counted: list[str] = []
    monkeypatch.setattr(telemetry, "record_step", lambda _, __, outcome: counted.append(outcome))
    workshop, _ = shop(place, augment=[augmenting] * 3)
    begin(workshop, run_id, 0)
    with contextlib.suppress(ValueError, LetheError):
        take(workshop, run_id, STEPS[0], 0)
    assert counted == [outcome]


def test_one_child_at_a_time(place: Place) -> None:
    runners = FakeRunners(place)
    first = runners.of("r-1")
    assert runners.of("r-1") is first
    second = runners.of("r-2")
    assert second is not first
    assert [child.closed for child in runners.started] == [True, False]
    runners.end()
    runners.end()
    assert runners.started[1].closed
