"""A directory that is made once: two processes at once make it once, and a crash leaves nothing half."""

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCKS = ".locks"
_WAIT_S = 0.2
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})  # a disk that knows none


def made_once(
    root: Path,
    name: str,
    done: str,
    make: Callable[[Path], None],
    *,
    should_cancel: Callable[[], bool] | None = None,
) -> bool:
    """Make ``root/name`` unless it is there; False where it was.

    Args:
        root: Made if it is not there.
        name: Of the directory; it says nothing about a person.
        done: The file in it that says that it is whole; ``make`` writes it last.
        make: Fills the draft directory that it is given, which gets its name afterwards. What it raises passes
            through, and nothing is kept.
        should_cancel: Asked while another process makes the same directory; True ends the wait.

    Raises:
        InterruptedError: ``should_cancel`` said so.
    """
    target = root / name
    if (target / done).is_file():
        return False
    root.mkdir(parents=True, exist_ok=True)
    with _alone(root, name, should_cancel) as alone:
        if (target / done).is_file():
            return False
        # Of a process that was killed: nobody else holds the lock.
        for left in root.glob(f".making-{name}-*") if alone else ():
            shutil.rmtree(left, ignore_errors=True)
        draft = root / f".making-{name}-{os.getpid()}"
        draft.mkdir()
        try:
            make(draft)
            return _settle(draft, target, done)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _alone(root: Path, name: str, should_cancel: Callable[[], bool] | None) -> Iterator[bool]:
    """Whether nobody else makes it now. The lock ends with the process, also after ``kill -9``.

    On a disk without locks several may make it at once, and the faster one wins (``_settle``).
    """
    locks = root / _LOCKS
    locks.mkdir(exist_ok=True)
    with (locks / name).open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                alone = True
                break
            except BlockingIOError:
                if should_cancel and should_cancel():
                    raise InterruptedError from None
                time.sleep(_WAIT_S)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                alone = False
                break
        yield alone


def _settle(draft: Path, target: Path, done: str) -> bool:
    """Put the finished directory in its place; a process on another host that was faster has the same one there."""
    try:
        draft.rename(target)
    except OSError:
        if not (target / done).is_file():
            raise
        return False
    return True
