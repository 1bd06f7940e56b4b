"""The gateway: checks a request, pins its generation, passes it to the engine, and relays the answer."""

import asyncio
from typing import Any

from starlette.types import Receive, Scope, Send

from services import telemetry
from services.auth import IDENTITY, Identity
from services.serving.alias import Served
from services.serving.gateway.answers import Refusal, not_ready, send_json, unknown_model
from services.serving.gateway.relay import Answering, Exchange, Relay, Serving, about, interrupted
from services.serving.gateway.screened import ScreenedRelay
from services.serving.gateway.shadow import Trials
from services.serving.gateway.shielding import check_shield
from services.serving.protocol import ChatRequest, CompletionRequest, RequestError, parse, read_object
from services.serving.suppression.shield import Shield

FORMS: dict[str, type[ChatRequest] | type[CompletionRequest]] = {
    "/v1/chat/completions": ChatRequest,
    "/v1/completions": CompletionRequest,
}


PROBE = "probe"  # the scope of an identity that a release's own probes have


class Gateway:
    """An ASGI app. It stands behind the door: without an identity in the scope it answers nobody."""

    def __init__(self) -> None:
        self._replica: Serving | None = None
        self._names: tuple[str, ...] = ()
        self._limit = 1 << 20
        self._shield: Shield | None = None
        self.trials = Trials()

    def attach(
        self, replica: Serving, *, names: tuple[str, ...], max_body_bytes: int, shield: Shield | None = None
    ) -> None:
        """Connect it with a replica once there is one."""
        self._replica, self._names, self._limit, self._shield = replica, names, max_body_bytes, shield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            identity = scope.get(IDENTITY)
            if not isinstance(identity, Identity):
                raise Refusal(403, "The request did not come through the door.", "auth.forbidden")
            if scope["path"] == "/v1/models":
                await self._models(send)
            elif scope["path"] in FORMS:
                with telemetry.generation(scope["path"], scope["headers"], send) as told:
                    await self._generate(identity, scope, receive, told)
            else:
                raise Refusal(404, "There is no such path.", "request.not_found")
        except Refusal as refusal:
            await send_json(send, refusal.status, refusal.body(), refusal.headers)

    async def _models(self, send: Send) -> None:
        served = self._ready_replica().alias.current
        if served is None:
            raise not_ready()
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "lethe"} for name in self._names]
        await send_json(send, 200, {"object": "list", "data": data}, about(served))

    async def _generate(self, identity: Identity, scope: Scope, receive: Receive, told: telemetry.Generation) -> None:
        if self._replica is not None and (current := self._replica.alias.current) is not None:
            told.pinned(current.generation, current.digest)  # also where the request is refused
        request, public = self._read(FORMS[scope["path"]], await self._body(scope, receive))
        told.asked(public, stream=request.stream, max_tokens=request.limit)
        replica = self._ready_replica()
        # A probe asks what the model itself says; nothing of its answer reaches a client.
        shield = None if PROBE in identity.scopes else self._shield
        if shield is not None:
            check_shield(shield, request)
        with replica.alias.enter("" if PROBE in identity.scopes else identity.key_id) as served:
            if served is None:
                raise not_ready()
            told.pinned(served.generation, served.digest)
            exchange = Exchange(
                replica=replica,
                path=scope["path"],
                request=request,
                public=public,
                served=served,
                send=told.send,
                headers=told.headers(),
            )
            with self.trials.watch(exchange, replica.alias.trial, shield) as watched:
                relay: Answering = Relay(watched)
                if shield is not None and shield.active:
                    relay = ScreenedRelay(watched, shield)
                await _until_gone(relay, receive, served)

    def _ready_replica(self) -> Serving:
        if self._replica is None or not self._replica.ready:
            raise not_ready()
        return self._replica

    def _read(self, form: Any, raw: bytes) -> tuple[ChatRequest | CompletionRequest, str]:
        try:
            body = read_object(raw)
            name = body.get("model")
            if not isinstance(name, str) or name not in self._names:
                raise unknown_model()
            return parse(form, body), name
        except RequestError as error:
            raise Refusal(error.status, error.message, error.code, param=error.param) from error

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


async def _until_gone(relay: Answering, receive: Receive, served: Served) -> None:
    """Run the relay until it ends, the client leaves, or the drain of its generation cuts it off."""
    task = asyncio.ensure_future(relay.run())
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
            await relay.broken(interrupted())
            if not relay.started:
                raise not_ready()
    finally:
        for waiting in (task, left, cut):
            waiting.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
