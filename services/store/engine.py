"""Opens the store and hands out transactions."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from policies.errors import LetheError
from services.store import dialect, migration
from services.store.types import utc_now


class Store:
    """The store of one installation. Threads may share it; each transaction is one thread's."""

    def __init__(self, engine: Engine, info: Mapping[str, object] | None = None) -> None:
        """``info`` goes to every session: the key ring, where this process may unseal."""
        self.engine = engine
        self.info = dict(info or {})

    @property
    def one_host(self) -> bool:
        """SQLite: one process per role, kept by a lock file."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that may write: commits at the end, keeps nothing if anything is raised.

        Writers take turns on every database: on SQLite by nature, on PostgreSQL by a lock, since nearly every write
        appends to the one audit log and two that met there in another order would deadlock. Keep it short.

        Raises:
            LetheError: ``store.busy``, ``store.unreachable``, ``storage.full``, ``store.missing`` or
                ``store.migration_needed``.
        """
        with (
            dialect.translated(),
            dialect.turn(self.engine),
            Session(self.engine, expire_on_commit=False, info=self.info) as session,
            session.begin(),
        ):
            dialect.take_writers_place(session)
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads; it never waits for a writer. Writes in it are not kept."""
        with dialect.translated(), self.engine.connect() as connection:
            reading = connection.execution_options(**{dialect.READ_ONLY: True})
            with Session(reading, expire_on_commit=False, autoflush=False, info=self.info) as session:
                yield session

    def scrub(self) -> None:
        """Removes deleted data from the write-ahead log too; a busy reader leaves it for the next time."""
        with dialect.translated():
            dialect.scrub(self.engine)

    def now(self) -> datetime:
        """The present moment by the store's clock: leases of many hosts are written and judged by one."""
        if self.one_host:
            return utc_now()
        with self.read() as session:
            return dialect.clock(session)

    def close(self) -> None:
        """Closes every connection."""
        self.engine.dispose()


def open_store(url: str, *, busy_timeout_s: float = 30.0, info: Mapping[str, object] | None = None) -> Store:
    """Opens a store that exists and is at this version's schema.

    Raises:
        LetheError: ``store.missing``, ``store.unreachable``, ``store.migration_needed`` or ``store.too_new``.
    """
    file = dialect.file_of(url)
    if file is not None and not file.is_file():
        raise LetheError("store.missing", "There is no store here.")
    store = Store(dialect.make_engine(url, busy_timeout_s=busy_timeout_s), info)
    try:
        with dialect.translated():
            migration.check(store.engine)
    except BaseException:
        store.close()
        raise
    return store
