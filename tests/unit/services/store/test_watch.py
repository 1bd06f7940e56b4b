"""What is noticed of a store that others write to, on both databases."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from services.serving.changes import Changes
from services.store import dialect, migration
from services.store.engine import Store, open_store
from services.store.releases import bump_suppression, init_desired
from services.store.watch import watch
from tests.postgres import running_server
from tests.unit.services.store.samples import BASE, a_release


def until(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def quiet(url: str) -> Changes:
    """A reader that has seen everything; the full read every few seconds is too far away to help."""
    changes = Changes(url, full_s=1000.0)
    assert changes.due()
    time.sleep(0.2)  # PostgreSQL's listener may only now be there
    changes.due()
    return changes


def test_a_change_is_noticed_without_reading(store: Store, store_url: str) -> None:
    changes = quiet(store_url)
    try:
        assert not changes.due()
        with store.write() as session:
            init_desired(session, a_release(session, "r0"), actor="t")
        until(changes.due)
        assert not changes.due()
        with store.write() as session:
            bump_suppression(session, BASE)
        until(changes.due)
    finally:
        changes.close()


def test_it_is_read_whole_now_and_then_whatever_the_watch_says(store: Store, store_url: str) -> None:
    changes = Changes(store_url, full_s=0.05)
    try:
        assert changes.due()
        until(changes.due)
    finally:
        changes.close()


def test_a_store_that_was_replaced_is_noticed_and_opened_anew(tmp_path: Path) -> None:
    file, backup = tmp_path / "lethe.sqlite", tmp_path / "backup.sqlite"
    url = f"sqlite:///{file}"
    migration.migrate(url)
    store = open_store(url)
    with store.write() as session:
        init_desired(session, a_release(session, "r0"), actor="t")
    store.scrub()
    backup.write_bytes(file.read_bytes())
    changes = quiet(url)
    with store.write() as session:
        bump_suppression(session, BASE)
    store.scrub()
    assert changes.due()
    for name in ("lethe.sqlite-wal", "lethe.sqlite-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    backup.replace(file)
    assert changes.due()
    with store.write() as session:
        assert bump_suppression(session, BASE) == 1  # of the backup, which did not know of the first
    changes.close()
    store.close()
    assert not watch_creates(tmp_path / "none.sqlite")


def watch_creates(file: Path) -> bool:
    watching = watch(f"sqlite:///{file}")
    assert watching.changed()
    watching.close()
    return file.exists()


@pytest.mark.slow
def test_a_listener_comes_back_after_the_server(caplog: pytest.LogCaptureFixture) -> None:
    with running_server() as server:
        migration.migrate(server.url)
        changes = quiet(server.url)
        try:
            server.stop("immediate")
            until(lambda: "not listening" in caplog.text)
            server.start()
            until(changes.due)  # whatever was told meanwhile
            store = open_store(server.url)
            with store.write() as session:
                dialect.notify(session)
            until(changes.due)
            store.close()
        finally:
            changes.close()
