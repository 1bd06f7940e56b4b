"""A small file that appears whole or not at all, and stays after a power cut."""

import os
import tempfile
from pathlib import Path


def write_whole(path: Path, data: bytes, *, mode: int) -> None:
    """Write a file under its name in one step; what stood there before stays until then.

    Args:
        path: In a directory that exists.
        data: All of it.
        mode: Permissions; it never has wider ones, not for a moment.
    """
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".new-")  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, mode)
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # the name too must be on the disk before anybody relies on it
    finally:
        os.close(directory)
