"""The engine as a child of the gateway: started, watched, and gone with it."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from policies.errors import LetheError
from services.serving.engine_client import EngineClient

_SOCKET_PATH_LIMIT = 100  # the kernel takes 107 bytes
_GRACE_S = 10.0


def transformers_command(base: Path, *, dtype: str, device: str = "", more: Sequence[str] = ()) -> list[str]:
    """The command line of the embedded engine, without its socket."""
    command = [sys.executable, "-m", "services.serving.engine", "--base", str(base), "--dtype", dtype]
    return [*command, *(["--device", device] if device else []), *more]


class EngineProcess:
    """Starts the engine again whenever it is asked to; a dead one is noticed by ``alive``."""

    def __init__(self, command: Sequence[str], sockets: Path, *, start_timeout_s: float = 300.0) -> None:
        self._command = tuple(command)
        self._directory = sockets
        self._start_timeout_s = start_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._client: EngineClient | None = None

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

    async def start(self) -> None:
        """Start it and wait until it is healthy.

        Raises:
            LetheError: ``serving.engine_down``.
        """
        await self.stop()
        socket = self._socket()
        socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [*self._command, "--socket", str(socket)], stdin=subprocess.PIPE, env={**os.environ, "HF_HUB_OFFLINE": "1"}
        )
        self._client = EngineClient(socket)
        deadline = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline and self.alive:
            if socket.exists() and await self._client.healthy(2.0):
                return
            await asyncio.sleep(0.1)
        await self.stop()
        raise LetheError("serving.engine_down", "The engine did not become healthy.")

    async def stop(self) -> None:
        """End it: by its stdin, and if that does not help by force."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()
        process, self._process = self._process, None
        if process is not None:
            await asyncio.to_thread(_end, process)

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
