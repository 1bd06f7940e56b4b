"""The only module that knows which database is underneath."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from policies.errors import LetheError
from services.store.types import utc_now

READ_ONLY = "lethe_read_only"
CHANNEL = "lethe_state"
_FULL = {sqlite3.SQLITE_FULL}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
# A process that is stopped, or whose machine is gone, in the middle of a transaction would hold up every other writer.
_IDLE_WRITER_S = 60.0
_CONNECT_S = 10  # a server behind a firewall that drops packets would be waited for for ever
_CONNECTIONS = 15  # of a process to the store; the server must have room for those of every process
_ONLY_WRITER = "lethe_only_writer"  # in a session's info
_WAIT = "lethe_busy_timeout_s"
_TURNS: dict[str, threading.Lock] = {}  # of the stores that this process writes to
# Shutdown, crash recovery, start-up, a server that ends idle connections, and every failure of the connection itself.
_UNREACHABLE = {"57P01", "57P02", "57P03", "57P05", "25P03", "53300"}


def is_sqlite(url: str) -> bool:
    """Whether the store is one file on one host."""
    return make_url(url).get_backend_name() == "sqlite"


def file_of(url: str) -> Path | None:
    """SQLite's file; None for a database server."""
    return Path(make_url(url).database or "") if is_sqlite(url) else None


def plain_url(url: str) -> str:
    """An address as libpq takes it, without the name of a driver."""
    address = make_url(url)
    return address.set(drivername=address.get_backend_name()).render_as_string(hide_password=False)


def make_engine(url: str, *, busy_timeout_s: float = 30.0) -> Engine:
    """An engine with the settings that the store relies on."""
    if not is_sqlite(url):
        waits = {} if "connect_timeout" in make_url(url).query else {"connect_timeout": _CONNECT_S}
        # No overflow: what a pool opens beyond its size it closes again after each use, at every request of a burst.
        return create_engine(
            url,
            pool_size=_CONNECTIONS,
            max_overflow=0,
            pool_pre_ping=True,
            connect_args=waits,
            execution_options={_WAIT: busy_timeout_s},
        )
    engine = create_engine(
        url,
        connect_args={"timeout": busy_timeout_s, "check_same_thread": False},
        execution_options={_WAIT: busy_timeout_s},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "checkout", _refuse_replaced(Path(make_url(url).database or "")))
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def make_jobs_engine(url: str, *, connections: int = 20) -> Engine:
    """PostgreSQL for the job system: whatever says that the server is away counts as a lost connection.

    DBOS waits out lost connections, but knows a failure to connect by some of its words only; after any other it drops
    the job, which then looks as if this process still worked on it.
    """
    address = make_url(url).set(drivername="postgresql+psycopg")
    idle = f"-c idle_in_transaction_session_timeout={round(_IDLE_WRITER_S * 1000)}"
    waits = {} if "connect_timeout" in address.query else {"connect_timeout": _CONNECT_S}
    options = {} if "options" in address.query else {"options": idle}
    engine = create_engine(
        address, pool_size=connections, max_overflow=0, pool_pre_ping=True, connect_args={**waits, **options}
    )
    event.listen(engine, "handle_error", _lost_if_unreachable)
    return engine


def _lost_if_unreachable(context: ExceptionContext) -> None:
    error = context.sqlalchemy_exception
    if isinstance(error, DBAPIError) and _is_unreachable(error, getattr(error.orig, "sqlstate", None)):
        context.is_disconnect = True


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # the driver's own BEGIN comes too late to lock out another writer
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _refuse_replaced(file: Path) -> Callable[[sqlite3.Connection, Any, Any], None]:
    """A restored backup is another file under the same name: what is written to the old one nobody would read."""

    def check(_connection: sqlite3.Connection, record: Any, _proxy: Any) -> None:
        now = identity_of(file)
        if record.info.setdefault("lethe_file", now) != now:
            raise DisconnectionError("the store's file was replaced")

    return check


def identity_of(file: Path) -> tuple[int, int] | None:
    """Which file a path means now; None for none."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes the write lock at once: taking it in mid-transaction can fail without any wait."""
    read_only = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


