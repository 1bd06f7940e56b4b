"""A run that two processes share, as the service starts it: its runner, and the process that the runner starts."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services import lifeline
from services.unlearning.operations import Bench
from services.unlearning.runners import Runners
from tests.unit.pipelines.tiny import save_tiny
from tests.unit.services.place import Place
from tests.unit.services.unlearning.test_operations import augmented, session

SHORT: dict[str, Any] = {"min_steps": 1, "max_steps": 3, "rank": 2, "report_every": 1, "autocast": False}


def test_the_runner_trains_with_another_process_and_both_end(
    make_place: Callable[..., Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By the environment, which the child reads too.
    monkeypatch.setenv("LETHE_BASE__PATH", str(save_tiny(tmp_path / "tiny")))
    monkeypatch.setenv("LETHE_UNLEARNING__PROCESSES", "2")
    monkeypatch.setenv("LETHE_UNLEARNING__OVERRIDES", json.dumps(SHORT))
    place = make_place()
    settings = place.installation.settings
    alone = Bench(settings.model_copy(update={"unlearning": settings.unlearning.model_copy(update={"processes": 1})}))
    run_id, _ = augmented(place, alone)
    args = {"run_id": run_id, "start": "base", "again": 0}
    runners = Runners(place.installation)
    try:
        child = runners.of(run_id)
        steps: list[int] = []
        found = child.call("train", args, progress=lambda data: steps.append(data["step"]))
        [other] = [lifeline.identity(pid) for pid in children(child.pid)]
    finally:
        runners.end()
    assert found["processes"] == 2
    assert steps == [1, 2, 3]
    assert (place.installation.path("runs", run_id) / "base" / "adapter" / "adapter_model.safetensors").is_file()
    while lifeline.alive(other):  # the test's own limit ends it if that never comes
        time.sleep(0.1)
    one = alone.train(session()[0], args)
    assert one["processes"] == 1
    assert {name: found["curve"]["terms"][name] for name in one["curve"]["terms"]} == {
        name: pytest.approx(values, rel=2e-3, abs=2e-4) for name, values in one["curve"]["terms"].items()
    }


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]
