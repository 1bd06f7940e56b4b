"""Passes one answer from the engine to the client, chunk by chunk."""

import json
from typing import Any, Protocol

import aiohttp
from starlette.types import Send

from policies.errors import LetheError
from services.serving.alias import Alias, Served
from services.serving.engine_client import EngineClient
from services.serving.gateway.answers import Refusal, not_ready, send_json, start


class Serving(Protocol):
    """What the gateway needs of a replica."""

    alias: Alias

    @property
    def ready(self) -> bool: ...

    @property
    def client(self) -> EngineClient: ...


class Answering(Protocol):
    """What passes one answer on: plainly, or screened while somebody is suppressed."""

    started: bool

    async def run(self, replica: Serving, path: str, body: dict[str, Any]) -> None: ...

    async def broken(self) -> None: ...


class Relay:
    """Passes one answer from the engine to the client."""

    def __init__(self, send: Send, served: Served, public: str, stream: bool) -> None:
        self._send, self._served, self._stream = send, served, stream
        # The engine names the adapter; clients know the public name only.
        self._inner = json.dumps({"model": served.name}, separators=(",", ":"))[1:-1].encode()
        self._outer = json.dumps({"model": public}, separators=(",", ":"))[1:-1].encode()
        self._public = public
        self.started = False

    async def run(self, replica: Serving, path: str, body: dict[str, Any]) -> None:
        """Ask the engine and relay what it says.

        Raises:
            Refusal: It failed before anything was sent.
        """
        try:
            async with replica.client.open(path, body) as response:
                if response.status != 200:
                    raise engine_refusal(response.status, await response.read(), response.headers)
                if self._stream:
                    await self._relay_stream(response)
                else:
                    answer = await response.json() | {"model": self._public}
                    await send_json(self._send, 200, answer, about(self._served))
        except (aiohttp.ClientError, OSError, TimeoutError, LetheError) as error:
            await self.broken()
            if not self.started:
                raise not_ready() from error

    async def broken(self) -> None:
        """End a stream that cannot go on, by an error event and without ``[DONE]``: never by another generation."""
        if self.started:
            body = Refusal(503, "The answer was interrupted.", "serving.interrupted").body()
            await self._send({"type": "http.response.body", "body": b"data: " + json.dumps(body).encode() + b"\n\n"})

    async def _relay_stream(self, response: aiohttp.ClientResponse) -> None:
        headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        await self._send(start(200, headers | about(self._served)))
        self.started = True
        done = False
        async for line in response.content:
            done = done or line.startswith(b"data: [DONE]")
            if line == b"\n":
                continue  # sent with the line before it
            event = line.replace(self._inner, self._outer, 1).rstrip(b"\n") + b"\n\n"
            await self._send({"type": "http.response.body", "body": event, "more_body": True})
        if not done:
            await self.broken()
            return
        await self._send({"type": "http.response.body", "body": b""})


def about(served: Served) -> dict[str, str]:
    """Headers that say which generation answers."""
    return {"x-lethe-generation": str(served.generation), "x-lethe-release": served.digest}


def engine_refusal(status: int, raw: bytes, headers: Any) -> Refusal:
    """The engine's own refusal, if the client caused it; otherwise only that it failed."""
    if status in {400, 429}:
        try:
            error = json.loads(raw)["error"]
            more = {"retry-after": headers.get("retry-after", "1")} if status == 429 else {}
            return Refusal(status, str(error["message"]), str(error["code"]), more)
        except (ValueError, KeyError, TypeError):
            pass
    return Refusal(503, "The engine could not answer.", "serving.engine_failed", {"retry-after": "1"})
