"""What the intake and the unlearning service share: one store, a start in a thread, an end in reverse."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from services import process, telemetry
from services.process import Running, TheStore
from tests.unit.services.place import Place


class FakeTelemetry:
    """A fake: it notes that it was shut down."""

    def __init__(self, ended: list[str]) -> None:
        self._ended = ended

    def shutdown(self) -> None:
        self._ended.append("telemetry")


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    order: list[str] = []
    monkeypatch.setattr(telemetry, "setup", lambda *_: FakeTelemetry(order))
    return order


def wait_ready(running: Running) -> bool:
    until = time.monotonic() + 5
    while not running.ready and time.monotonic() < until:
        time.sleep(0.005)
    return running.ready


def test_everything_is_ended_the_last_first(place: Place, ended: list[str]) -> None:
    running = Running("intake", place.installation.settings)
    where: list[str] = []

    def start() -> list[process.Stop]:
        where.append(threading.current_thread().name)
        return [lambda: ended.append("runner"), lambda: ended.append("jobs")]

    before = running.ready
    running.begin(start)
    assert (before, wait_ready(running)) == (False, True)
    assert where == ["intake-start"]
    running.stop()
    assert ended == ["jobs", "runner", "telemetry"]


def test_the_store_is_opened_once_however_many_ask(place: Place) -> None:
    the_store = TheStore(place.installation.settings)
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(the_store())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({id(one) for one in found}) == 1
    the_store().close()


def test_a_service_that_cannot_start_ends_itself_and_says_why(place: Place) -> None:
    code = f"""
import time
from policies.errors import LetheError
from services.process import Running
from services.settings import load_settings
def start():
    raise LetheError("store.locked", "no", ("process 7",))
Running("intake", load_settings({str(place.installation.home)!r})).begin(start)
time.sleep(30)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[3]
    )
    assert done.returncode == 71
    assert "store.locked" in done.stdout + done.stderr
    assert "process 7" in done.stdout + done.stderr
