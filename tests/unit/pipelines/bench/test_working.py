"""Tasks one after another and beside each other, done by somebody who needs no model."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pipelines.bench.tasks import Task
from pipelines.bench.units import Finished
from pipelines.bench.working import default_jobs, work_off
from policies.errors import LetheError

ROOT = Path(__file__).resolve().parents[4]


@dataclass
class Doer:
    """Writes down what it does; ``sleep`` never ends by itself."""

    log: Path
    device: str = "none"

    def do(self, task: Task) -> Finished:
        with self.log.open("a") as log:
            log.write(f"{task.unit} {os.getpid()}\n")
        if task.method == "sleep":
            time.sleep(600)
        if task.method == "fail":
            raise LetheError("bench.no_people", "Nobody.", ("a",))
        return Finished({"rate": task.rate}, 0.0, 0.0, False)


def task(unit: str, *needs: str, method: str = "") -> Task:
    return Task(unit=unit, kind="trial", base="plain", seed=0, method=method, needs=needs)


def same(task: Task) -> Task | None:
    return task


def done(log: Path) -> list[str]:
    return [line.split()[0] for line in log.read_text().splitlines()]


TASKS = [task("c", "b"), task("a"), task("b", "a"), task("d")]


def test_the_earliest_that_may_begin_is_done_first(tmp_path: Path) -> None:
    found = list(work_off(TASKS, Doer(tmp_path / "log"), 1, ready=same))
    assert [one.unit for one, _ in found] == done(tmp_path / "log") == ["a", "b", "c", "d"]


def test_a_task_is_done_as_it_is_once_its_needs_are_there_or_not_at_all(tmp_path: Path) -> None:
    def ready(one: Task) -> Task | None:
        return None if one.unit == "a" else replace(one, rate=2.0)

    found = {one.unit: finished for one, finished in work_off(TASKS, Doer(tmp_path / "log"), 1, ready=ready)}
    assert found["a"] is None
    assert found["b"] is not None
    assert found["b"].result == {"rate": 2.0}
    assert done(tmp_path / "log") == ["b", "c", "d"]


def test_what_waits_for_nobody_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="c waits"):
        list(work_off([task("c", "b")], Doer(tmp_path / "log"), 1, ready=same))


def test_a_gpu_does_one_at_a_time_by_default() -> None:
    assert default_jobs("cuda") == 1
    assert default_jobs("cpu") == os.cpu_count()


def test_two_processes_do_all_of_it_once(tmp_path: Path) -> None:
    found = list(work_off(TASKS, Doer(tmp_path / "log"), 2, ready=same))
    assert sorted(one.unit for one, _ in found) == ["a", "b", "c", "d"]
    order = done(tmp_path / "log")
    assert sorted(order) == ["a", "b", "c", "d"]
    assert order.index("a") < order.index("b") < order.index("c")


def test_an_error_ends_the_others_too(tmp_path: Path) -> None:
    tasks = [task("a", method="sleep"), task("b", method="fail")]
    with pytest.raises(LetheError) as caught:
        list(work_off(tasks, Doer(tmp_path / "log"), 2, ready=same))
    assert (caught.value.code, caught.value.details) == ("bench.no_people", ("a",))


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from pipelines.bench.working import work_off\n"
        "from tests.unit.pipelines.bench.test_working import Doer, same, task\n"
        "if __name__ == '__main__':\n"
        "    tasks = [task('a', method='sleep'), task('b', method='sleep')]\n"
        "    list(work_off(tasks, Doer(Path(sys.argv[1])), 2, ready=same))\n"
    )
    (tmp_path / "go.py").write_text(script)
    log, path = tmp_path / "log", {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, str(tmp_path / "go.py"), str(log)], env=path, cwd=ROOT) as parent:
        while not log.exists() or len(log.read_text().splitlines()) < 2:
            assert parent.poll() is None
            time.sleep(0.1)
        parent.send_signal(signal.SIGKILL)
    workers = [int(line.split()[1]) for line in log.read_text().splitlines()]
    while any(_runs(worker) for worker in workers):
        time.sleep(0.1)


def _runs(process: int) -> bool:
    """A process that has ended and was not fetched yet does not run."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
