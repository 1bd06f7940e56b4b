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
from policies.lifecycle import OPEN_RUN, RunStatus, TicketStatus
from services import after_swap, jobs, planning, publication, release_ops, retention, suppression, telemetry, ticket
from services.callbacks.deliver import deliver
from services.deletion import work as deletion
from services.installation import Installation
from services.intake import lookup
from services.intake.desk import Desk
from services.intake.packs import Packs
from services.lapse import decide_lapsed
from services.outage import Outage
from services.people import closing, sending, telling
from services.run_end import end_run
from services.serving.swap import record_statement
from services.settings import Settings
from services.store import deletions
from services.store.callbacks import due_callbacks
from services.store.engine import Store
from services.store.releases import list_desired
from services.store.runs import list_runs
from services.store.tickets import list_tickets
from services.store.types import utc_now

ACTOR = "system:control"
_TICK_S = 0.3
_REST_S = 0.1  # between two looks, however many tickets change meanwhile: in a burst it would do nothing but look
_PAUSE_S = 10.0
_LAPSE_S = 3600.0  # how often it looks for identities that nobody verified in time
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


@jobs.workflow("delete_sources")
def delete_sources(ticket_id: str) -> int:
    """Look for a forgotten person's source records, and delete them where that was ordered."""
    jobs.step("look", deletion.look, *_desk[-1], ticket_id)
    return jobs.step("delete", deletion.carry_out, *_desk[-1], ticket_id)


@jobs.workflow("close_ticket")
def close_ticket(ticket_id: str) -> bool:
    """A ticket that ended without a swap: its raw identity goes, its report is written."""
    return jobs.step("close", closing.close, *_desk[-1], ticket_id)


@jobs.workflow("tell_recipient")
def tell_recipient(notice_id: str) -> str:
    """Tell a recipient of an erasure that is done: one attempt."""
    return jobs.step("tell", telling.tell, *_desk[-1], notice_id)


@jobs.workflow("callback")
def callback(callback_id: str) -> str:
    """Tell a sender what became of its ticket: one attempt."""
    installation, store = _desk[-1]
    return jobs.step("deliver", deliver, store, installation.settings.protocols, callback_id)


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
        self._repair_at = self._retention_at = self._lapse_at = clock()
        self._stop = threading.Event()
        self._wake = threading.Event()

    def tick(self) -> None:
        """Submit whatever is due."""
        enabled = self._installation.settings.serving.suppression
        repair = self._clock() >= self._repair_at
        if repair:
            self._repair_at = self._clock() + _REPAIR_S
            self._order_rechecks()
            deletion.retry(self._store, self._installation.settings)
            self._keep_retention()
            self._decide_lapsed()
        suppression.tend(self._store, enabled=enabled, repair=repair)
        with self._store.read() as session:
            approved = [
                ticket
                for ticket in list_tickets(session, statuses=[TicketStatus.APPROVED], held=False)
                if not suppression.pending(session, ticket.ticket_id, enabled=enabled)
            ]
            orders = [order.order_id for order in release_ops.open_orders(session)]
            runs = [
                (run.run_id, RunStatus(run.status), run.base_digest) for run in list_runs(session, statuses=OPEN_RUN)
            ]
            to_tell = due_callbacks(session, utc_now())
            to_delete = deletions.due(session)
            to_close = closing.due(session)
            mail = self._installation.settings.mail
            notices = sending.due_by_itself(session, mail, now=utc_now()) if repair else []
        for one in approved:
            self._ensure("look_up", f"{one.ticket_id}:look_up-{one.version}", one.ticket_id, "control")
        for order_id in orders:
            self._ensure("release_order", f"{order_id}:order", order_id, "control")
        for ticket_id in to_close:
            self._ensure("close_ticket", f"{ticket_id}:close", ticket_id, "control")
        for ticket_id, number in to_delete.items():
            self._ensure("delete_sources", f"{ticket_id}:deletion-{number}", ticket_id, "control")
        for notice_id, attempt in notices:
            self._ensure("tell_recipient", f"{notice_id}:mail-{attempt}", notice_id, "control")
        for callback_id, attempt in to_tell:
            self._ensure("callback", f"{callback_id}:deliver-{attempt}", callback_id, "control")
        for run_id, status, base in runs:
            if status in _PUBLISHING:
                self._ensure("publish", f"{run_id}:publish", run_id, "control")
            else:
                self._ensure("run", f"{run_id}:work", run_id, "gpu", partition=base, again=False)
        planning.plan(self._installation, self._store)

    def run(self) -> None:
        """Tick until ``stop``."""
        outage = Outage(_log, "control")
        while not self._stop.is_set():
            with outage:
                self.tick()
            self._stop.wait(_REST_S)
            self._wake.wait(_TICK_S)
            self._wake.clear()

    def wake(self) -> None:
        """Look around now: something has changed."""
        self._wake.set()

    def stop(self) -> None:
        """End the loop."""
        self._stop.set()
        self._wake.set()

    def _keep_retention(self) -> None:
        """What is over its time is deleted, ticket by ticket; a crash leaves the rest for the next look."""
        if self._clock() < self._retention_at:
            return
        self._retention_at = self._clock() + self._installation.settings.retention.every_hours * 3600
        retention.carry_out(self._installation, self._store)

    def _decide_lapsed(self) -> None:
        """Who was not verified in time gets the answer that the pack has for it."""
        if self._clock() < self._lapse_at:
            return
        self._lapse_at = self._clock() + _LAPSE_S
        settings = self._installation.settings
        desk = Desk(
            self._store, Packs(settings.policy), zone=settings.policy.zone, suppress=settings.serving.suppression
        )
        decide_lapsed(desk, now=utc_now())

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
        number = self._newest(name)
        found = jobs.get(f"{name}.{number}")
        if found is not None and jobs.left_behind(found):
            # First the new one: a crash in between must not look like a job that came to nothing.
            jobs.submit(workflow, f"{name}.{number + 1}", [about], queue=queue, partition=partition)
            self._numbers[name] = number + 1
            jobs.cancel(found.workflow_id)
            return
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

    def _newest(self, name: str) -> int:
        """The highest number that a job of this name has; a process that has just started looks it up."""
        if name not in self._numbers:
            number = 1
            while jobs.get(f"{name}.{number + 1}") is not None:
                number += 1
            self._numbers[name] = number
        return self._numbers[name]


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
    with store.write() as session:
        lookup.fill_in(session)
    worker = jobs.launch(settings, "intake", store)
    keep_statements(installation, store)
    control = Control(installation, store)
    threading.Thread(target=control.run, name="control", daemon=True).start()

    def stop() -> None:
        control.stop()
        worker.stop()

    return control, stop
