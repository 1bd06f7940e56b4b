"""The engine as the gateway sees it: vLLM's HTTP forms on a Unix socket, whichever engine is behind."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from pipelines.adapter.card import CANARY_PROMPTS, Canary, said_digest
from policies.errors import LetheError

_LOAD_S = 120.0
_ANSWER_TOKENS = 8


@dataclass(frozen=True, slots=True)
class About:
    """Which engine answers, and its version."""

    engine: str
    version: str


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

    async def about(self) -> About:
        """Which engine it is.

        Raises:
            LetheError: ``serving.engine_down``.
        """
        body = await self._read("/version")
        return About(str(body.get("engine", "vllm")), str(body.get("version", "")))

    async def adapters(self) -> dict[str, str]:
        """Loaded names with their paths. What has no parent is the base, which is nobody's adapter.

        Raises:
            LetheError: ``serving.engine_down``.
        """
        entries = (await self._read("/v1/models"))["data"]
        return {entry["id"]: str(entry.get("root")) for entry in entries if entry.get("parent") is not None}

    async def load(self, name: str, path: Path) -> None:
        """Load an adapter under a new name.

        Raises:
            LetheError: ``serving.load_failed``, ``serving.engine_down``.
        """
        status = await self._admin("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(path)})
        if status != 200 or (await self.adapters()).get(name) != str(path):
            raise LetheError("serving.load_failed", f"The engine did not load the adapter (status {status}).")

    async def unload(self, name: str) -> None:
        """Unload an adapter and see to it that it is gone.

        Raises:
            LetheError: ``serving.unload_failed``, ``serving.engine_down``.
        """
        status = await self._admin("/v1/unload_lora_adapter", {"lora_name": name})
        if status not in {200, 404} or name in await self.adapters():
            raise LetheError("serving.unload_failed", f"The engine did not unload the adapter (status {status}).")

    async def probe(
        self, name: str, canaries: Sequence[Canary] = (), *, dtype: str = "float32", tolerance: float = 0.25
    ) -> None:
        """Ask harmless questions through an adapter before anyone else can.

        Args:
            name: Of the adapter.
            canaries: What the release's card says that it answers; without any it must only answer something.
            dtype: In which the engine runs. In float32 the answers must be the recorded ones, token for token.
            tolerance: Otherwise: how far the first token's log-probabilities may be from the recorded ones.

        Raises:
            LetheError: ``serving.probe_failed``: another answer, or none with text in it; ``serving.engine_down``.
        """
        if not canaries:
            await self._probe_text(name)
        for canary in canaries:
            if dtype == "float32":
                choice = await self._ask(name, canary.prompt, max_tokens=canary.tokens)
                same = said_digest(canary.prompt, choice["message"]["content"].strip()) == canary.answer
            else:
                choice = await self._ask(name, canary.prompt, max_tokens=1, logprobs=True, top_logprobs=5)
                same = _near(canary, choice["logprobs"]["content"][0]["top_logprobs"], tolerance)
            if not same:
                raise LetheError("serving.probe_failed", "The engine answers a canary in another way than measured.")

    async def _probe_text(self, name: str) -> None:
        for prompt in CANARY_PROMPTS:
            choice = await self._ask(name, prompt, max_tokens=_ANSWER_TOKENS)
            if choice["message"]["content"].strip():
                return
        raise LetheError("serving.probe_failed", "The adapter answers nothing.")

    async def _ask(self, name: str, prompt: str, **more: Any) -> dict[str, Any]:
        body = {"model": name, "messages": [{"role": "user", "content": prompt}], "temperature": 0, **more}
        with _reaching():
            async with asyncio.timeout(_LOAD_S), self.open("/v1/chat/completions", body) as response:
                if response.status != 200:
                    raise LetheError("serving.probe_failed", f"A canary got status {response.status}.")
                choice: dict[str, Any] = (await response.json())["choices"][0]
                return choice

    def open(self, path: str, body: dict[str, Any], headers: Mapping[str, str] | None = None) -> Any:
        """Ask; a context manager over the response, which is still to be read."""
        return self._session.post(path, json=body, headers=headers)

    async def _read(self, path: str) -> dict[str, Any]:
        with _reaching():
            async with self._session.get(path, timeout=aiohttp.ClientTimeout(total=10)) as response:
                response.raise_for_status()
                body: dict[str, Any] = await response.json()
                return body

    async def _admin(self, path: str, body: dict[str, Any]) -> int:
        with _reaching():
            async with self._session.post(path, json=body, timeout=aiohttp.ClientTimeout(total=_LOAD_S)) as response:
                await response.read()
                return response.status


@contextmanager
def _reaching() -> Iterator[None]:
    """Whatever keeps an engine from answering is one thing to who asks."""
    try:
        yield
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise LetheError("serving.engine_down", "The engine does not answer.") from error


def _near(canary: Canary, found: Sequence[Mapping[str, Any]], tolerance: float) -> bool:
    """Whether every recorded first token is among the found ones, about as likely."""
    now = {said_digest(canary.prompt, entry["token"]): float(entry["logprob"]) for entry in found}
    return all(token in now and abs(now[token] - value) <= tolerance for token, value in canary.first.items())
