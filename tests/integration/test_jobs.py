"""Real worker processes on one store, SQLite and PostgreSQL alike: killed, resumed, fenced."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from policies.errors import LetheError
from services import jobs
from services.jobs import flow
from services.jobs import worker as worker_module
from services.settings import load_settings
from services.store import dialect, migration
from services.store.engine import Store, open_store
from services.store.tables import Run
from services.store.types import utc_now
from tests.integration.job_worker import note, notes, quick_settings
from tests.postgres import Server, running_server

pytestmark = pytest.mark.slow
RUN = "r-0123456789"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Which database this process and the workers that it starts use; PostgreSQL's is empty again after every test."""
    if request.param == "sqlite":
        yield "sqlite"
        return
    url = request.getfixturevalue("server").url
    monkeypatch.setenv("LETHE_STORE__URL", url)
    monkeypatch.setenv("LETHE_JOBS__URL", url)
    yield "postgresql"
    engine = dialect.make_engine(url)
    with engine.begin() as connection:
        for schema in ("public", "dbos"):
            connection.execute(text(f"DROP SCHEMA IF EXISTS {schema} CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()


@pytest.fixture
def home(database: str, tmp_path: Path) -> Path:
    settings = quick_settings(tmp_path)
    migration.migrate(settings.store_url)
    jobs.migrate(settings)
    return tmp_path


@pytest.fixture(autouse=True)
def own_workflows() -> Iterator[None]:
    """What a test registers ends with it: the next store is asked by the same test with another function."""
    before = dict(flow.registered)
    yield
    flow.registered.clear()
    flow.registered.update(before)


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    opened = open_store(quick_settings(home).store_url)
    with opened.write() as session:
        at = utc_now()
        session.add(
            Run(
                run_id=RUN,
                base_digest="b-1",
                status="planned",
                version=1,
                attempt=1,
                method="relearn",
                seed=0,
                cancel_requested=False,
                planned_at=at,
                updated_at=at,
            )
        )
    yield opened
    opened.close()


@pytest.fixture
def intake(home: Path, store: Store) -> Iterator[jobs.Worker]:
    """This very process as the intake: it submits, asks and reaps."""
    worker = jobs.launch(quick_settings(home), "intake", store, on_lost=lambda: None)
    yield worker
    worker.stop()


class Processes:
    def __init__(self, home: Path) -> None:
        self._home, self._all = home, list[subprocess.Popen[str]]()
        self._errors = (home / "workers.log").open("a")

    def start(self, role: str = "unlearning") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.job_worker", str(self._home), role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,  # no pipe: a process that nobody reads would stand still at its next line
            text=True,
        )
        self._all.append(process)
        return process

    def ready(self, role: str = "unlearning") -> subprocess.Popen[str]:
        process = self.start(role)
        assert process.stdout is not None
        assert process.stdout.readline() == "READY\n", (self._home / "workers.log").read_text()
        return process

    def end(self) -> None:
        for process in self._all:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.communicate()
        self._errors.close()
        print((self._home / "workers.log").read_text()[-20_000:])  # shown where a test fails


@pytest.fixture
def processes(home: Path) -> Iterator[Processes]:
    made = Processes(home)
    yield made
    made.end()


def wait(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def state(workflow_id: str) -> str | None:
    status = jobs.get(workflow_id)
    return None if status is None else status.state


def status_of(workflow_id: str) -> jobs.JobStatus:
    status = jobs.get(workflow_id)
    assert status is not None
    return status


def attempt(store: Store) -> int:
    with store.read() as session:
        run = session.get(Run, RUN)
        assert run is not None
        return run.attempt


def stop_between_transactions(pid: int, home: Path, store: Store) -> None:
    """A process that is stopped while it holds the writers' lock holds up everybody, the reaper too, for a minute."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.05)
        if not (_file_is_held(home) if store.one_host else _transaction_is_open(store)):
            return
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.03)


def _file_is_held(home: Path) -> bool:
    try:
        for name in ("lethe.sqlite", "dbos.sqlite"):
            with closing(sqlite3.connect(home / name, timeout=0, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return True
    return False


def _transaction_is_open(store: Store) -> bool:
    with store.read() as session:
        query = text("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'")
        return bool(session.execute(query).scalar())


def test_a_worker_killed_in_the_middle_of_a_step_is_resumed_and_the_job_completes_once(
    home: Path, store: Store, intake: jobs.Worker, processes: Processes
) -> None:
    first = processes.ready()
    jobs.submit("slow", f"{RUN}:1", [RUN], queue="gpu", partition="b-1")
    wait(lambda: "train-1" in notes(home))
    os.kill(first.pid, signal.SIGKILL)
    first.wait()

    processes.ready()
    wait(lambda: "train-2" in notes(home))
    (home / "go").touch()
    wait(lambda: state(f"{RUN}:1") == "succeeded")
    assert notes(home) == ["augment", "train-1", "train-2", "finish-u-1"]
    status = jobs.get(f"{RUN}:1")
    assert status is not None
    assert (status.queue, status.result) == ("gpu", {"run": RUN, "release": "u-1"})
    assert [step.name for step in jobs.steps(f"{RUN}:1")] == ["augment", "train", "finish"]


def test_without_a_successor_the_intake_frees_the_job_and_leaves_it_on_its_queue(
    home: Path, store: Store, intake: jobs.Worker, processes: Processes
) -> None:
    first = processes.ready()
    jobs.submit("slow", f"{RUN}:1", [RUN], queue="gpu", partition="b-1")
    wait(lambda: "train-1" in notes(home))
    os.kill(first.pid, signal.SIGKILL)
    wait(lambda: state(f"{RUN}:1") == "queued")
    status = jobs.get(f"{RUN}:1")
    assert status is not None
    assert status.queue == "gpu"
    assert attempt(store) == 2


def test_a_worker_that_was_only_slow_is_fenced_and_ends_itself(
    home: Path, store: Store, intake: jobs.Worker, processes: Processes
) -> None:
    slow = processes.ready()
    jobs.submit("slow", f"{RUN}:1", [RUN], queue="gpu", partition="b-1")
    wait(lambda: "train-1" in notes(home))
    stop_between_transactions(slow.pid, home, store)
    wait(lambda: attempt(store) == 2)
    os.kill(slow.pid, signal.SIGCONT)
    assert slow.wait(timeout=300) == 75  # its lease is gone, or its progress was refused first
    processes.ready()
    (home / "go").touch()
    wait(lambda: state(f"{RUN}:1") == "succeeded")
    assert notes(home).count("finish-u-1") == 1


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_second_worker_of_a_role_is_refused_on_one_host(home: Path, store: Store, processes: Processes) -> None:
    processes.ready()
    second = processes.start()
    assert second.wait(timeout=60) == 1
    assert "store.locked" in (home / "workers.log").read_text()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_of_two_workers_the_other_takes_over_where_there_are_many_hosts(
    home: Path, store: Store, intake: jobs.Worker, processes: Processes
) -> None:
    workers = [processes.ready() for _ in range(2)]
    jobs.submit("slow", f"{RUN}:1", [RUN], queue="gpu", partition="b-1")
    wait(lambda: "train-1" in notes(home))
    first, second = (status_of(f"{RUN}:1").executor_id for _ in range(2))
    assert first == second
    for worker in workers:  # one of the two holds it, and both are killed in turn: a third one finishes it
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        processes.ready()
    wait(lambda: f"train-{attempt(store)}" in notes(home) and attempt(store) > 1)
    (home / "go").touch()
    wait(lambda: state(f"{RUN}:1") == "succeeded")
    assert status_of(f"{RUN}:1").executor_id != first
    assert notes(home).count("augment") == 1
    assert notes(home).count("finish-u-1") == 1


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_two_workers_share_the_jobs_and_none_is_done_twice(
    home: Path, store: Store, intake: jobs.Worker, processes: Processes
) -> None:
    for number in range(12):
        jobs.submit("slow", f"{RUN}:{number}", [RUN], queue="gpu", partition=f"b-{number}")
    for _ in range(2):
        processes.ready()
    wait(lambda: notes(home).count("train-1") == 2)  # one each: the first would be through before the second is there
    (home / "go").touch()
    wait(lambda: {state(f"{RUN}:{number}") for number in range(12)} == {"succeeded"})
    assert len({status_of(f"{RUN}:{number}").executor_id for number in range(12)}) == 2
    assert notes(home).count("finish-u-1") == 12


@pytest.mark.parametrize("away_s", [0.0, 2.0])
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_database_that_restarts_in_the_middle_of_a_step_loses_nothing(
    home: Path,
    store: Store,
    intake: jobs.Worker,
    processes: Processes,
    server: Server,
    away_s: float,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def said(word: str) -> list[str]:
        own = [record for record in caplog.records if record.name == worker_module.__name__]
        assert not any(record.exc_info for record in own)
        return sorted(text.partition(":")[0] for text in (record.getMessage() for record in own) if word in text)

    processes.ready()
    jobs.submit("slow", f"{RUN}:1", [RUN], queue="gpu", partition="b-1")
    wait(lambda: "train-1" in notes(home))
    server.stop("immediate")
    time.sleep(away_s)
    server.start()
    (home / "go").touch()
    wait(lambda: state(f"{RUN}:1") in {"succeeded", "failed"})
    # The step wrote progress while nobody listened: it ends with that error, which says so, and is not lost.
    status = status_of(f"{RUN}:1")
    assert (status.state, status.error_code) in {("succeeded", None), ("failed", "store.unreachable")}
    wait(lambda: said("is away") == said("is back"))
    assert set(said("is away")) <= {"lease", "reaper"}
    assert len(said("is away")) == len(set(said("is away")))  # not one for each heartbeat
    assert said("is away") or not away_s


def test_the_same_job_submitted_twice_runs_once(
    home: Path, store: Store, intake: jobs.Worker, processes: Processes
) -> None:
    (home / "go").touch()
    for _ in range(3):
        jobs.submit("slow", f"{RUN}:1", [RUN], queue="gpu", partition="b-1")
    processes.ready()
    wait(lambda: state(f"{RUN}:1") == "succeeded")
    jobs.submit("slow", f"{RUN}:1", [RUN], queue="gpu", partition="b-1")
    time.sleep(0.6)
    assert notes(home) == ["augment", "train-1", "finish-u-1"]


def test_jobs_of_one_base_run_one_after_another(
    home: Path, store: Store, intake: jobs.Worker, processes: Processes
) -> None:
    for number in (1, 2):
        jobs.submit("slow", f"{RUN}:{number}", [RUN], queue="gpu", partition="b-1")
    processes.ready()
    wait(lambda: "train-1" in notes(home))
    time.sleep(0.6)
    assert notes(home).count("augment") == 1
    (home / "go").touch()
    wait(lambda: state(f"{RUN}:1") == state(f"{RUN}:2") == "succeeded")


def test_cancel_lets_no_further_step_begin_and_resume_takes_it_up_again(
    home: Path, store: Store, intake: jobs.Worker, processes: Processes
) -> None:
    processes.ready()
    jobs.submit("slow", f"{RUN}:1", [RUN], queue="gpu", partition="b-1")
    wait(lambda: "train-1" in notes(home))
    jobs.cancel(f"{RUN}:1")
    assert state(f"{RUN}:1") == "cancelled"
    (home / "go").touch()
    time.sleep(1.0)
    assert "finish-u-1" not in notes(home)
    jobs.resume(f"{RUN}:1", "gpu")
    wait(lambda: state(f"{RUN}:1") == "succeeded")
    assert notes(home).count("finish-u-1") == 1
    with pytest.raises(LetheError, match=r"jobs\.unknown"):
        jobs.cancel("r-none:1")


def test_it_can_be_launched_and_asked_from_a_running_event_loop(home: Path, store: Store) -> None:
    @jobs.workflow("quick")
    def quick(name: str) -> str:
        return jobs.step("note", lambda: name)

    async def service() -> None:
        worker = jobs.launch(quick_settings(home), "intake", store, on_lost=lambda: None)
        try:
            jobs.submit("quick", "t-1:1", ["t-1"], queue="control")
            async with asyncio.timeout(60):
                while state("t-1:1") != "succeeded":
                    await asyncio.sleep(0.05)
        finally:
            await asyncio.to_thread(worker.stop)

    asyncio.run(service())


def test_a_launch_that_takes_longer_than_a_lease_keeps_the_lease(
    home: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = worker_module._launch_dbos
    lost: list[bool] = []

    def slow() -> None:
        time.sleep(2.5)  # a busy machine that imports and connects
        launch()

    monkeypatch.setattr(worker_module, "_launch_dbos", slow)
    short = load_settings(home, jobs={"heartbeat_s": 0.1, "lease_s": 1.0})
    worker = jobs.launch(short, "intake", store, on_lost=lambda: lost.append(True))
    try:
        worker.reaper.tick()
        assert worker.lease.renew()
        assert not lost
    finally:
        worker.stop()


def everything_of_dbos(home: Path, store: Store) -> bytes:
    if store.one_host:
        return b"".join(file.read_bytes() for file in home.glob("dbos.sqlite*"))
    with store.read() as session:
        tables = session.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'dbos'")).all()
        assert "workflow_status" in tables
        rows = (session.execute(text(f'SELECT t::text FROM dbos."{table}" t')).all() for table in tables)
        return repr([list(found) for found in rows]).encode()


def test_errors_keep_their_code_and_lose_their_text(home: Path, store: Store) -> None:
    def known() -> str:
        note(home, "known")
        raise LetheError("unlearn.diverged", "The loss is not a number.", ("step-7",))

    def unknown() -> str:
        raise ValueError("Anna Meyer lives here")

    @jobs.workflow("faulty")
    def faulty(which: str) -> str:
        return jobs.step("fault", known if which == "known" else unknown)

    @jobs.workflow("careless")
    def careless() -> None:
        raise ValueError("Anna Meyer lives here")

    @jobs.workflow("talkative")
    def talkative() -> str:
        return jobs.step("tell", lambda: "Anna Meyer lives here")

    worker = jobs.launch(quick_settings(home), "intake", store, on_lost=lambda: None)
    try:
        jobs.submit("faulty", "t-1:1", ["known"], queue="control")
        jobs.submit("faulty", "t-2:1", ["unknown"], queue="control")
        jobs.submit("careless", "t-3:1", queue="control")
        jobs.submit("talkative", "t-4:1", queue="control")
        ids = ["t-1:1", "t-2:1", "t-3:1", "t-4:1"]
        wait(lambda: all(state(name) == "failed" for name in ids))
        found = [jobs.get(name) for name in ids]
        with pytest.raises(LetheError, match=r"jobs\.personal_data"):
            jobs.submit("faulty", "t-5:1", ["Anna Meyer"], queue="control")
    finally:
        worker.stop()
    codes = [status.error_code for status in found if status is not None]
    assert codes == ["unlearn.diverged", "internal", "internal", "jobs.personal_data"]
    assert b"Meyer" not in everything_of_dbos(home, store)


def test_without_migration_the_launch_says_so(database: str, tmp_path: Path) -> None:
    settings = quick_settings(tmp_path)
    migration.migrate(settings.store_url)
    store = open_store(settings.store_url)
    with pytest.raises(LetheError, match=r"jobs\.migration_needed"):
        jobs.launch(settings, "intake", store)
    store.close()
    with pytest.raises(LetheError, match=r"jobs\.not_launched"):
        jobs.get("t-1:1")
