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
from services.jobs.flow import registered, with_job
from services.jobs.queue import VERSION, QueueName, outside_loop, set_open
from services.settings import Settings
from services.store import dialect
from services.store.engine import Store
from services.store.types import utc_now

Role = Literal["intake", "unlearning"]

QUEUES: dict[Role, QueueName] = {"intake": "control", "unlearning": "gpu"}
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
        # Whoever holds the lock of a role may declare its forerunners dead; a service does not take it a second time.
        self._lock = hold_role(settings, role)
        self.lease = leases.Lease(
            store, executor=self.executor_id, role=role, lease_s=settings.jobs.lease_s, now=utc_now
        )
        self.reaper = leases.Reaper(
            store, _Dbos(), lease_s=settings.jobs.lease_s, max_attempts=MAX_ATTEMPTS, now=utc_now
        )

    @property
    def alone(self) -> bool:
        """Whether no other worker of this role can live: one host, and this process holds the role's lock."""
        return self._lock is not None

    def start(self, on_lost: Callable[[], None]) -> None:
        """Beat and reap until ``stop``."""
        threading.Thread(target=self._beat, args=(on_lost,), name="lease", daemon=True).start()
        threading.Thread(target=self._reap, name="reaper", daemon=True).start()

    def stop(self) -> None:
        """Stop taking jobs and let go of the lease; what is unfinished is resumed by whoever comes next."""
        from dbos import DBOS

        set_open(False)
        self._stop.set()
        DBOS.destroy(destroy_registry=True)
        self.lease.release()
        if self._lock is not None:
            self._lock.release()

    def _beat(self, on_lost: Callable[[], None]) -> None:
        while not self._stop.wait(self._settings.heartbeat_s):
            try:
                held = self.lease.renew()
            except Exception:  # the store may be busy or away for a moment; the lease then runs on, or out
                _log.exception("lease not renewed")
                continue
            if not held and not self._stop.is_set():
                _log.error("lease lost")
                on_lost()
                return

    def _reap(self) -> None:
        while not self._stop.wait(self._settings.heartbeat_s):
            try:
                resumed = self.reaper.tick()
            except Exception:  # the next turn tries again: a claim that was not finished lapses
                _log.exception("reaper failed")
                continue
            for workflow_id in resumed:
                _log.warning("job resumed", extra={"lethe.job": workflow_id})


def migrate(settings: Settings) -> None:
    """Create or migrate the database of the jobs; part of the one migration step before any service starts."""
    from dbos import DBOS

    url = _url(settings)
    if url.startswith("sqlite"):
        _write_ahead(url)
    _quiet()
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
        worker.lease.take()
        _quiet()
        DBOS(
            config={
                "name": _APPLICATION,
                "system_database_url": _url(settings),
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
    worker.start(on_lost)
    return worker


def _launch_dbos() -> None:
    from dbos import DBOS, error

    try:
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

        found = DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
        return [
            leases.PendingJob(workflow_id=job.workflow_id, executor_id=job.executor_id, queue=job.queue_name)
            for job in found
            if job.executor_id is not None and job.queue_name in QUEUES.values()
        ]

    def resume(self, job: leases.PendingJob) -> bool:
        from dbos import DBOS

        now = DBOS.get_workflow_status(job.workflow_id)
        if now is None or (now.status, now.executor_id) != ("PENDING", job.executor_id):
            return False
        # Without the queue's name it would land on DBOS's internal queue, beyond every limit and in any process.
        DBOS.resume_workflow(job.workflow_id, queue_name=job.queue)
        return True

    def give_up(self, job: leases.PendingJob) -> None:
        from dbos import DBOS

        _log.error("job given up", extra={"lethe.job": job.workflow_id})
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
