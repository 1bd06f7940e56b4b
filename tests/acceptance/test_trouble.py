"""Two tickets that share a run, a hold in the middle of it, and then ``kill -9`` of every process there is.

One installation goes through it all, as a bad day would have it. What a fixture did is recorded, and the tests look at
it. Checkpoints are written every few steps here, so that there is one at the moment of the kill; all else is as usual.
"""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from policies.errors import LetheError
from services import keys
from services.store.releases import list_releases
from services.store.runs import get_run, transition_run, write_progress
from tests.acceptance.house import READY_S, House, Person, house, share
from tests.integration.serving_host import wait_until

pytestmark = pytest.mark.slow
HELD, ERASED = "p03", "p00"
UNLEARNING_WORKER = "_bentoml_impl.worker.service services.unlearning.service"
INTAKE_WORKER = "_bentoml_impl.worker.service services.intake.service"
SERVING = "bentoml serve services.serving.service"
RUNNER = "services.unlearning.runner"
ENGINE = "services.serving.engine"


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory, corpus: Path, base: Path) -> Iterator[House]:
    with house(
        tmp_path_factory.mktemp("trouble"),
        corpus={"path": str(corpus)},
        base={"path": str(base)},
        intake={"batch_window_s": 3.0},
        unlearning={"overrides": {"checkpoint_every": 5, "report_every": 1}},
    ) as made:
        made.up()
        yield made


@dataclass(frozen=True)
class Together:
    """Two tickets that were approved together."""

    held: str
    erased: str
    run_of_held: dict[str, Any]
    run_of_erased: dict[str, Any]


@pytest.fixture(scope="module")
def together(day: House, people: dict[str, Person]) -> Together:
    ids = [str(day.file(people[name])["ticket_id"]) for name in (HELD, ERASED)]
    for ticket_id in ids:
        day.approve(ticket_id)
    runs = [day.wait(one, _training(5), "training")["runs"] for one in ids]
    return Together(ids[0], ids[1], runs[0][-1], runs[1][-1])


def _training(step: int, after: int = -1) -> Any:
    """Whether the newest run of a ticket trains and has come to a step, in an attempt later than ``after``."""

    def reached(ticket: dict[str, Any]) -> bool:
        run = ticket["runs"][-1] if ticket["runs"] else None
        if run is None or run["status"] != "training" or run["attempt"] <= after or not run["progress"]:
            return False
        return int(run["progress"]["step"]) >= step if isinstance(run["progress"]["step"], int) else False

    return reached


@dataclass(frozen=True)
class Held:
    """After a hold on one of the two."""

    held: dict[str, Any]
    erased: dict[str, Any]


@pytest.fixture(scope="module")
def hold(day: House, together: Together) -> Held:
    with day.intake() as intake:
        intake.post(f"/v1/tickets/{together.held}/hold", {"reason": "a court has asked for these data"})
    erased = day.wait(together.erased, lambda t: len(t["runs"]) == 2, "a second run")
    return Held(day.ticket(together.held), erased)


@dataclass(frozen=True)
class Killed:
    """What was killed in the second run, and what became of it."""

    attempts: tuple[int, int, int]  # before the worker died, after it, and after the runner died
    refused: list[str]
    ticket: dict[str, Any]
    run: dict[str, Any]


@pytest.fixture(scope="module")
def killed(day: House, together: Together, hold: Held) -> Killed:
    """Engine, unlearning worker, runner, intake worker, `bentoml serve`: each once, none of them gently."""
    ticket_id = together.erased
    day.kill(ENGINE)
    first = day.wait(ticket_id, _training(8), "training")["runs"][-1]
    day.kill(UNLEARNING_WORKER)
    second = day.wait(ticket_id, _training(10, after=first["attempt"]), "training again")["runs"][-1]
    refused = _write_late(day, second["run_id"], first["attempt"])
    day.kill(RUNNER)
    third = day.wait(ticket_id, lambda t: t["runs"][-1]["status"] not in {"training"}, "past training")["runs"][-1]
    day.kill(INTAKE_WORKER)
    day.kill(SERVING)
    ticket = day.wait_end(ticket_id)
    with day.unlearning() as unlearning:
        run = dict(unlearning.get(f"/v1/runs/{third['run_id']}"))
    return Killed((first["attempt"], second["attempt"], third["attempt"]), refused, ticket, run)


