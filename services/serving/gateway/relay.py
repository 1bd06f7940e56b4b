"""Passes one answer from the engine to the client, chunk by chunk."""

import json
import re
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
from starlette.types import Send

from policies.errors import LetheError
from services.serving.alias import Alias, Served
from services.serving.engine_client import EngineClient
from services.serving.gateway.answers import RETRY, Refusal, not_ready, send_json, start
from services.serving.protocol import ChatRequest, CompletionRequest

_ADAPTER = re.compile(r"u-[0-9a-f]{16}")  # its name is nobody's business


class Serving(Protocol):
    """What the gateway needs of a replica."""

    alias: Alias

    @property
    def ready(self) -> bool: ...

    @property
    def client(self) -> EngineClient: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request that was let in: what was asked, which generation answers, and where the answer goes.

    Attributes:
        replica: Its engine is asked.
        path: Of the request, the same for the engine.
        request: The checked form.
        public: The model name that the client used.
        served: The generation that the request keeps to its end.
        send: To the client.
        headers: More headers for the engine (traceparent).
    """

    replica: Serving
    path: str
    request: ChatRequest | CompletionRequest
    public: str
    served: Served
    send: Send
    headers: dict[str, str] = field(default_factory=dict)

    def engine_body(self) -> dict[str, Any]:
        """A new dictionary of checked fields: nothing of the body that is not in the form can reach the engine."""
        return self.request.model_dump(exclude_unset=True, exclude_none=True, exclude={"user"}) | {
            "model": self.served.name
        }

    def ask(self, body: dict[str, Any] | None = None) -> Any:
        """Ask the engine; a context manager over the response, which is still to be read.

        Args:
            body: What to ask; None: what the client asked.
        """
        return self.replica.client.open(self.path, self.engine_body() if body is None else body, self.headers)


class Answering(Protocol):
    """What passes one answer on: plainly, or screened while somebody is suppressed."""

    started: bool

    async def run(self) -> None:
        """Ask the engine and answer the client.

        Raises:
            Refusal: It failed before anything was sent.
        """

    async def broken(self, why: Refusal) -> None:
        """End a stream that cannot go on; nothing happens where nothing was sent yet."""


class Relay:
    """Passes an answer on as it is, but for the model's name."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        # The engine names the adapter; clients know the public name only.
        self._inner = json.dumps({"model": exchange.served.name}, separators=(",", ":"))[1:-1].encode()
        self._outer = json.dumps({"model": exchange.public}, separators=(",", ":"))[1:-1].encode()
        self.started = False
        self._cut = False  # what the engine still has to say is not wanted

    def _open(self) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Ask the engine."""
        asked: AbstractAsyncContextManager[aiohttp.ClientResponse] = self._exchange.ask()
        return asked

    def _whole(self, answer: dict[str, Any]) -> dict[str, Any]:
        """What goes out of a whole answer."""
        return answer

    def _events(self, events: bytes) -> bytes:
        """What goes out of events of a stream, which are whole."""
        return events.replace(self._inner, self._outer)

    async def run(self) -> None:
        """Ask the engine and relay what it says.

        Raises:
            Refusal: It failed before anything was sent.
        """
        exchange = self._exchange
        try:
            async with self._open() as response:
                if response.status != 200:
                    raise engine_refusal(response.status, await response.read(), response.headers)
                if exchange.request.stream:
                    await self._relay_stream(response)
                else:
                    answer = await response.json() | {"model": exchange.public}
                    await send_json(exchange.send, 200, self._whole(answer), about(exchange.served))
        except (aiohttp.ClientError, OSError, TimeoutError, LetheError) as error:
            await self.broken(interrupted())
            if not self.started:
                raise not_ready() from error

    async def broken(self, why: Refusal) -> None:
        """End a stream that cannot go on, by an error event and without ``[DONE]``: never by another generation."""
        if self.started:
            event = b"data: " + json.dumps(why.body()).encode() + b"\n\n"
            await self._exchange.send({"type": "http.response.body", "body": event})

    async def _relay_stream(self, response: aiohttp.ClientResponse) -> None:
        headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        send = self._exchange.send
        await send(start(200, headers | about(self._exchange.served)))
        self.started = True
        done, waiting = False, b""
        # What has arrived together goes on together: every message to the client is a call into the kernel.
        async for data in response.content.iter_any():
            events, end, waiting = (waiting + data).rpartition(b"\n\n")
            if end:
                # Quotes are escaped inside a text, so no text can look like this.
                events, failed, _ = (events + end).partition(b'data: {"error"')
                body = self._events(events)
                done = done or body.endswith(b"data: [DONE]\n\n")
                if body:
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                if self._cut or failed:
                    break
        if not done:
            await self.broken(interrupted())
            return
        await send({"type": "http.response.body", "body": b""})


def interrupted() -> Refusal:
    """What a stream ends with that cannot go on."""
    return Refusal(503, "The answer was interrupted.", "serving.interrupted")


def about(served: Served) -> dict[str, str]:
    """Headers that say which generation answers."""
    return {"x-lethe-generation": str(served.generation), "x-lethe-release": served.digest}


def engine_refusal(status: int, raw: bytes, headers: Any) -> Refusal:
    """The engine's own refusal, if the client caused it; otherwise only that it failed."""
    if status in {400, 429}:
        try:
            error = json.loads(raw)["error"]
            words, code, param = _ADAPTER.sub("the model", str(error["message"])), error["code"], error.get("param")
        except (ValueError, KeyError, TypeError):
            return _failed()
        if status == 429:
            return Refusal(429, words, "serving.busy", {"retry-after": headers.get("retry-after", "1")})
        if "maximum context length" in words or "max_model_len" in words:  # vLLM has no code for it
            code = "context_length_exceeded"
        return Refusal(
            400, words, code if isinstance(code, str) else None, param=param if isinstance(param, str) else None
        )
    return _failed()


def _failed() -> Refusal:
    return Refusal(503, "The engine could not answer.", "serving.engine_failed", RETRY)
