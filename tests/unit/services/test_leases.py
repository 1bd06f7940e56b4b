from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from policies.errors import LetheError
from services import leases
from services.leases import Lease, PendingJob, Reaper
from services.store import dialect
from services.store.engine import Store
from services.store.runs import fenced
from services.store.tables import Base, Run, WorkerLease
from services.store.types import utc_now

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
LEASE_S = 10.0


class Clock:
    def __init__(self) -> None:
        self.at = START

    def __call__(self, _session: Session) -> datetime:
        return self.at

    def pass_seconds(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class Jobs:
    """Jobs as the reaper sees them; remembers the attempt that was current when each was resumed."""

    def __init__(self, store: Store, *held: PendingJob) -> None:
        self._store, self.held = store, list(held)
        self.resumed: list[tuple[str, str, int]] = []
        self.given_up: list[str] = []
        self.fail = False

    def pending(self) -> Sequence[PendingJob]:
        return list(self.held)

    def resume(self, job: PendingJob) -> bool:
        if self.fail:
            raise OSError("the reaper dies here")
        if job not in self.held:
            return False
        self.held.remove(job)
        with self._store.read() as session:
            attempt = leases.attempt_of(session, leases.run_of(job.workflow_id))
        self.resumed.append((job.workflow_id, job.queue, attempt))
        return True

    def give_up(self, job: PendingJob) -> None:
        self.held.remove(job)
        self.given_up.append(job.workflow_id)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    opened = Store(dialect.make_engine(store_url))
    Base.metadata.create_all(opened.engine)
    with opened.write() as session:
        for run_id in ("r-1", "r-2"):
            session.add(
                Run(
                    run_id=run_id,
                    base_digest="b-1",
                    status="training",
                    version=1,
                    attempt=1,
                    method="relearn",
                    seed=0,
                    cancel_requested=False,
                    planned_at=START,
                    updated_at=START,
                )
            )
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lease(store: Store, clock: Clock, executor: str, role: str = "unlearning") -> Lease:
    made = Lease(store, executor=executor, role=role, lease_s=LEASE_S, now=clock)
    made.take()
    return made


def reaper(store: Store, jobs: Jobs, clock: Clock, max_attempts: int = 5) -> Reaper:
    return Reaper(store, jobs, lease_s=LEASE_S, max_attempts=max_attempts, now=clock)


def job(executor: str, workflow_id: str = "r-1:1") -> PendingJob:
    return PendingJob(workflow_id=workflow_id, executor_id=executor, queue="gpu")


def leased(store: Store) -> dict[str, str]:
    with store.read() as session:
        return {row.executor_id: row.role for row in session.scalars(select(WorkerLease))}


def test_executor_ids_are_never_used_twice() -> None:
    assert len({leases.executor_id("intake") for _ in range(100)}) == 100


def test_a_lease_needs_one_connection_at_a_time(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that held the writers' place and asked for a second one waited for those that waited for the place."""
    monkeypatch.setattr(dialect, "_CONNECTIONS", 1)
    engine = dialect.make_engine(store_url, busy_timeout_s=1)
    monkeypatch.setattr(engine.pool, "_timeout", 1)
    Base.metadata.create_all(engine)
    narrow = Store(engine)
    mine = Lease(narrow, executor="u-1", role="unlearning", lease_s=LEASE_S, now=dialect.clock)
    mine.take()
    assert mine.renew()
    jobs = Jobs(narrow, job("u-1"), job("u-0"))
    watching = Reaper(narrow, jobs, lease_s=LEASE_S, max_attempts=5, now=dialect.clock)
    watching.expire_role("unlearning", survivor="u-1")
    assert watching.tick() == [job("u-0").workflow_id]
    mine.release()
    narrow.close()


def test_a_worker_that_beats_keeps_its_jobs(store: Store, clock: Clock) -> None:
    worker, jobs = lease(store, clock, "u-1"), Jobs(store, job("u-1"))
    watching = reaper(store, jobs, clock)
    for _ in range(5):
        clock.pass_seconds(9)
        assert worker.renew()
        assert watching.tick() == []
    assert jobs.resumed == []


def test_a_silent_worker_is_fenced_before_its_jobs_are_resumed_on_their_queue(store: Store, clock: Clock) -> None:
    worker = lease(store, clock, "u-1")
    jobs = Jobs(store, job("u-1"), job("u-1", "r-2:1"), job("u-1", "t-9:1"))
    clock.pass_seconds(11)
    assert reaper(store, jobs, clock).tick() == ["r-1:1", "r-2:1", "t-9:1"]
    assert jobs.resumed == [("r-1:1", "gpu", 2), ("r-2:1", "gpu", 2), ("t-9:1", "gpu", 0)]
    assert leased(store) == {}
    assert not worker.renew()


def test_a_worker_that_renews_late_does_not_reap_itself(store: Store, clock: Clock) -> None:
    worker, jobs = lease(store, clock, "u-1"), Jobs(store, job("u-1"))
    clock.pass_seconds(LEASE_S + 1)
    own = Reaper(store, jobs, lease_s=LEASE_S, max_attempts=5, now=clock, own="u-1")
    assert own.tick() == []
    assert worker.renew()
    clock.pass_seconds(LEASE_S + 1)
    assert reaper(store, jobs, clock).tick() == ["r-1:1"]  # others take it for dead


def test_two_reapers_resume_a_job_once(store: Store, clock: Clock) -> None:
    lease(store, clock, "u-1")
    jobs = Jobs(store, job("u-1"))
    first, second = reaper(store, jobs, clock), reaper(store, jobs, clock)
    clock.pass_seconds(11)
    assert [first.tick(), second.tick()] == [["r-1:1"], []]
    assert len(jobs.resumed) == 1


def test_what_a_dying_reaper_left_half_done_is_done_by_the_next(store: Store, clock: Clock) -> None:
    lease(store, clock, "u-1")
    jobs = Jobs(store, job("u-1"))
    clock.pass_seconds(11)
    jobs.fail = True
    with pytest.raises(OSError, match="dies"):
        reaper(store, jobs, clock).tick()
    jobs.fail = False
    assert leased(store) == {"u-1": leases.REAPED}
    assert reaper(store, jobs, clock).tick() == []  # its claim still runs
    clock.pass_seconds(11)
    assert reaper(store, jobs, clock).tick() == ["r-1:1"]


def test_a_job_whose_worker_has_no_lease_is_taken_over(store: Store, clock: Clock) -> None:
    jobs = Jobs(store, job("u-gone"))
    assert reaper(store, jobs, clock).tick() == ["r-1:1"]
    assert leased(store) == {}


def test_after_a_pause_the_reaper_lets_the_others_renew_first(store: Store, clock: Clock) -> None:
    worker, jobs = lease(store, clock, "u-1"), Jobs(store, job("u-1"))
    watching = reaper(store, jobs, clock)
    assert watching.tick() == []
    clock.pass_seconds(3600)  # the machine slept: nobody is dead
    assert watching.tick() == []
    assert worker.renew()
    clock.pass_seconds(1)
    assert watching.tick() == []
    assert jobs.resumed == []


def test_a_job_that_kills_every_worker_is_given_up(store: Store, clock: Clock) -> None:
    jobs = Jobs(store)
    for number in range(3):
        executor = f"u-{number}"
        lease(store, clock, executor)
        jobs.held.append(job(executor))
        clock.pass_seconds(11)
        reaper(store, jobs, clock, max_attempts=3).tick()
    assert [attempt for _, _, attempt in jobs.resumed] == [2, 3]
    assert jobs.given_up == ["r-1:1"]


def test_a_released_lease_is_taken_over_at_once(store: Store, clock: Clock) -> None:
    jobs = Jobs(store, job("u-1"))
    lease(store, clock, "u-1").release()
    clock.pass_seconds(0.1)
    assert reaper(store, jobs, clock).tick() == ["r-1:1"]


def test_the_holder_of_a_role_declares_its_forerunners_dead(store: Store, clock: Clock) -> None:
    jobs = Jobs(store, job("u-1"))
    lease(store, clock, "u-1")
    lease(store, clock, "u-2")
    lease(store, clock, "i-1", role="intake")
    watching = reaper(store, jobs, clock)
    watching.expire_role("unlearning", survivor="u-2")
    assert watching.tick() == ["r-1:1"]
    assert set(leased(store)) == {"u-2", "i-1"}


def test_a_write_of_an_older_attempt_is_refused(store: Store, clock: Clock) -> None:
    with store.write() as session:
        fenced(session, "r-1", 1)
    lease(store, clock, "u-1")
    clock.pass_seconds(11)
    reaper(store, Jobs(store, job("u-1")), clock).tick()
    with pytest.raises(LetheError, match=r"run\.stale_attempt"), store.write() as session:
        fenced(session, "r-1", 1)
    with store.write() as session:
        fenced(session, "r-1", 2)


def test_leases_are_judged_by_the_clock_of_the_store_and_not_of_its_hosts(store: Store) -> None:
    before = utc_now()
    seen = [store.now() for _ in range(3)]
    assert seen == sorted(seen)
    assert all(abs((moment - before).total_seconds()) < 60 for moment in seen)  # here both clocks are one machine's
    assert all(moment.tzinfo is UTC for moment in seen)