@contextmanager
def turn(engine: Engine) -> Iterator[None]:
    """Lets the writers of this process come one after another, before they take a connection.

    SQLite's own waiting is a poll whose luck decides: in a burst of requests the renewal of a lease went without. On
    PostgreSQL writers that wait for their lock would each hold a connection, until no reader of the process has one.

    Raises:
        LetheError: ``store.busy``.
    """
    place = str(Path(engine.url.database or "").absolute()) if engine.dialect.name == "sqlite" else str(engine.url)
    lock = _TURNS.setdefault(place, threading.Lock())
    if not lock.acquire(timeout=engine.get_execution_options().get(_WAIT, 30.0)):
        raise LetheError("store.busy", "Other writers of this process hold the store.")
    try:
        yield
    finally:
        lock.release()


def take_writers_place(session: Session) -> None:
    """Makes a session the only one that writes, anywhere, until its transaction ends."""
    serialise(session, "writers")
    session.info[_ONLY_WRITER] = True


def is_only_writer(session: Session) -> bool:
    """Whether nobody else can change what this session has read: it then asks for no lock and reads nothing twice."""
    return session.info.get(_ONLY_WRITER) is True


def serialise(session: Session, name: str) -> None:
    """Lets one transaction at a time past this point, until it ends. SQLite's writers are serial already.

    Whoever waits too long gets ``store.busy``, as on SQLite; whoever holds the place and does nothing is thrown out.
    """
    bind = session.get_bind()
    if bind.dialect.name != "postgresql" or is_only_writer(session):
        return
    wait_s = bind.get_execution_options().get(_WAIT, 30.0)
    session.execute(
        text(
            "SELECT set_config('lock_timeout', :wait, true), "
            "set_config('idle_in_transaction_session_timeout', :idle, true), "
            "pg_advisory_xact_lock(hashtextextended(:name, 0))"
        ),
        {"name": name, "wait": f"{round(wait_s * 1000)}ms", "idle": f"{round(_IDLE_WRITER_S * 1000)}ms"},
    )


def clock(session: Session) -> datetime:
    """The store's own time: leases of many hosts are written and judged by one clock."""
    if session.get_bind().dialect.name == "postgresql":
        moment: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
        return moment.astimezone(UTC)
    return utc_now()


def notify(session: Session) -> None:
    """Wakes the watchers of the desired state once this transaction commits."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"NOTIFY {CHANNEL}"))


def scrub(engine: Engine) -> None:
    """Empties SQLite's write-ahead log, where pages with deleted rows live on until they are overwritten."""
    if engine.dialect.name == "sqlite":
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            connection.close()


@contextmanager
def translated() -> Iterator[None]:
    """Raises the stable error instead of the driver's, where there is one.

    Raises:
        LetheError: ``store.busy``, ``store.unreachable``, ``store.missing``, ``store.corrupt``, ``storage.full``,
            ``store.migration_needed``.
    """
    try:
        yield
    except DBAPIError as error:
        found = translate(error)
        if found is None:
            raise
        raise found from error
    except PoolTimeoutError as error:
        raise LetheError("store.busy", "Every connection to the store is in use.") from error


def translate(error: DBAPIError) -> LetheError | None:
    """The stable error behind a driver's error; None where there is none and the driver's own should be seen."""
    cause = error.orig
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    state = getattr(cause, "sqlstate", None)
    if code in _FULL or state == "53100":
        return LetheError("storage.full", "The disk that holds the store is full.")
    if code in _BUSY or state in {"55P03", "40P01", "40001"}:
        return LetheError("store.busy", "Another process holds the store.")
    if _is_unreachable(error, state):
        return LetheError("store.unreachable", "The database server does not answer.")
    if code == sqlite3.SQLITE_CANTOPEN or (cause is not None and type(cause).__name__ == "OperationalError" and state):
        return LetheError("store.missing", "The store cannot be opened.")
    if code in _DAMAGED:
        return LetheError("store.corrupt", "The store's file is damaged, or is no database.")
    if state == "42P01" or "no such table" in str(cause):
        return LetheError("store.migration_needed", "The store lacks a table of this version.")
    return None


def _is_unreachable(error: DBAPIError, state: str | None) -> bool:
    """The connection failed. A failure to connect has no state of the server's: psycopg then has only its own words."""
    if isinstance(error.orig, sqlite3.Error):
        return False
    if error.connection_invalidated or (state or "").startswith("08") or state in _UNREACHABLE:
        return True
    return state is None and isinstance(error, OperationalError)
