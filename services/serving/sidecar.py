"""An engine that somebody else starts and ends (a container beside the gateway's), reached by a shared socket."""

import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path

from policies.errors import LetheError
from services.serving.engine_client import EngineClient
from services.serving.engine_process import START_TIMEOUT_S, Check, EngineLink
from services.serving.launch import Boot

_PERIOD_S = 0.5


class Sidecar(EngineLink):
    """``alive`` ends when the engine behind the socket is another one or none.

    An engine that was started anew has lost its adapters. It shows by its socket: a new one lies at the path.
    ``boot`` cannot be handed to one that runs already: the caller loads it.
    """

    def __init__(
        self, socket: Path, *, check: Check = lambda _: None, start_timeout_s: float = START_TIMEOUT_S
    ) -> None:
        super().__init__(check, start_timeout_s)
        self._socket = socket
        self._watcher: asyncio.Task[None] | None = None
        self._alive = False

    @property
    def alive(self) -> bool:
        """Whether it is still the engine that was connected to."""
        return self._alive

    async def stop(self) -> None:
        """Disconnect; the engine itself is not ours to end."""
        self._alive = False
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            with suppress(asyncio.CancelledError):
                await watcher
        await super().stop()

    def _begin(self, _: Boot | None) -> Path:
        return self._socket

    async def _until_healthy(self, client: EngineClient, _: Path) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline:
            seen = self._identity()
            if seen is not None and await client.healthy(2.0) and self._identity() == seen:
                self._alive = True
                self._watcher = asyncio.create_task(self._watch(seen))
                return
            await asyncio.sleep(_PERIOD_S)
        raise LetheError("serving.engine_down", "There is no healthy engine at the socket.")

    async def _watch(self, seen: tuple[int, int]) -> None:
        while self._identity() == seen and await self._answers():
            await asyncio.sleep(_PERIOD_S)
        self._alive = False

    async def _answers(self) -> bool:
        """Whether anybody listens; a busy engine's kernel still accepts."""
        try:
            _, writer = await asyncio.open_unix_connection(str(self._socket))
        except OSError:
            return False
        writer.close()
        return True

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._socket)
        except OSError:
            return None
        return found.st_ino, found.st_ctime_ns
