"""The only module that knows which database is underneath."""

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.orm import Session

from policies.errors import LetheError
from services.store.types import utc_now

READ_ONLY = "lethe_read_only"
CHANNEL = "lethe_state"
_FULL = {sqlite3.SQLITE_FULL}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


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
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": busy_timeout_s, "check_same_thread": False})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "checkout", _refuse_replaced(Path(make_url(url).database or "")))
    event.listen(engine, "begin", _begin_sqlite)
    return engine


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


def serialise(session: Session, name: str) -> None:
    """Lets one transaction at a time past this point, until it ends. SQLite's writers are serial already."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})


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


def translate(error: DBAPIError) -> LetheError | None:
    """The stable error behind a driver's error; None where there is none and the driver's own should be seen."""
    cause = error.orig
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    state = getattr(cause, "sqlstate", None)
    if code in _FULL or state == "53100":
        return LetheError("storage.full", "The disk that holds the store is full.")
    if code in _BUSY or state in {"55P03", "40P01", "40001"}:
        return LetheError("store.busy", "Another process holds the store.")
    if code == sqlite3.SQLITE_CANTOPEN or (cause is not None and type(cause).__name__ == "OperationalError" and state):
        return LetheError("store.missing", "The store cannot be opened.")
    if code in _DAMAGED:
        return LetheError("store.corrupt", "The store's file is damaged, or is no database.")
    if state == "42P01" or "no such table" in str(cause):
        return LetheError("store.migration_needed", "The store lacks a table of this version.")
    return None
