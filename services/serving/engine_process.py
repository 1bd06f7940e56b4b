"""The engine as a child of the gateway: started, watched, and gone with it."""

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from policies.errors import LetheError
from services.serving.engine_client import About, EngineClient
from services.serving.launch import Boot, Launch

_SOCKET_PATH_LIMIT = 100  # the kernel takes 107 bytes
_SHORT_PATH_LIMIT = _SOCKET_PATH_LIMIT - len("/lethe-12345678/engine.sock")
_GRACE_S = 10.0
START_TIMEOUT_S = 900.0

Check = Callable[[About], None]


class EngineLink(ABC):
    """An engine of this host, and the client to it, from one start to the next.

    Args:
        check: Raises for an engine that may not serve, before anybody asks it anything.
        start_timeout_s: Loading a large base takes minutes.
    """

    def __init__(self, check: Check, start_timeout_s: float) -> None:
        self._check, self._start_timeout_s = check, start_timeout_s
        self._client: EngineClient | None = None
        self.about: About | None = None

    @property
    def client(self) -> EngineClient:
        """The client of the running engine.

        Raises:
            LetheError: ``serving.engine_down``.
        """
        if self._client is None:
            raise LetheError("serving.engine_down", "The engine is not running.")
        return self._client

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether it is still the engine that was started."""

    async def start(self, boot: Boot | None = None) -> None:
        """Start it and wait until it is healthy.

        Args:
            boot: Name and directory of a release that the caller has verified; an engine that cannot start with one
                starts without, and the caller loads it.

        Raises:
            LetheError: ``serving.engine_down``, and what the check raises.
        """
        await self.stop()
        socket = self._begin(boot)
        self._client = EngineClient(socket)
        try:
            await self._until_healthy(self._client, socket)
            self.about = await self._client.about()
            self._check(self.about)
        except BaseException:  # cancelled while it loads: the half-started engine must not stay
            await asyncio.shield(self.stop())
            raise

    async def stop(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    @abstractmethod
    def _begin(self, boot: Boot | None) -> Path:
        """Have it started; gives its socket."""

    @abstractmethod
    async def _until_healthy(self, client: EngineClient, socket: Path) -> None:
        """Wait for it, or raise ``serving.engine_down``."""


class EngineProcess(EngineLink):
    """Starts the engine again whenever it is asked to; a dead one is noticed by ``alive``.

    Args:
        launch: Gives the command for a socket and, where the engine can boot with it, a verified release.
        sockets: Directory for the socket.
        check: As ``EngineLink``.
        start_timeout_s: As ``EngineLink``.
    """

    def __init__(
        self,
        launch: Callable[[Path, Boot | None], Launch],
        sockets: Path,
        *,
        check: Check = lambda _: None,
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        super().__init__(check, start_timeout_s)
        self._launch, self._directory = launch, sockets
        self._process: subprocess.Popen[bytes] | None = None
        self._short: Path | None = None  # where the socket is if that path is too long for one

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    async def stop(self) -> None:
        """End it: by its stdin, and if that does not help by force."""
        await super().stop()
        process, self._process = self._process, None
        if process is not None:
            await asyncio.to_thread(_end, process)
        short, self._short = self._short, None
        if short is not None:
            shutil.rmtree(short, ignore_errors=True)

    def _begin(self, boot: Boot | None) -> Path:
        socket = self._socket()
        socket.unlink(missing_ok=True)
        launch = self._launch(socket, boot)
        self._process = subprocess.Popen(launch.argv, stdin=subprocess.PIPE, env=dict(launch.env))
        return socket

    async def _until_healthy(self, client: EngineClient, socket: Path) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline and self.alive:
            if socket.exists() and await client.healthy(2.0):
                socket.chmod(0o600)
                return
            await asyncio.sleep(0.1)
        raise LetheError("serving.engine_down", "The engine did not become healthy.")

    def _socket(self) -> Path:
        path = self._directory / f"engine-{os.getpid()}.sock"
        if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            return path
        # A directory for temporary files can be as deep as the home; /tmp is there on every Linux.
        roomy = [place for place in (tempfile.gettempdir(), "/tmp") if len(os.fsencode(place)) <= _SHORT_PATH_LIMIT]  # noqa: S108
        self._short = Path(tempfile.mkdtemp(prefix="lethe-", dir=roomy[0]))  # only this user can enter it
        return self._short / "engine.sock"


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
