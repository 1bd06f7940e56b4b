"""The line protocol, with a real child whose operations are fakes."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from policies.errors import LetheError
from services import lifeline
from services.unlearning.protocol import RunnerClient

# Fake operations: they stand in for augmentation and training, which have tests of their own.
CHILD = """
import sys, time
from policies.errors import LetheError
from services.unlearning.protocol import serve
def count(session, args):
    for step in range(args["steps"]):
        if session.should_cancel():
            return {"stopped_at": step}
        session.progress({"step": step}); time.sleep(0.02)
    return {"steps": args["steps"]}
def refuse(session, args): raise LetheError("runner.died", "as asked", ("one", "two"))
def crash(session, args): raise ValueError("mara.secret@example.org")
def full(session, args): raise OSError(28, "No space left on device: /mara")
serve({"count": count, "refuse": refuse, "crash": crash, "full": full}, sys.stdin, sys.stdout)
"""


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[RunnerClient]:
    client = RunnerClient((sys.executable, "-c", CHILD), tmp_path / "runner.log")
    yield client
    client.close()


def test_progress_then_result(runner: RunnerClient) -> None:
    seen: list[int] = []
    result = runner.call("count", {"steps": 3}, progress=lambda data: seen.append(data["step"]))
    assert (seen, result) == ([0, 1, 2], {"steps": 3})


def test_a_cancel_reaches_a_running_operation_and_only_that_one(runner: RunnerClient) -> None:
    result = runner.call("count", {"steps": 500}, should_cancel=lambda: True)
    assert result["stopped_at"] < 500
    assert runner.call("count", {"steps": 2}) == {"steps": 2}


def test_an_error_keeps_its_code_and_details(runner: RunnerClient) -> None:
    with pytest.raises(LetheError) as caught:
        runner.call("refuse", {})
    assert (caught.value.code, caught.value.details) == ("runner.died", ("one", "two"))


def test_a_foreign_exception_tells_its_place_and_no_data(runner: RunnerClient, tmp_path: Path) -> None:
    with pytest.raises(LetheError) as caught:
        runner.call("crash", {})
    assert caught.value.code == "internal"
    assert "ValueError" in caught.value.message
    assert "mara" not in caught.value.message + (tmp_path / "runner.log").read_text()


def test_a_full_disk_has_its_own_code(runner: RunnerClient) -> None:
    with pytest.raises(LetheError) as caught:
        runner.call("full", {})
    assert caught.value.code == "storage.full"


def test_a_killed_child_is_reported(runner: RunnerClient) -> None:
    with pytest.raises(LetheError) as caught:
        runner.call("count", {"steps": 500}, progress=lambda _: os.kill(runner.pid, signal.SIGKILL))
    assert caught.value.code == "runner.died"


def test_the_child_ends_when_its_input_ends_even_while_busy(tmp_path: Path) -> None:
    client = RunnerClient((sys.executable, "-c", CHILD), tmp_path / "runner.log")
    client._send({"id": 1, "op": "count", "args": {"steps": 100_000}})
    client.close()
    time.sleep(0.1)
    assert lifeline.start_time(client.pid) is None
