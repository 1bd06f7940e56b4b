"""Who is alive: leases of worker processes, and the reaper that takes over from those who fell silent.

A worker renews its lease every few seconds. One whose lease ran out is fenced first (its row says ``reaped``, the
attempt of each of its runs is raised), and only then are its jobs resumed on the queue that they came from. Should it
wake up after all, its next heartbeat tells it, and what it writes for an older attempt is refused.
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, cast

from sqlalchemy import CursorResult, delete, insert, select, update
from sqlalchemy.orm import Session

from policies.lifecycle import CLOSED_RUN
from services.store.engine import Store
from services.store.runs import new_attempt
from services.store.tables import Run, WorkerLease

REAPED = "reaped"  # role of a lease that was taken away
Clock = Callable[[Session], datetime]
"""The present moment, asked in the caller's own transaction: whoever holds the writers' place and wants a second
connection for it may wait for one that only waiting writers have."""


@dataclass(frozen=True, kw_only=True)
class PendingJob:
    """A job that some executor has taken from a queue and not finished."""

    workflow_id: str
    executor_id: str
    queue: str


class JobSource(Protocol):
    """What the reaper needs of the job system."""

    def pending(self) -> Sequence[PendingJob]:
        """Every job that an executor holds."""

    def resume(self, job: PendingJob) -> bool:
        """Put a job back on its queue if that executor still holds it; whether it was."""

    def give_up(self, job: PendingJob) -> None:
        """End a job that has killed too many workers."""


def executor_id(role: str) -> str:
    """A name that no other process ever had: two processes under one name would both run the same step."""
    return f"{role}-{secrets.token_hex(8)}"


def run_of(workflow_id: str) -> str:
    """The run (or ticket) that a job belongs to: ids of jobs are ``<run>:<n>``."""
    return workflow_id.partition(":")[0]


def attempt_of(session: Session, run_id: str) -> int:
    """The attempt that may write for a run; 0 for a job without a row among the runs."""
    return session.scalar(select(Run.attempt).where(Run.run_id == run_id)) or 0


class Lease:
    """The lease of this process."""

    def __init__(self, store: Store, *, executor: str, role: str, lease_s: float, now: Clock) -> None:
        self._store, self._role, self._now = store, role, now
        self._length = timedelta(seconds=lease_s)
        self.executor_id = executor

    def take(self) -> None:
        """Register, before any job is taken from a queue: a job without a lease behind it would look lost."""
        with self._store.write() as session:
            at = self._now(session)
            session.execute(
                insert(WorkerLease).values(
                    executor_id=self.executor_id, role=self._role, started_at=at, lease_until=at + self._length
                )
            )

    def renew(self) -> bool:
        """Prolong the lease; False if it was taken away, and this process must stop."""
        with self._store.write() as session:
            return _changed(
                session.execute(
                    update(WorkerLease)
                    .where(WorkerLease.executor_id == self.executor_id, WorkerLease.role == self._role)
                    .values(lease_until=self._now(session) + self._length)
                )
            )

    def release(self) -> None:
        """Let the reaper take over at once: this process ends. Its unfinished jobs are resumed elsewhere."""
        with self._store.write() as session:
            session.execute(
                update(WorkerLease)
                .where(WorkerLease.executor_id == self.executor_id, WorkerLease.role == self._role)
                .values(lease_until=self._now(session) - timedelta(microseconds=1))
            )


class Reaper:
    """Resumes the jobs of workers whose lease ran out. Any number of processes may run one."""

    def __init__(
        self, store: Store, jobs: JobSource, *, lease_s: float, max_attempts: int, now: Clock, own: str = ""
    ) -> None:
        """``own``: this process's executor. It lives, however late it renews; another may think otherwise."""
        self._store, self._jobs, self._now, self._own = store, jobs, now, own
        self._length = timedelta(seconds=lease_s)
        self._max_attempts = max_attempts
        self._last: datetime | None = None

    def tick(self) -> list[str]:
        """One look around; the ids of the jobs that were resumed.

        After a pause of this process (a suspended machine) it waits one turn, so that the others can renew first.
        """
        with self._store.read() as session:
            at, last = self._now(session), self._last
        self._last = at
        if last is not None and at - last > self._length:
            return []
        pending = self._jobs.pending()
        dead = self._lapsed(pending, at)
        return [job for executor in dead if self._claim(executor, at) for job in self._take_over(executor, pending)]

    def expire_role(self, role: str, survivor: str) -> None:
        """Declare all other workers of a role dead. Only for who holds the role's lock (one host, one per role)."""
        with self._store.write() as session:
            session.execute(
                update(WorkerLease)
                .where(WorkerLease.role == role, WorkerLease.executor_id != survivor)
                .values(lease_until=self._now(session) - timedelta(microseconds=1))
            )

    def _lapsed(self, pending: Sequence[PendingJob], at: datetime) -> list[str]:
        """Executors whose lease ran out, and those that hold a job without any lease (a reaper died half way)."""
        with self._store.read() as session:
            leases = {row.executor_id: row for row in session.scalars(select(WorkerLease))}
        orphans = {job.executor_id for job in pending} - leases.keys()
        if orphans:
            with self._store.write() as session:
                for executor in sorted(orphans):
                    if session.get(WorkerLease, executor) is None:
                        session.add(
                            WorkerLease(
                                executor_id=executor,
                                role=REAPED,
                                started_at=at,
                                lease_until=at - timedelta(microseconds=1),
                            )
                        )
        return sorted(({name for name, row in leases.items() if row.lease_until < at} | orphans) - {self._own})

    def _claim(self, executor: str, at: datetime) -> bool:
        """Become the one who takes over from a dead worker; a claim that is not finished lapses in its turn."""
        with self._store.write() as session:
            return _changed(
                session.execute(
                    update(WorkerLease)
                    .where(WorkerLease.executor_id == executor, WorkerLease.lease_until < at)
                    .values(role=REAPED, lease_until=at + self._length)
                )
            )

    def _take_over(self, executor: str, pending: Sequence[PendingJob]) -> Iterator[str]:
        """First fence, then resume: whoever runs the job next must read the raised attempt."""
        for job in (job for job in pending if job.executor_id == executor):
            with self._store.write() as session:
                run = session.get(Run, run_of(job.workflow_id))
                if run is not None and run.status not in CLOSED_RUN:
                    new_attempt(session, run.run_id, actor="system:reaper", at=self._now(session))
                attempt = attempt_of(session, run_of(job.workflow_id))
            if attempt > self._max_attempts:
                self._jobs.give_up(job)
            elif self._jobs.resume(job):
                yield job.workflow_id
        with self._store.write() as session:
            session.execute(delete(WorkerLease).where(WorkerLease.executor_id == executor, WorkerLease.role == REAPED))


def _changed(result: Any) -> bool:
    return bool(cast("CursorResult[Any]", result).rowcount)
