"""Notices that the desired state may have changed, without reading it all the time."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path


class Changes:
    """Says when to read: on every commit of another process (SQLite), and every few seconds anyway.

    ``PRAGMA data_version`` costs microseconds, so it can be asked ten times a second. Without a file (PostgreSQL) every
    question is answered with yes once a second; LISTEN/NOTIFY comes with the fleet.
    """

    def __init__(self, file: Path | None, *, full_s: float = 3.0) -> None:
        self._connection = None if file is None else sqlite3.connect(file, check_same_thread=False)
        self._full_s = full_s if file is not None else 1.0
        self._version = -1
        self._last = -1e9

    def due(self) -> bool:
        """Whether to read now."""
        now = time.monotonic()
        version = self._data_version()
        if version == self._version and now - self._last < self._full_s:
            return False
        self._version, self._last = version, now
        return True

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def _data_version(self) -> int:
        if self._connection is None:
            return -1
        with closing(self._connection.execute("PRAGMA data_version")) as cursor:
            return int(cursor.fetchone()[0])
