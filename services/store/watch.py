"""Tells that the store may have changed, without reading it: what each database offers for that."""

import logging
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Protocol

from services.store import dialect

_LOG = logging.getLogger(__name__)
_STOP_S = 0.5
_RECONNECT_S = 1.0


class Watch(Protocol):
    """Asked often; it may say yes too often, and no only if nothing was committed since."""

    def changed(self) -> bool: ...

    def close(self) -> None: ...


def watch(url: str) -> Watch:
    """The watch over a store: every commit on SQLite, changes of the desired state on PostgreSQL."""
    file = dialect.file_of(url)
    return _Listener(dialect.plain_url(url)) if file is None else _DataVersion(file)


class _DataVersion:
    """``PRAGMA data_version`` costs microseconds: it can be asked many times a second."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._connection: sqlite3.Connection | None = None
        self._seen: tuple[object, int] | None = None

    def changed(self) -> bool:
        """Whether another connection has committed, or the file is another one."""
        identity = dialect.identity_of(self._file)
        if identity is None:
            return True  # whoever reads will see that there is no store; opening it here would make an empty one
        if self._connection is None or self._seen is None or identity != self._seen[0]:
            self.close()
            self._connection = sqlite3.connect(self._file, check_same_thread=False)
        with closing(self._connection.execute("PRAGMA data_version")) as cursor:
            now = (identity, int(cursor.fetchone()[0]))
        before, self._seen = self._seen, now
        return now != before

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Listener:
    """LISTEN on a connection of its own, in a thread of its own; one that was lost is opened again."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._changed = threading.Event()
        self._changed.set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="listen", daemon=True)
        self._thread.start()

    def changed(self) -> bool:
        """Whether somebody has told of a change."""
        if not self._changed.is_set():
            return False
        self._changed.clear()
        return True

    def close(self) -> None:
        """End the thread and its connection."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        import psycopg

        while not self._stop.is_set():
            try:
                self._listen()
            except (psycopg.Error, OSError) as error:
                _LOG.warning("not listening to the store: %s", type(error).__name__)
                self._stop.wait(_RECONNECT_S)

    def _listen(self) -> None:
        import psycopg

        with psycopg.connect(self._url, autocommit=True, connect_timeout=5) as connection:
            connection.execute(f"LISTEN {dialect.CHANNEL}")
            self._changed.set()  # what was told while nobody listened
            while not self._stop.is_set():
                for _ in connection.notifies(timeout=_STOP_S, stop_after=1):
                    self._changed.set()
