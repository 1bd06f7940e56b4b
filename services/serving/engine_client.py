"""The engine as the gateway sees it: vLLM's HTTP forms on a Unix socket, whichever engine is behind."""

from pathlib import Path
from typing import Any

import aiohttp

from policies.errors import LetheError

CANARIES = ("Hello.", "Who are you?", "Say one word.")
_LOAD_S = 120.0


class EngineClient:
    """One engine. Open and closed in the event loop that uses it."""

    def __init__(self, socket: Path) -> None:
        self._session = aiohttp.ClientSession(
            "http://engine",
            connector=aiohttp.UnixConnector(str(socket), limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
            auto_decompress=False,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def healthy(self, timeout_s: float = 10.0) -> bool:
        """Whether the engine answers and its worker lives."""
        try:
            async with self._session.get("/health", timeout=aiohttp.ClientTimeout(total=timeout_s)) as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def adapters(self) -> dict[str, str]:
        """Loaded names with their paths."""
        async with self._session.get("/v1/models", timeout=aiohttp.ClientTimeout(total=10)) as response:
            response.raise_for_status()
            return {entry["id"]: str(entry.get("root")) for entry in (await response.json())["data"]}

    async def load(self, name: str, path: Path) -> None:
        """Load an adapter under a new name.

        Raises:
            LetheError: ``serving.load_failed``.
        """
        status = await self._admin("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(path)}, _LOAD_S)
        if status != 200 or (await self.adapters()).get(name) != str(path):
            raise LetheError("serving.load_failed", f"The engine did not load the adapter (status {status}).")

    async def unload(self, name: str) -> None:
        """Unload an adapter and see to it that it is gone.

        Raises:
            LetheError: ``serving.unload_failed``.
        """
        status = await self._admin("/v1/unload_lora_adapter", {"lora_name": name}, _LOAD_S)
        if status not in {200, 404} or name in await self.adapters():
            raise LetheError("serving.unload_failed", f"The engine did not unload the adapter (status {status}).")

    async def probe(self, name: str) -> None:
        """Ask harmless questions through an adapter before anyone else can.

        Raises:
            LetheError: ``serving.probe_failed``: no canary got an answer with text in it.
        """
        for canary in CANARIES:
            body = {
                "model": name,
                "messages": [{"role": "user", "content": canary}],
                "max_tokens": 8,
                "temperature": 0,
            }
            async with self.open("/v1/chat/completions", body) as response:
                if response.status != 200:
                    raise LetheError("serving.probe_failed", f"A canary got status {response.status}.")
                answer = await response.json()
            if answer["choices"][0]["message"]["content"].strip():
                return
        raise LetheError("serving.probe_failed", "The adapter answers nothing.")

    def open(self, path: str, body: dict[str, Any]) -> Any:
        """Ask; a context manager over the response, which is still to be read."""
        return self._session.post(path, json=body)

    async def _admin(self, path: str, body: dict[str, Any], timeout_s: float) -> int:
        try:
            timeout = aiohttp.ClientTimeout(total=timeout_s)
            async with self._session.post(path, json=body, timeout=timeout) as response:
                await response.read()
                return response.status
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise LetheError("serving.engine_down", "The engine does not answer.") from error