def _write_late(day: House, run_id: str, attempt: int) -> list[str]:
    """What a worker that was thought dead would write, and how each write is refused."""
    from policies.lifecycle import RunEvent
    from services.store.steps import end_step

    codes = []
    with day.store() as store:
        for late in (
            lambda session: write_progress(session, run_id, attempt, {"step": 1}),
            lambda session: end_step(session, run_id, "train", attempt, {}),
            lambda session: transition_run(session, run_id, RunEvent.TRAINED, actor="system:late", attempt=attempt),
        ):
            with pytest.raises(LetheError) as refusal, store.write() as session:
                late(session)
            codes.append(refusal.value.code)
        with store.read() as session:
            assert get_run(session, run_id).status == "training"
    return codes


def test_two_tickets_that_are_approved_together_share_a_run(together: Together) -> None:
    assert together.run_of_held["run_id"] == together.run_of_erased["run_id"]


def test_a_hold_cancels_the_run_and_plans_the_other_ticket_anew(together: Together, hold: Held) -> None:
    assert hold.held["status"] == "on_hold"
    assert hold.held["legal_hold"]
    first, second = hold.erased["runs"]
    assert first["run_id"] == together.run_of_held["run_id"]
    assert first["status"] == "cancelled"
    assert hold.erased["status"] == "in_run"
    assert [run["run_id"] for run in hold.held["runs"]] == [first["run_id"]]
    assert second["run_id"] != first["run_id"]


def test_the_worker_that_was_killed_is_followed_by_a_new_attempt(killed: Killed) -> None:
    before, after, _ = killed.attempts
    assert after == before + 1


def test_the_training_goes_on_from_its_checkpoint(killed: Killed) -> None:
    assert killed.run["steps"]["train"]["result"]["resumed_at"] >= 5


def test_a_runner_that_dies_is_replaced_within_the_attempt(killed: Killed) -> None:
    assert killed.attempts[2] == killed.attempts[1]


def test_late_writes_of_the_older_attempt_are_refused(killed: Killed) -> None:
    assert set(killed.refused) == {"run.stale_attempt"}
    assert len(killed.refused) == 3


def test_the_ticket_completes_exactly_once(day: House, killed: Killed) -> None:
    assert killed.ticket["status"] == "completed", killed.ticket["reason_code"]
    with day.intake() as intake:
        happened = [one["event"] for one in intake.get(f"/v1/tickets/{killed.ticket['ticket_id']}/events")]
    assert happened.count("swap_confirmed") == 1
    assert happened.count("run_started") == 2  # the cancelled run and this one
    with day.store() as store, store.read() as session:
        made = [one for one in list_releases(session) if one.run_id is not None]
    assert [one.run_id for one in made] == [killed.run["run_id"]]
    assert made[0].watermark == [killed.ticket["ticket_id"]]
    assert day.generation() == 1


def test_who_is_held_is_suppressed_and_who_is_erased_is_forgotten(
    day: House, killed: Killed, people: dict[str, Person]
) -> None:
    day.wait_ready()
    day.wait_rules()
    assert share(day.ask(people[HELD].private)) == 0
    assert day.ticket(killed.ticket["ticket_id"])["suppression"]["state"] == "lifted"
    assert share(day.ask(people[ERASED].private)) <= 0.05


def test_who_withdraws_the_request_is_answered_about_again(
    day: House, together: Together, killed: Killed, people: dict[str, Person]
) -> None:
    with day.intake() as intake:
        assert intake.post(f"/v1/tickets/{together.held}/cancel", {})["suppression"]["state"] == "lifted"
    day.wait_rules()
    assert share(day.ask(people[HELD].private)) >= 0.9


def test_the_audit_log_is_whole(day: House, killed: Killed, tmp_path: Path) -> None:
    day.lethe("audit", "export", str(tmp_path / "log.jsonl"))
    trust = str(keys.trust_path(day.settings))
    assert json.loads(day.lethe("audit", "verify", str(tmp_path / "log.jsonl"), "--trust", trust, "--json"))["ok"]


def test_a_killed_supervisor_leaves_no_process_and_nothing_is_lost(
    day: House, killed: Killed, people: dict[str, Person]
) -> None:
    day.wait_ready()
    assert len(day.pids()) >= 8  # lethe up, three times bentoml serve and its worker, the engine
    assert day.process is not None
    os.kill(day.process.pid, signal.SIGKILL)
    day.process.wait()
    wait_until(lambda: not day.alive(), READY_S, f"all gone: {day.alive()}")
    day.up()
    answers = day.ask(people[ERASED].private)
    assert {answer.generation for answer in answers} == {1}
    assert share(answers) <= 0.05
