"""One at a time deletes from a file or directory: two that rewrite it at once would bring each other's rows back."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from policies.errors import LetheError


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold the lock of what stands under a path; it goes with the process.

    Raises:
        LetheError: ``deletion.source_busy``; ``corpus.not_found``.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        raise LetheError("corpus.not_found", "the source is not there") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LetheError("deletion.source_busy", "Another deletion works on this source.") from None
        if os.fstat(descriptor).st_ino != path.stat().st_ino:  # replaced between open and lock
            raise LetheError("deletion.source_busy", "Another deletion has just replaced this source.")
        yield
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """A renamed entry must be on the disk before anybody relies on it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
