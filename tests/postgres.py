"""A PostgreSQL server for tests: made in a directory of its own, on a Unix socket, and ended with them."""

import functools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PLACES = ("/usr/lib/postgresql", "/usr/local/pgsql", "/opt/homebrew/opt")


@functools.cache
def binary(name: str) -> str:
    """A server's program, installed with the system's package manager where it is not there yet."""
    found = _find(name)
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-qq", "-y", "postgresql"], check=True)
        found = _find(name)
    assert found is not None, "these tests need PostgreSQL's server (apt-get install postgresql)"
    return found


def _find(name: str) -> str | None:
    found = shutil.which(name)
    if found is not None:
        return str(Path(found).resolve())
    places = [path for place in _PLACES for path in Path(place).glob(f"**/bin/{name}")]
    return str(max(places)) if places else None


@dataclass
class Server:
    """One cluster; ``url`` names its database. ``durable``: a commit waits for the disk, which tests need not."""

    directory: Path
    user: str
    durable: bool = False

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://{self.user}@/postgres?host={self.directory}"

    def start(self) -> None:
        options = f"-c listen_addresses='' -k {self.directory} -c fsync={'on' if self.durable else 'off'}"
        self._control("start", "-w", "-o", options)

    def stop(self, mode: str = "fast") -> None:
        """``immediate`` is a crash: nothing is written, and the log is replayed at the next start."""
        self._control("stop", "-w", "-m", mode)

    def run(self, name: str, *arguments: str) -> None:
        _as_user(self.user, [binary(name), *arguments])

    def _control(self, verb: str, *more: str) -> None:
        log = str(self.directory / "log")
        self.run("pg_ctl", verb, "-s", "-D", str(self.directory / "data"), "-l", log, *more)


def _as_user(user: str, command: list[str]) -> None:
    """The server refuses to run as root."""
    more = {"user": user} if os.geteuid() == 0 else {}
    subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL, **more)  # type: ignore[call-overload]


@contextmanager
def running_server(*, durable: bool = False) -> Iterator[Server]:
    """A server with an empty database."""
    user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    directory = Path(tempfile.mkdtemp(prefix="lethe-pg-", dir="/tmp"))  # short: a socket lies in it
    if os.geteuid() == 0:
        shutil.chown(directory, user)
    server = Server(directory, user, durable)
    try:
        server.run("initdb", "-D", str(directory / "data"), "-A", "trust", "-U", user, "--no-sync")
        server.start()
        yield server
        server.stop("immediate")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[str]:
    """The URL of a server with an empty database."""
    with running_server(durable=durable) as server:
        yield server.url
