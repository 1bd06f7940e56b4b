"""The intake's control loop: looks at what is stored and submits the durable job that is due.

Level-triggered: it acts on statuses, not on events, so a crash between any two lines loses nothing. The ids of jobs are
made from what they are about, so submitting twice is submitting once; a job that failed is submitted anew after a
pause, under the next number.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from policies.errors import LetheError
from policies.lifecycle import CLOSED_RUN, RunStatus, TicketStatus
from services import after_swap, jobs, publication, release_ops, suppression, telemetry, ticket
from services.installation import Installation
from services.run_end import end_run
from services.serving.swap import record_statement
from services.settings import Settings
from services.store.engine import Store
from services.store.releases import list_desired
from services.store.runs import list_runs
from services.store.tickets import list_tickets
from services.store.types import utc_now

ACTOR = "system:control"
_TICK_S = 0.3
_PAUSE_S = 10.0
_REPAIR_S = 10.0  # how often it looks for what a crash may have left out, which reads more
_PASSING = frozenset({"store", "storage"})  # areas of errors that say nothing about what was ordered: tried again
_PUBLISHING = (RunStatus.SWAPPING, RunStatus.REPORTING)
_log = logging.getLogger(__name__)
_desk: list[tuple[Installation, Store]] = []


@jobs.workflow("look_up")
def look_up(ticket_id: str) -> str:
    """Find a ticket's records and settle its forget set."""
    return jobs.step("look_up", _traced, "ticket.look_up", ticket_id, lambda: ticket.look_up(*_desk[-1], ticket_id))


@jobs.workflow("publish")
def publish(run_id: str) -> str:
    """Swap a run's release in, ask every replica, close the run, write the reports."""
    attempt = jobs.current().attempt
    jobs.step("swap", _traced, "run.swap", run_id, lambda: publication.swap(*_desk[-1], run_id, attempt))
    jobs.step("probe", _traced, "run.probe", run_id, lambda: after_swap.probe(*_desk[-1], run_id, attempt))
    return jobs.step("close", _traced, "run.close", run_id, lambda: publication.close(*_desk[-1], run_id, attempt))


@jobs.workflow("release_order")
def release_order(order_id: str) -> str:
    """Carry out what somebody ordered of the released model; a move that is refused is closed with the reason."""
    installation, store = _desk[-1]
    if jobs.step("kind", release_ops.kind_of, store, order_id) == "recheck":
        found = jobs.step("recheck", after_swap.recheck_order, installation, store, order_id)
        return jobs.step("end", release_ops.end, store, order_id, release_ops.DONE, result={"outcome": found})
    try:
        jobs.step("suppress", release_ops.suppress_uncovered, store, order_id)
        return jobs.step("move", release_ops.move, installation, store, order_id)
    except LetheError as error:
        if error.code.partition(".")[0] in _PASSING:
            raise
        return jobs.step("end", release_ops.end, store, order_id, release_ops.FAILED, code=error.code)


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
        self._repair_at = clock()
        self._stop = threading.Event()
        self._wake = threading.Event()

    def tick(self) -> None:
        """Submit whatever is due."""
        enabled = self._installation.settings.serving.suppression
        repair = self._clock() >= self._repair_at
        if repair:
            self._repair_at = self._clock() + _REPAIR_S
            self._order_rechecks()
        suppression.tend(self._store, enabled=enabled, repair=repair)
        with self._store.read() as session:
            approved = [
                ticket
                for ticket in list_tickets(session, statuses=[TicketStatus.APPROVED])
                if not suppression.pending(session, ticket.ticket_id, enabled=enabled)
            ]
            orders = [order.order_id for order in release_ops.open_orders(session)]
            runs = [(run.run_id, RunStatus(run.status), run.base_digest) for run in list_runs(session)]
        for one in approved:
            self._ensure("look_up", f"{one.ticket_id}:look_up-{one.version}", one.ticket_id, "control")
        for order_id in orders:
            self._ensure("release_order", f"{order_id}:order", order_id, "control")
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

    def _order_rechecks(self) -> None:
        """Forgotten people are asked about on schedule."""
        hours = self._installation.settings.serving.recheck_hours
        if not hours:
            return
        with self._store.read() as session:
            waiting = {one.base_digest for one in release_ops.open_orders(session) if one.kind == "recheck"}
            last = {
                state.base_digest: release_ops.last_recheck(session, state.base_digest)
                for state in list_desired(session)
                if state.watermark and state.base_digest not in waiting
            }
        before = utc_now() - timedelta(hours=hours)
        for base in (base for base, at in last.items() if at is None or at < before):
            with self._store.write() as session:
                release_ops.order_recheck(session, base=base, actor=ACTOR)

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


def keep_statements(installation: Installation, store: Store) -> None:
    """Make up for a statement that a crash after a commit left out; a damaged one is said and left alone."""
    with store.read() as session:
        states = list_desired(session)
    for state in states:
        try:
            record_statement(installation.settings, state)
        except LetheError as error:
            _log.error("the statement of what is served was not kept: %s", error.code)


def start(settings: Settings, store: Store) -> tuple[Control, Callable[[], None]]:
    """Make this process the control worker: durable jobs and the loop. Returns the loop and how to stop all.

    Raises:
        LetheError: As ``jobs.launch``.
    """
    installation = Installation(settings)
    _desk.append((installation, store))
    worker = jobs.launch(settings, "intake", store)
    keep_statements(installation, store)
    control = Control(installation, store)
    threading.Thread(target=control.run, name="control", daemon=True).start()

    def stop() -> None:
        control.stop()
        worker.stop()

    return control, stop
