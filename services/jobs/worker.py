"""This process as a worker: DBOS launched, its lease kept, the jobs of the dead taken over."""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import Literal

from sqlalchemy import make_url

from policies.errors import LetheError
from services import leases
from services.installation import hold_role
from services.jobs.flow import registered, when_lost, with_job
from services.jobs.queue import VERSION, QueueName, outside_loop, set_open
from services.outage import Outage
from services.settings import Settings
from services.store import dialect
from services.store.engine import Store

Role = Literal["intake", "unlearning"]

QUEUES: dict[Role, QueueName] = {"intake": "control", "unlearning": "gpu"}
_JOIN_S = 10.0
MAX_ATTEMPTS = 5  # a job that has killed this many workers is ended

_APPLICATION = "lethe"
_POLL_S = 0.2
_LOST = 75  # exit status of a worker that lost its lease; the supervisor starts it anew, under another name
_log = logging.getLogger(__name__)


class Worker:
    """This process as a worker: its lease, and the threads behind it."""

    def __init__(self, settings: Settings, role: Role, store: Store) -> None:
        self.role: Role = role
        self.store = store
        self.executor_id = leases.executor_id(role)
        self._settings = settings.jobs
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.engine = None if dialect.is_sqlite(settings.jobs_url) else dialect.make_jobs_engine(settings.jobs_url)
        # Whoever holds the lock of a role may declare its forerunners dead; a service does not take it a second time.
        self._lock = hold_role(settings, role)
        self.lease = leases.Lease(
            store, executor=self.executor_id, role=role, lease_s=settings.jobs.lease_s, now=dialect.clock
        )
        self.reaper = leases.Reaper(
            store,
            _Dbos(),
            lease_s=settings.jobs.lease_s,
            max_attempts=MAX_ATTEMPTS,
            now=dialect.clock,
            own=self.executor_id,
        )

    @property
    def alone(self) -> bool:
        """Whether no other worker of this role can live: one host, and this process holds the role's lock."""
        return self._lock is not None

    def live(self, on_lost: Callable[[], None]) -> None:
        """Take the lease and renew it until ``stop``; before DBOS is launched, which may take longer than a lease."""
        self.lease.take()
        self._start(threading.Thread(target=self._beat, args=(on_lost,), name="lease", daemon=True))

    def reap(self) -> None:
        """Take over from the dead until ``stop``."""
        self._start(threading.Thread(target=self._reap, name="reaper", daemon=True))

    def _start(self, thread: threading.Thread) -> None:
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """Stop taking jobs and let go of the lease; what is unfinished is resumed by whoever comes next."""
        from dbos import DBOS

        set_open(False)
        self._stop.set()
        DBOS.destroy(destroy_registry=True)
        for thread in self._threads:
            if thread is not threading.current_thread():  # a lost lease stops the worker from its own thread
                thread.join(_JOIN_S)  # whoever stopped the worker closes the store next
        if self.engine is not None:
            self.engine.dispose()  # DBOS leaves an engine that it was given
        self.lease.release()
        if self._lock is not None:
            self._lock.release()

    def _beat(self, on_lost: Callable[[], None]) -> None:
        outage = Outage(_log, "lease")  # it then runs on, or out
        while not self._stop.wait(self._settings.heartbeat_s):
            held = True
            with outage:
                held = self.lease.renew()
            if not held and not self._stop.is_set():
                _log.error("lease lost")
                on_lost()
                return

    def _reap(self) -> None:
        outage = Outage(_log, "reaper")  # the next turn tries again: a claim that was not finished lapses
        while not self._stop.wait(self._settings.heartbeat_s):
            with outage:
                for workflow_id in self.reaper.tick():
                    _log.warning("job resumed", extra={"lethe.job": workflow_id})


def migrate(settings: Settings) -> None:
    """Create or migrate the database of the jobs; part of the one migration step before any service starts.

    Raises:
        LetheError: ``store.unreachable`` and whatever else the database says.
    """
    from dbos import DBOS

    url = _url(settings)
    if url.startswith("sqlite"):
        _write_ahead(url)
    _quiet()
    with dialect.translated():
        DBOS.migrate(url)


