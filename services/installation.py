"""An installation on disk: its directories, its keys, its one migration step, and who may run in it."""

import errno
import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from policies.errors import LetheError
from services import auth, keys, sealing
from services.region import REGION
from services.settings import Settings
from services.store import dialect, migration
from services.store.engine import Store, open_store
from services.store.types import utc_now

DIRECTORIES = (
    "bases",
    "controls",
    "corpora",
    "index",
    "keys",
    "locks",
    "logs",
    "releases",
    "reports",
    "runs",
    "sealed",
    "sockets",
)


@dataclass(frozen=True, slots=True)
class Installation:
    """The paths of one installation, and its store."""

    settings: Settings

    @property
    def home(self) -> Path:
        """The directory of the installation."""
        return self.settings.home

    def path(self, directory: str, *parts: str) -> Path:
        """A path below one of ``DIRECTORIES``."""
        if directory not in DIRECTORIES:
            raise ValueError(directory)
        return self.home.joinpath(directory, *parts)

    @property
    def operator_key_path(self) -> Path:
        """The API key of the operator of this host."""
        return self.settings.key_directory / "operator.key"

    def open_store(self, *, with_keys: bool = True) -> Store:
        """The store; ``with_keys`` only where this process has to unseal (serving has not).

        Raises:
            LetheError: ``store.missing``, ``store.migration_needed``, ``store.too_new``, ``installation.incomplete``.
        """
        info: dict[str, object] = {REGION: self.settings.corpus.region}
        if with_keys:
            info[sealing.KEY_RING] = sealing.load_key_ring(self.settings)
        return open_store(self.settings.store_url, busy_timeout_s=self.settings.store.busy_timeout_s, info=info)


def create_installation(settings: Settings, *, also: Callable[[Settings], object] | None = None) -> Installation:
    """Makes what is missing: directories, keys, database, the operator's API key. Doing it again changes nothing.

    Args:
        settings: Whose ``home`` it is.
        also: Another schema to bring up to date in the same step (the durable jobs').

    Raises:
        LetheError: ``installation.incomplete`` where there is a database whose keys are gone: new ones could not open
            what it holds. ``storage.full``, ``store.too_new``.
    """
    installation = Installation(settings)
    with full_disk_named():
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in DIRECTORIES:
            installation.path(name).mkdir(exist_ok=True, mode=0o700)
        if _has_schema(settings):
            sealing.create_suppression_key(settings)
            sealing.load_key_ring(settings)
        else:
            sealing.create_key_ring(settings)
        keys.ensure(settings)
        migrate(settings, also=also)
        _create_operator_key(installation)
    return installation


def open_installation(settings: Settings) -> Installation:
    """An installation that exists.

    Raises:
        LetheError: ``store.missing``.
    """
    if not settings.home.is_dir():
        raise LetheError("store.missing", "There is no installation here.", (str(settings.home),))
    return Installation(settings)


def migrate(settings: Settings, *, also: Callable[[Settings], object] | None = None) -> None:
    """The one migration step; nothing else changes a schema. One process at a time.

    Raises:
        LetheError: ``store.too_new``.
    """
    settings.home.joinpath("locks").mkdir(parents=True, exist_ok=True)
    with settings.home.joinpath("locks", "migration.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        migration.migrate(settings.store_url)
        if also is not None:
            also(settings)


class RoleLock:
    """Held while a process runs in a role; ends with the process, also after ``kill -9``."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def release(self) -> None:
        """Lets another process run in this role."""
        self._file.close()


def hold_role(settings: Settings, role: str) -> RoleLock | None:
    """Takes a role (``intake``, ``unlearning``, ``serving``) of this host; None where many hosts may share it.

    Raises:
        LetheError: ``store.locked``, naming the process to stop.
    """
    if not dialect.is_sqlite(settings.store_url):
        return None
    path = settings.home / "locks" / f"{role}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "a process that has not written its id yet"
        file.close()
        raise LetheError(
            "store.locked", f"Another {role} process runs on this installation, and SQLite serves one.", (holder,)
        ) from None
    file.truncate(0)
    about = {
        "role": role,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": utc_now().isoformat("T", "seconds"),
    }
    file.write(json.dumps(about))
    file.flush()
    return RoleLock(file)


@contextmanager
def full_disk_named() -> Iterator[None]:
    """Gives a full disk its stable code, wherever it shows.

    Raises:
        LetheError: ``storage.full``.
    """
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise LetheError("storage.full", "The disk is full.") from error
        raise


def _has_schema(settings: Settings) -> bool:
    file = dialect.file_of(settings.store_url)
    if file is not None and not file.exists():
        return False
    engine = dialect.make_engine(settings.store_url)
    try:
        with dialect.translated():
            return migration.current(engine) is not None
    finally:
        engine.dispose()


def _create_operator_key(installation: Installation) -> None:
    path = installation.operator_key_path
    if path.exists():
        return
    store = installation.open_store(with_keys=False)
    try:
        with store.write() as session:
            made = auth.create_key(
                session, name="operator", scopes=auth.OPERATOR_SCOPES, role="admin", actor="system:init"
            )
            draft = path.with_name(f".{path.name}.{os.getpid()}")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(made.token + "\n")
            os.replace(draft, path)  # before the commit: a key that nobody knows must not stay in the database
    finally:
        store.close()
