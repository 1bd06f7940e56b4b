"""Crash points of a swap, with processes that are really killed. docs/swap.md has the table that these tests prove."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from services.store.releases import get_desired
from tests.integration.fleet_host import Fleet, fleet
from tests.integration.serving_host import wait_until
from tests.tiny_model import WORDS

pytestmark = pytest.mark.slow

NAMES = ("r-1", "r-2")
POINTS = ("before", "proposed", "one_prepared", "all_prepared", "committed", "draining", "unacked")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("fleet") / "home", NAMES) as made:
        yield made


def stall_at(running: Fleet, point: str) -> Callable[[], None]:
    """Let the swap come to a point and no further; gives the wait for it."""
    if point == "one_prepared":
        running.stall("r-1", "proposed")
        return lambda: wait_until(lambda: prepared(running) == ["r-2"], 30, "prepared by one")
    name, place = ("coordinator", "prepared") if point == "all_prepared" else ("r-1", point)
    if point == "proposed":
        running.stall("r-2", point)
    running.stall(name, place)
    return lambda: running.wait_stalled(name, place)


def prepared(running: Fleet) -> list[str]:
    from services.store.releases import live_replicas

    with running.host.store.read() as session:
        rows = live_replicas(session, running.host.identity.base_digest)
        return [row.replica_id for row in rows if row.prepared_digest is not None and row.prepared_generation > 0]


def desired(running: Fleet) -> tuple[int, str, str | None]:
    with running.host.store.read() as session:
        state = get_desired(session, running.host.identity.base_digest)
        return state.generation, state.release_digest, state.proposed_digest


def lock_store(running: Fleet) -> None:
    """For longer than a lease nobody can write."""
    with closing(sqlite3.connect(running.home / "lethe.sqlite", isolation_level=None, timeout=10)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(2.5)
        connection.execute("ROLLBACK")


CASES = [(point, victim) for point in POINTS for victim in ("replica", "store")]
CASES += [(point, "coordinator") for point in POINTS[1:]]


@pytest.mark.parametrize(("point", "victim"), CASES)
def test_a_crash_at_any_point_neither_shows_the_past_nor_ends_in_between(
    running: Fleet, point: str, victim: str
) -> None:
    before = desired(running)[0]
    word = WORDS[before % len(WORDS)]
    digest, _ = running.host.release(word, ("t1",), method=f"{point}-{victim}")
    if victim == "coordinator":
        wait = stall_at(running, point)
        coordinator = running.start_coordinator(digest)
        wait()
        coordinator.kill()
        coordinator.wait()
        running.go_on()
    else:
        _strike_while_swapping(running, digest, point, victim)
    confirmed = finish(running, digest)
    assert desired(running) == (before + 1, digest, None)
    wait_until(lambda: all(running.generation_of(n) == before + 1 for n in NAMES), 60, "serving the new release")
    check_answers(running, {before + 1: word}, confirmed)


def _strike_while_swapping(running: Fleet, digest: str, point: str, victim: str) -> None:
    swap = threading.Thread(target=running.swap, args=(digest,))  # it may fail: what it began is another's to end
    if point != "before":
        wait = stall_at(running, point)
        swap.start()
        wait()
    if victim == "replica":
        running.kill("r-1")
        running.go_on()
        running.start("r-1")
    else:
        locked = threading.Thread(target=lock_store, args=(running,))
        locked.start()
        running.go_on()
        locked.join()
    if point != "before":
        swap.join()


def finish(running: Fleet, digest: str) -> tuple[float, int]:
    """What the control loop does: ask again until it is confirmed."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        result = running.swap(digest)
        if "generation" in result:
            return time.monotonic(), result["generation"]
        time.sleep(0.5)
    raise AssertionError(result)


def check_answers(running: Fleet, said: dict[int, str], confirmed: tuple[float, int]) -> None:
    for name in NAMES:
        answers = [answer for answer in running.answers[name] if answer.generation >= 0]
        generations = [answer.generation for answer in answers]
        assert generations == sorted(generations), name  # never back, whatever happened
        for answer in answers:
            if answer.generation in said:
                assert answer.words == {said[answer.generation]}, (name, answer)
            if answer.asked > confirmed[0]:
                assert answer.generation >= confirmed[1], (name, answer)