def launch(
    settings: Settings, role: Role, store: Store, *, on_lost: Callable[[], None] = lambda: os._exit(_LOST)
) -> Worker:
    """Make this process a worker of a role. Callable from a running event loop, as in a BentoML ``__init__``.

    Args:
        settings: Of the installation.
        role: Decides the queue that this process takes jobs from; it may submit to any.
        store: For leases and attempts.
        on_lost: Called when another took over after this process had been silent; ends the process by default.

    Raises:
        LetheError: ``store.locked``, ``jobs.migration_needed``.
    """
    return outside_loop(lambda: _launch(settings, role, store, on_lost))


def _launch(settings: Settings, role: Role, store: Store, on_lost: Callable[[], None]) -> Worker:
    from dbos import DBOS, DBOSPortableJSONSerializer

    worker = Worker(settings, role, store)
    try:
        worker.live(on_lost)
        _quiet()
        when_lost(on_lost)
        DBOS(
            config={
                "name": _APPLICATION,
                "system_database_url": _url(settings),
                "system_database_engine": worker.engine,
                "application_version": VERSION,
                "executor_id": worker.executor_id,
                "serializer": DBOSPortableJSONSerializer(),
                "run_migrations": False,
                "log_level": "WARNING",
            }
        )
        for name, function in registered.items():
            DBOS.workflow(name=name, max_recovery_attempts=None)(with_job(function, store))
        DBOS.listen_queues([QUEUES[role]])
        _launch_dbos()
        set_open(True)
        if worker.alone:
            worker.reaper.expire_role(role, survivor=worker.executor_id)
            worker.reaper.tick()
    except BaseException:
        worker.stop()
        raise
    worker.reap()
    return worker


def _launch_dbos() -> None:
    from dbos import DBOS, error

    try:
        with dialect.translated():
            DBOS.launch()
    except error.DBOSInitializationError as fault:
        raise LetheError("jobs.migration_needed", "The jobs' database is missing or of another version.") from fault
    DBOS.register_queue("control", polling_interval_sec=_POLL_S)
    # One run at a time in a process, which has one GPU, and one of a base anywhere: adapters of a base are a lineage.
    DBOS.register_queue("gpu", worker_concurrency=1, partition_concurrency=1, polling_interval_sec=_POLL_S)


class _Dbos:
    """The reaper's view of the jobs."""

    def pending(self) -> Sequence[leases.PendingJob]:
        from dbos import DBOS

        with dialect.translated():
            found = DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
        return [
            leases.PendingJob(workflow_id=job.workflow_id, executor_id=job.executor_id, queue=job.queue_name)
            for job in found
            if job.executor_id is not None and job.queue_name in QUEUES.values()
        ]

    def resume(self, job: leases.PendingJob) -> bool:
        from dbos import DBOS

        with dialect.translated():
            now = DBOS.get_workflow_status(job.workflow_id)
            if now is None or (now.status, now.executor_id) != ("PENDING", job.executor_id):
                return False
            # Without the queue's name it would land on DBOS's internal queue, beyond every limit and in any process.
            DBOS.resume_workflow(job.workflow_id, queue_name=job.queue)
        return True

    def give_up(self, job: leases.PendingJob) -> None:
        from dbos import DBOS

        _log.error("job given up", extra={"lethe.job": job.workflow_id})
        with dialect.translated():
            DBOS.cancel_workflow(job.workflow_id)


def _url(settings: Settings) -> str:
    """DBOS wants a plain postgresql:// address and chooses psycopg itself."""
    return dialect.plain_url(settings.jobs_url)


def _write_ahead(url: str) -> None:
    """Readers then never wait for a writer; the setting stays with the file."""
    import sqlite3

    path = make_url(url).database
    if path:
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        connection.close()


def _quiet() -> None:
    """DBOS would set up a console handler of its own; its records go the way of all others (services.telemetry)."""
    logger = logging.getLogger("dbos")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.propagate = True
    logger.setLevel(logging.WARNING)
