"""The engine as a child of the gateway: started, watched, and gone with it."""

import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from policies.errors import LetheError
from services.serving.engine_client import About, EngineClient
from services.serving.launch import Boot, Launch

_SOCKET_PATH_LIMIT = 100  # the kernel takes 107 bytes
_GRACE_S = 10.0

Check = Callable[[About], None]


class EngineProcess:
    """Starts the engine again whenever it is asked to; a dead one is noticed by ``alive``.

    Args:
        launch: Gives the command for a socket and, where the engine can boot with it, a verified release.
        sockets: Directory for the socket.
        check: Raises for an engine that may not serve, before anybody asks it anything.
        start_timeout_s: Loading a large base takes minutes.
    """

    def __init__(
        self,
        launch: Callable[[Path, Boot | None], Launch],
        sockets: Path,
        *,
        check: Check = lambda _: None,
        start_timeout_s: float = 900.0,
    ) -> None:
        self._launch, self._check = launch, check
        self._directory = sockets
        self._start_timeout_s = start_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
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
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self.alive else None

    async def start(self, boot: Boot | None = None) -> None:
        """Start it and wait until it is healthy.

        Args:
            boot: Name and directory of a release that the caller has verified; an engine that cannot start with one
                starts empty.

        Raises:
            LetheError: ``serving.engine_down``, and what the check raises.
        """
        await self.stop()
        socket = self._socket()
        socket.unlink(missing_ok=True)
        launch = self._launch(socket, boot)
        self._process = subprocess.Popen(launch.argv, stdin=subprocess.PIPE, env=dict(launch.env))
        self._client = EngineClient(socket)
        try:
            await self._wait_healthy(self._client, socket)
            socket.chmod(0o600)
            self.about = await self._client.about()
            self._check(self.about)
        except BaseException:  # cancelled while it loads: the half-started engine must not stay
            await asyncio.shield(self.stop())
            raise

    async def stop(self) -> None:
        """End it: by its stdin, and if that does not help by force."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()
        process, self._process = self._process, None
        if process is not None:
            await asyncio.to_thread(_end, process)

    async def _wait_healthy(self, client: EngineClient, socket: Path) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline and self.alive:
            if socket.exists() and await client.healthy(2.0):
                return
            await asyncio.sleep(0.1)
        raise LetheError("serving.engine_down", "The engine did not become healthy.")

    def _socket(self) -> Path:
        path = self._directory / f"engine-{os.getpid()}.sock"
        if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            return path
        self._directory = Path(tempfile.mkdtemp(prefix="lethe-"))  # only this user can enter it
        return self._directory / "engine.sock"


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
