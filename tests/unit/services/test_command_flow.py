"""`lethe run`, `lethe demo`, `lethe up` and `lethe runner`, as far as they are more than what they call."""

import functools
import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from policies.errors import LetheError
from services import client, up
from services import demo as the_demo
from services.commands import demo, run, runner
from services.commands import up as up_command
from services.settings import Settings
from services.unlearning import runner as the_runner
from services.unlearning.app import create_app
from tests.unit.services.place import Inside, Place


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def service(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The unlearning service's app behind the command line's client."""
    app = create_app(open_store=lambda: place.store)
    through = functools.partial(client.ServiceClient, transport=Inside(app))
    monkeypatch.setattr(client, "ServiceClient", through)
    monkeypatch.setenv("LETHE_HOME", str(place.installation.home))
    return place


def said(app: Any, *argv: str) -> str:
    result = CliRunner().invoke(app, argv)
    assert result.exit_code == 0, result.output
    return result.output


def test_runs_are_listed_shown_and_cancelled(service: Place) -> None:
    assert said(run.app, "list") == "no runs\n"
    run_id = service.planned(0)
    assert said(run.app, "list").startswith(f"{run_id}  planned")
    assert [one["run_id"] for one in json.loads(said(run.app, "list", "--json"))["runs"]] == [run_id]
    assert said(run.app, "show", run_id).startswith(run_id)
    assert json.loads(said(run.app, "show", run_id, "--json"))["steps"] == {}
    assert json.loads(said(run.app, "cancel", run_id, "--json"))["run_id"] == run_id
    assert service.run(run_id).cancel_requested


def test_the_steps_of_a_run_are_shown(service: Place) -> None:
    run_id = service.released(0)
    lines = said(run.app, "show", run_id).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["augment", "check", "train", "verify", "release"]


def test_a_run_that_is_not_there(service: Place) -> None:
    result = CliRunner().invoke(run.app, ["show", "r-0"])
    assert isinstance(result.exception, LetheError)
    assert result.exception.code == "run.not_found"


@pytest.mark.parametrize("ok", [True, False])
def test_the_demo_ends_with_1_unless_everything_went_live(ok: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[the_demo.DemoOptions] = []

    def fake(options: the_demo.DemoOptions, narrator: the_demo.Narrator) -> dict[str, Any]:
        asked.append(options)
        narrator.say("the story")
        narrator.show_progress("hidden without a terminal")
        return {"ok": ok}

    monkeypatch.setattr(the_demo, "run_demo", fake)
    result = CliRunner().invoke(demo.app, ["--people", "9", "--method", "ga", "--fresh", "--json"])
    assert result.exit_code == (0 if ok else 1)
    assert json.loads(result.stdout) == {"ok": ok}
    assert result.stderr == "the story\n"
    assert (asked[0].people, asked[0].method, asked[0].fresh, asked[0].home.is_absolute()) == (9, "ga", True, True)
    assert CliRunner().invoke(demo.app, []).stdout == "the story\n"


class FakeSupervisor:
    """A fake: ready at once, and told to stop at the first look."""

    ended = False

    def __enter__(self) -> "FakeSupervisor":
        return self

    def __exit__(self, *_: object) -> None:
        FakeSupervisor.ended = True

    def wait_ready(self, _: float, ready: Any) -> None:
        ready("intake")

    def tick(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_up_runs_until_it_is_told_to_stop(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETHE_HOME", str(place.installation.home))

    def prepare(settings: Settings, progress: Any) -> Any:
        progress("installation")
        return place.installation

    monkeypatch.setattr(up, "prepare", prepare)
    monkeypatch.setattr(up, "supervisor", lambda _: FakeSupervisor())
    lines = said(up_command.app).splitlines()
    assert lines[0] == "preparing: installation"
    assert lines[1] == "ready: intake"
    assert lines[-1] == "stopped"
    assert FakeSupervisor.ended


def test_the_runner_command_is_the_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[int] = []
    monkeypatch.setattr(the_runner, "main", lambda: called.append(1))
    said(runner.app)
    assert called == [1]
