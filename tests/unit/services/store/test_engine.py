import sqlite3
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError, StatementError
from sqlalchemy.orm import Session

from policies.errors import LetheError
from services import jobs
from services.installation import create_installation
from services.settings import load_settings
from services.store import dialect, migration
from services.store.engine import Store, open_store
from services.store.tables import WorkerLease
from tests.postgres import running_server
from tests.unit.services.store.samples import NOW


def lease(name: str) -> WorkerLease:
    return WorkerLease(executor_id=name, role="gpu", started_at=NOW, lease_until=NOW)


def count(store: Store) -> int:
    with store.read() as session:
        return session.scalar(select(func.count()).select_from(WorkerLease)) or 0


def test_a_transaction_is_kept_whole_or_not_at_all(store: Store) -> None:
    def add_and_fail() -> None:
        with store.write() as session:
            session.add(lease("a"))
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        add_and_fail()
    assert count(store) == 0
    with store.write() as session:
        session.add(lease("a"))
    assert count(store) == 1


def test_what_is_written_in_a_reading_transaction_is_not_kept(store: Store) -> None:
    with store.read() as session:
        session.add(lease("a"))
        session.flush()
    assert count(store) == 0


def test_a_reader_does_not_wait_for_a_writer(store: Store) -> None:
    with store.write() as writer:
        writer.add(lease("a"))
        writer.flush()
        assert count(store) == 0


def test_writers_of_a_process_take_turns_and_who_waits_too_long_is_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'lethe.sqlite'}"
    migration.migrate(url)
    first, second = open_store(url, busy_timeout_s=30.0), open_store(url, busy_timeout_s=0.05)
    with first.write() as writing:
        writing.add(lease("a"))
        with pytest.raises(LetheError, match=r"store\.busy"), second.write():
            pass
        assert count(second) == 0  # readers wait for nobody
    with second.write() as writing:
        writing.add(lease("b"))
    assert count(first) == 2
    first.close()
    second.close()


def test_moments_come_back_in_utc_and_naive_ones_are_refused(store: Store) -> None:
    with store.write() as session:
        session.add(lease("a"))
    with store.read() as session:
        assert session.scalars(select(WorkerLease.started_at)).one() == NOW
    with pytest.raises(StatementError, match="without time zone"), store.write() as session:
        session.add(WorkerLease(executor_id="b", role="gpu", started_at=datetime(2026, 1, 1), lease_until=NOW))


def test_threads_take_turns_and_none_is_lost(store: Store) -> None:
    def add(worker: int) -> None:
        for i in range(10):
            with store.write() as session:
                session.add(lease(f"{worker}-{i}"))

    threads = [threading.Thread(target=add, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(store) == 60


def test_sqlite_is_opened_the_way_that_the_store_relies_on(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'lethe.sqlite'}"
    migration.migrate(url)
    store = open_store(url)
    with store.read() as session:
        found = {name: session.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "foreign_keys")}
    assert found == {"journal_mode": "wal", "foreign_keys": 1}
    assert store.one_host
    store.close()


def test_a_store_that_stays_locked_says_so(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'lethe.sqlite'}"
    migration.migrate(url)
    first, second = open_store(url), open_store(url, busy_timeout_s=0.05)
    with first.write() as writer:
        writer.execute(text("SELECT 1"))
        with pytest.raises(LetheError) as busy, second.write() as late:
            late.execute(text("SELECT 1"))
    assert busy.value.code == "store.busy"
    first.close()
    second.close()


def test_a_store_opens_while_another_writes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'lethe.sqlite'}"
    migration.migrate(url)
    first = open_store(url)
    with first.write() as writer:
        writer.execute(text("SELECT 1"))
        open_store(url, busy_timeout_s=0.05).close()
    first.close()


