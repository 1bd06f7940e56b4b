"""A key of its own for a directory of results: digests over personal data in it cannot be confirmed by guessing."""

import os
import secrets
from pathlib import Path


def directory_key(path: Path) -> bytes:
    """The key in a file that only its owner reads, made where it is not there yet."""
    if not path.is_file():
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:  # another process was quicker
            return path.read_bytes()
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
    return path.read_bytes()
