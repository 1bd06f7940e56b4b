"""The intake's control loop: looks at what is stored and submits the durable job that is due.

Level-triggered: it acts on statuses, not on events, so a crash between any two lines loses nothing. The ids of jobs are
made from what they are about, so submitting twice is submitting once; a job that failed is submitted anew after a
pause, under the next number.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from policies.lifecycle import CLOSED_RUN, RunStatus, TicketStatus
from services import jobs, publication, telemetry, ticket
from services.installation import Installation
from services.run_end import end_run
from services.settings import Settings
from services.store.engine import Store
from services.store.runs import list_runs
from services.store.tickets import list_tickets

ACTOR = "system:control"
_TICK_S = 0.3
_PAUSE_S = 10.0
_PUBLISHING = (RunStatus.SWAPPING, RunStatus.REPORTING)
_log = logging.getLogger(__name__)
_desk: list[tuple[Installation, Store]] = []


@jobs.workflow("look_up")
def look_up(ticket_id: str) -> str:
    """Find a ticket's records and settle its forget set."""
    return jobs.step("look_up", _traced, "ticket.look_up", ticket_id, lambda: ticket.look_up(*_desk[-1], ticket_id))


@jobs.workflow("publish")
def publish(run_id: str) -> str:
    """Swap a run's release in, close the run, write the reports."""
    attempt = jobs.current().attempt
    jobs.step("swap", _traced, "run.swap", run_id, lambda: publication.swap(*_desk[-1], run_id, attempt))
    return jobs.step("close", _traced, "run.close", run_id, lambda: publication.close(*_desk[-1], run_id, attempt))


def _traced(name: str, about: str, work: Callable[[], str]) -> str:
    with telemetry.run_span(name, about):
        return work()


class Control:
    """The loop; ``tick`` is one look around.

    Args:
        installation: Whose.
        store: Opened with keys.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, installation: Installation, store: Store, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._installation = installation
        self._store = store
        self._clock = clock
        self._numbers: dict[str, int] = {}
        self._paused: dict[str, float] = {}
        self._stop = threading.Event()
        self._wake = threading.Event()

    def tick(self) -> None:
        """Submit whatever is due."""
        with self._store.read() as session:
            approved = list_tickets(session, statuses=[TicketStatus.APPROVED])
            runs = [(run.run_id, RunStatus(run.status), run.base_digest) for run in list_runs(session)]
        for one in approved:
            self._ensure("look_up", f"{one.ticket_id}:look_up-{one.version}", one.ticket_id, "control")
        for run_id, status, base in runs:
            if status in CLOSED_RUN:
                continue
            if status in _PUBLISHING:
                self._ensure("publish", f"{run_id}:publish", run_id, "control")
            else:
                self._ensure("run", f"{run_id}:work", run_id, "gpu", partition=base, again=False)
        ticket.plan(self._installation, self._store)

    def run(self) -> None:
        """Tick until ``stop``."""
        while not self._stop.is_set():
            try:
                self.tick()
            except Exception as error:  # a store that is busy for a moment must not end the loop
                _log.error("control: %s", getattr(error, "code", type(error).__name__))
            self._wake.wait(_TICK_S)
            self._wake.clear()

    def wake(self) -> None:
        """Look around now: something has changed."""
        self._wake.set()

    def stop(self) -> None:
        """End the loop."""
        self._stop.set()
        self._wake.set()

    def _ensure(
        self, workflow: str, name: str, about: str, queue: Any, *, partition: str | None = None, again: bool = True
    ) -> None:
        """Submit a job unless it is there; one that failed is submitted anew, or ends its run."""
        number = self._numbers.get(name, 1)
        found = jobs.get(f"{name}.{number}")
        if found is not None and found.state in {"failed", "cancelled"}:
            if not again:
                # A run whose job is dead cannot go on: say so, and let its tickets be retried.
                code = found.error_code or "jobs.given_up"
                end_run(self._installation, self._store, about, code, actor=ACTOR)
                return
            if self._clock() < self._paused.setdefault(name, self._clock() + _PAUSE_S):
                return
            del self._paused[name]
            self._numbers[name] = number = number + 1
            found = None
        if found is None:
            jobs.submit(workflow, f"{name}.{number}", [about], queue=queue, partition=partition)


def start(settings: Settings, store: Store) -> tuple[Control, Callable[[], None]]:
    """Make this process the control worker: durable jobs and the loop. Returns the loop and how to stop all.

    Raises:
        LetheError: As ``jobs.launch``.
    """
    installation = Installation(settings)
    _desk.append((installation, store))
    worker = jobs.launch(settings, "intake", store)
    control = Control(installation, store)
    threading.Thread(target=control.run, name="control", daemon=True).start()

    def stop() -> None:
        control.stop()
        worker.stop()

    return control, stop
