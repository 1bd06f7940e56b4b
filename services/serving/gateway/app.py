"""The gateway: checks a request, pins its generation, passes it to the engine, and relays the answer."""

import asyncio
import json
from collections.abc import Awaitable
from typing import Any, Protocol

import aiohttp
from starlette.types import Receive, Scope, Send

from policies.errors import LetheError
from services.auth import IDENTITY, Identity
from services.serving.alias import Alias, Served
from services.serving.engine_client import EngineClient
from services.serving.gateway.answers import Refusal, not_ready, send_json, start, unknown_model
from services.serving.protocol import ChatRequest, CompletionRequest, RequestError, parse

FORMS: dict[str, type[ChatRequest] | type[CompletionRequest]] = {
    "/v1/chat/completions": ChatRequest,
    "/v1/completions": CompletionRequest,
}


class Serving(Protocol):
    """What the gateway needs of a replica."""

    alias: Alias

    @property
    def ready(self) -> bool: ...

    @property
    def client(self) -> EngineClient: ...


class Gateway:
    """An ASGI app. It stands behind the door: without an identity in the scope it answers nobody."""

    def __init__(self) -> None:
        self._replica: Serving | None = None
        self._names: tuple[str, ...] = ()
        self._limit = 1 << 20

    def attach(self, replica: Serving, *, names: tuple[str, ...], max_body_bytes: int) -> None:
        """Connect it with a replica once there is one."""
        self._replica, self._names, self._limit = replica, names, max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            if not isinstance(scope.get(IDENTITY), Identity):
                raise Refusal(403, "The request did not come through the door.", "auth.forbidden")
            if scope["path"] == "/v1/models":
                await self._models(send)
            elif scope["path"] in FORMS:
                await self._generate(FORMS[scope["path"]], scope, receive, send)
            else:
                raise Refusal(404, "There is no such path.", "request.not_found")
        except Refusal as refusal:
            await send_json(send, refusal.status, refusal.body(), refusal.headers)

    async def _models(self, send: Send) -> None:
        served = self._ready_replica().alias.current
        if served is None:
            raise not_ready()
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "lethe"} for name in self._names]
        await send_json(send, 200, {"object": "list", "data": data}, _about(served))

    async def _generate(
        self, form: type[ChatRequest] | type[CompletionRequest], scope: Scope, receive: Receive, send: Send
    ) -> None:
        request, public = self._read(form, await self._body(scope, receive))
        replica = self._ready_replica()
        with replica.alias.enter() as served:
            if served is None:
                raise not_ready()
            # A new dictionary of checked fields: nothing of the body that is not in the form can reach the engine.
            body = request.model_dump(exclude_unset=True, exclude={"user"}) | {"model": served.name}
            relay = Relay(send, served, public, request.stream)
            await _until_gone(relay.run(replica, scope["path"], body), receive, served, relay)

    def _ready_replica(self) -> Serving:
        if self._replica is None or not self._replica.ready:
            raise not_ready()
        return self._replica

    def _read(self, form: Any, raw: bytes) -> tuple[ChatRequest | CompletionRequest, str]:
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise Refusal(400, "The body is not JSON.", None) from error
        if not isinstance(body, dict):
            raise Refusal(400, "The body is not a JSON object.", None)
        name = body.get("model")
        if not isinstance(name, str) or name not in self._names:
            raise unknown_model()
        try:
            return parse(form, raw), name
        except RequestError as error:
            raise Refusal(error.status, error.message, None) from error

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        raw = b""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refusal(400, "The client left.", None)
            raw += message.get("body", b"")
            more = message.get("more_body", False)
            if len(raw) > self._limit:
                raise Refusal(413, f"The body is larger than {self._limit} bytes.", "request.too_large")
        return raw


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
                    raise _engine_refusal(response.status, await response.read(), response.headers)
                if self._stream:
                    await self._relay_stream(response)
                else:
                    answer = await response.json() | {"model": self._public}
                    await send_json(self._send, 200, answer, _about(self._served))
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
        await self._send(start(200, headers | _about(self._served)))
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


async def _until_gone(work: Awaitable[None], receive: Receive, served: Served, relay: Relay) -> None:
    """Run the relay until it ends, the client leaves, or the drain of its generation cuts it off."""
    task = asyncio.ensure_future(work)
    left = asyncio.ensure_future(_disconnected(receive))
    cut = asyncio.ensure_future(served.cut.wait())
    try:
        await asyncio.wait({task, left, cut}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
            return
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if cut.done():
            await relay.broken()
            if not relay.started:
                raise not_ready()
    finally:
        for waiting in (task, left, cut):
            waiting.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def _about(served: Served) -> dict[str, str]:
    return {"x-lethe-generation": str(served.generation), "x-lethe-release": served.digest}


def _engine_refusal(status: int, raw: bytes, headers: Any) -> Refusal:
    """The engine's own refusal, if the client caused it; otherwise only that it failed."""
    if status in {400, 429}:
        try:
            error = json.loads(raw)["error"]
            more = {"retry-after": headers.get("retry-after", "1")} if status == 429 else {}
            return Refusal(status, str(error["message"]), str(error["code"]), more)
        except (ValueError, KeyError, TypeError):
            pass
    return Refusal(503, "The engine could not answer.", "serving.engine_failed", {"retry-after": "1"})