def test_a_full_disk_has_its_code_and_what_was_stored_before_stays(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'lethe.sqlite'}"
    migration.migrate(url)
    store = open_store(url)
    with store.write() as session:
        session.add(lease("a"))
        pages = session.execute(text("PRAGMA page_count")).scalar()

    def fill() -> None:
        with store.write() as session:
            session.execute(text(f"PRAGMA max_page_count = {pages}"))  # SQLite then answers as on a full disk
            session.add_all(lease(f"{'x' * 150}-{i}") for i in range(500))

    with pytest.raises(LetheError) as full:
        fill()
    assert full.value.code == "storage.full"
    assert count(store) == 1
    store.close()


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("53100", "storage.full"),
        ("40P01", "store.busy"),
        ("55P03", "store.busy"),
        ("42P01", "store.migration_needed"),
        ("08006", "store.unreachable"),
        ("57P01", "store.unreachable"),
        ("57P03", "store.unreachable"),
        ("25P03", "store.unreachable"),
        ("53300", "store.unreachable"),
    ],
)
def test_postgresql_states_have_the_same_codes(state: str, code: str) -> None:
    class DriverError(Exception):
        sqlstate = state

    translated = dialect.translate(OperationalError("SELECT", {}, DriverError()))
    assert translated is not None
    assert translated.code == code


def test_an_error_that_is_a_fault_of_the_code_is_not_dressed_up() -> None:
    assert dialect.translate(OperationalError("SELECT", {}, sqlite3.OperationalError("near x: syntax error"))) is None


def test_a_server_that_is_not_there_has_its_code_wherever_it_is_asked_for(tmp_path: Path) -> None:
    nobody = f"postgresql+psycopg://lethe@/lethe?host={tmp_path}"
    settings = load_settings(tmp_path / "home", store={"url": nobody}, jobs={"url": nobody})
    away = Store(dialect.make_engine(nobody))
    asked: list[Callable[[], object]] = [
        lambda: open_store(nobody),
        lambda: migration.migrate(nobody),
        lambda: create_installation(settings),
        lambda: jobs.migrate(settings),
        away.now,
        lambda: count(away),
        lambda: away.write().__enter__(),
    ]
    for ask in asked:
        with pytest.raises(LetheError) as refused:
            ask()
        assert refused.value.code == "store.unreachable"
    away.close()


def test_a_server_that_goes_away_and_comes_back_is_told_of_and_used_again() -> None:
    with running_server() as server:
        migration.migrate(server.url)
        store = open_store(server.url)
        with store.write() as session:
            session.add(lease("a"))

        def cut_off() -> None:
            with store.write() as session:
                session.add(lease("b"))
                session.flush()
                server.stop("immediate")

        with pytest.raises(LetheError) as lost:
            cut_off()
        with pytest.raises(LetheError) as away:
            count(store)
        assert (lost.value.code, away.value.code) == ("store.unreachable", "store.unreachable")
        server.start()
        assert count(store) == 1  # what was not committed is as if it had not been
        with store.write() as session:
            session.add(lease("b"))
        assert count(store) == 2
        store.close()


def test_who_waits_too_long_for_another_process_is_told_on_postgresql_too(postgres_url: str) -> None:
    other = Session(dialect.make_engine(postgres_url))
    store = Store(dialect.make_engine(postgres_url, busy_timeout_s=0.05))
    dialect.serialise(other, "writers")  # as another process does, which takes no turn of this one
    with pytest.raises(LetheError) as busy, store.write():
        raise AssertionError("two writers at once")
    assert busy.value.code == "store.busy"
    other.close()
    with store.write() as session:  # the limit is the transaction's, and the place is free again
        assert session.execute(text("SHOW idle_in_transaction_session_timeout")).scalar() == "1min"
    other.get_bind().dispose()  # type: ignore[union-attr]
    store.close()


def test_writers_that_wait_leave_the_connections_to_the_readers(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialect, "_CONNECTIONS", 3)
    store = Store(dialect.make_engine(postgres_url))
    monkeypatch.setattr(store.engine.pool, "_timeout", 0.5)

    def wait() -> None:
        with store.write():
            pass

    waiting = [threading.Thread(target=wait) for _ in range(4)]
    with store.write():
        for thread in waiting:
            thread.start()
        waiting[0].join(0.3)  # none of them ends
        assert all(thread.is_alive() for thread in waiting)
        with store.read(), store.read() as session:
            assert session.execute(text("SELECT 1")).scalar() == 1
    for thread in waiting:
        thread.join()
    store.close()
