"""Real worker processes on one SQLite file: killed, resumed, fenced."""

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

from policies.errors import LetheError
from services import jobs
from services.store import migration
from services.store.engine import Store, open_store
from services.store.tables import Run
from services.store.types import utc_now
from tests.integration.job_worker import note, notes, quick_settings

pytestmark = pytest.mark.slow
RUN = "r-0123456789"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    settings = quick_settings(tmp_path)
    migration.migrate(settings.store_url)
    jobs.migrate(settings)
    return tmp_path


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

    def start(self, role: str = "unlearning") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.job_worker", str(self._home), role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._all.append(process)
        return process

    def ready(self, role: str = "unlearning") -> subprocess.Popen[str]:
        process = self.start(role)
        assert process.stdout is not None
        assert process.stdout.readline() == "READY\n", process.communicate()[1]
        return process

    def end(self) -> None:
        for process in self._all:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.communicate()


@pytest.fixture
def processes(home: Path) -> Iterator[Processes]:
    made = Processes(home)
    yield made
    made.end()


def wait(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def state(workflow_id: str) -> str | None:
    status = jobs.get(workflow_id)
    return None if status is None else status.state


def attempt(store: Store) -> int:
    with store.read() as session:
        run = session.get(Run, RUN)
        assert run is not None
        return run.attempt


def stop_between_transactions(pid: int, home: Path) -> None:
    """A process that is stopped while it holds SQLite's lock would hold up everybody, the reaper too."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.05)
        try:
            for name in ("lethe.sqlite", "dbos.sqlite"):
                with closing(sqlite3.connect(home / name, timeout=0, isolation_level=None)) as connection:
                    connection.execute("BEGIN IMMEDIATE")
                    connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.03)
        else:
            return


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
    stop_between_transactions(slow.pid, home)
    wait(lambda: attempt(store) == 2)
    os.kill(slow.pid, signal.SIGCONT)
    assert slow.wait(timeout=20) == 75  # its lease is gone, or its progress was refused first
    processes.ready()
    (home / "go").touch()
    wait(lambda: state(f"{RUN}:1") == "succeeded")
    assert notes(home).count("finish-u-1") == 1


def test_a_second_worker_of_a_role_is_refused_on_one_host(home: Path, store: Store, processes: Processes) -> None:
    processes.ready()
    second = processes.start()
    _, errors = second.communicate(timeout=60)
    assert second.returncode == 1
    assert "store.locked" in errors


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
    for file in home.glob("dbos.sqlite*"):
        assert b"Meyer" not in file.read_bytes()


def test_without_migration_the_launch_says_so(tmp_path: Path) -> None:
    settings = quick_settings(tmp_path)
    migration.migrate(settings.store_url)
    store = open_store(settings.store_url)
    with pytest.raises(LetheError, match=r"jobs\.migration_needed"):
        jobs.launch(settings, "intake", store)
    store.close()
    with pytest.raises(LetheError, match=r"jobs\.not_launched"):
        jobs.get("t-1:1")
