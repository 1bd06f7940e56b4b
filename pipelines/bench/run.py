"""The whole benchmark: search, final runs with their attacks, ablations, result."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.bench.outcome import Done, chosen, result_of
from pipelines.bench.plan import plan
from pipelines.bench.session import Session
from pipelines.bench.settings import BenchSettings
from pipelines.bench.sources import Dataset
from pipelines.bench.tasks import CONTROL, Task
from pipelines.bench.units import Finished
from pipelines.bench.working import default_jobs, work_off
from policies.errors import LetheError

_GUESS = {"base": 150.0, "rows": 15.0, "trial": 45.0, "final": 90.0, "attack": 150.0, "ablation": 45.0}
_NEEDED = ("base", "rows")  # by every method
_BETWEEN = 60.0  # seconds between two looks at what there is so far


@dataclass(frozen=True, slots=True)
class Told:
    """Progress of the whole run, for the command to show.

    Attributes:
        units: What has ended, or what runs.
        done: Units finished.
        planned: Units in all.
        eta_seconds: Expected rest.
        kept: Whether the unit was there already.
        seconds: Of the unit; None while it runs.
    """

    units: tuple[str, ...]
    done: int
    planned: int
    eta_seconds: float
    kept: bool = False
    seconds: float | None = None


def run_benchmark(
    data: Dataset,
    settings: BenchSettings,
    out: Path,
    *,
    jobs: int | None = None,
    command: str = "",
    tell: Callable[[Told], None] | None = None,
    so_far: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Run what is not finished yet in ``out`` and put the result together.

    Args:
        data: The data set.
        settings: What is run.
        out: Output directory; finished units in it are kept.
        jobs: Units at a time, each a process with one thread; None: the cores, on a GPU one. Not a matter of the
            figures.
        command: For the result: what a reader types.
        tell: Progress of the whole.
        so_far: Given the result of what is finished, now and then.

    Returns:
        The result as JSON: ids and figures only.

    Raises:
        LetheError: ``bench.no_people``, ``bench.bad_settings``, ``bench.probes_overlap``, ``unlearn.unknown_method``.
    """
    began = looked = time.monotonic()
    session = Session.open(data, settings, out)
    tasks = plan(settings, session.methods, sliced=session.slice is not session.material)
    count = jobs or default_jobs(session.device)
    rest = _Rest(tasks, count, tell)
    done: dict[str, Done] = {}

    def outcome() -> dict[str, Any]:
        return result_of(session, tasks, done, command, time.monotonic() - began, count)

    for task, finished in work_off(tasks, session, count, ready=lambda task: _ready(task, done), shown=rest.runs):
        if finished is not None:
            if task.kind in _NEEDED and "failed" in finished.result:
                raise LetheError(finished.result["failed"], "What every method starts from could not be made.")
            done[task.unit] = Done(finished, task)
        rest.ended(task, finished)
        if so_far and time.monotonic() - looked > _BETWEEN:
            so_far(outcome())
            looked = time.monotonic()
    return outcome()


def _ready(task: Task, done: Mapping[str, Done]) -> Task | None:
    """A final run with what its trials chose; no attack on what has diverged."""
    if task.kind == "final":
        rate, passes, _ = chosen(task.method, done)
        return replace(task, rate=rate, passes=passes)
    if task.kind == "attack" and task.method != CONTROL and "failed" in done[task.needs[0]].finished.result:
        return None
    return task


class _Rest:
    """What is left, told: units to come cost what those of their kind did cost."""

    def __init__(self, tasks: Sequence[Task], jobs: int, tell: Callable[[Told], None] | None) -> None:
        self._left = Counter(task.kind for task in tasks)
        self._planned, self._jobs, self._tell = len(tasks), jobs, tell
        self._seconds: dict[str, list[float]] = {}

    def runs(self, tasks: Sequence[Task]) -> None:
        """These are being worked out."""
        self._told(tuple(task.unit for task in tasks))

    def ended(self, task: Task, finished: Finished | None) -> None:
        """One came to an end, or there was nothing to be done for it."""
        self._left[task.kind] -= 1
        if finished is None:
            self._told((task.unit,), kept=True, seconds=0.0)
            return
        self._seconds.setdefault(task.kind, []).append(finished.seconds)
        self._told((task.unit,), kept=finished.kept, seconds=finished.seconds)

    def _told(self, units: tuple[str, ...], *, kept: bool = False, seconds: float | None = None) -> None:
        if self._tell:
            done = self._planned - sum(self._left.values())
            self._tell(Told(units, done, self._planned, self._eta(), kept=kept, seconds=seconds))

    def _eta(self) -> float:
        known = {kind: sum(found) / len(found) for kind, found in self._seconds.items()}
        return sum(count * known.get(kind, _GUESS[kind]) for kind, count in self._left.items()) / self._jobs
