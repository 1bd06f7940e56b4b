"""The gateway: checks a request, pins its generation, passes it to the engine, and relays the answer."""

import asyncio
import logging
import traceback
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.types import Receive, Scope, Send

from services import telemetry
from services.auth import IDENTITY, Identity
from services.serving.alias import Served
from services.serving.gateway.answers import (
    Answer,
    Refusal,
    not_ready,
    send_bytes,
    send_json,
    timed_out,
    unknown_model,
)
from services.serving.gateway.arrival import read_body, request_id
from services.serving.gateway.door import PROBE
from services.serving.gateway.event_forms import EventForms
from services.serving.gateway.limits import Limits, Rates, Turns, race
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
MODELS = "/v1/models"
_CLIENT_LEFT = 499
_LAST_WORD_S = 1.0
_LOG = logging.getLogger(__name__)


class Gateway:
    """An ASGI app. It stands behind the door: without an identity in the scope it answers nobody."""

    def __init__(self) -> None:
        self._replica: Serving | None = None
        self._shield: Shield | None = None
        self._names: tuple[str, ...] = ()
        self.trials = Trials()
        self._forms: defaultdict[str, EventForms] = defaultdict(EventForms)
        self._take_on(Limits())

    def attach(
        self,
        replica: Serving,
        *,
        names: tuple[str, ...],
        limits: Limits | None = None,
        shield: Shield | None = None,
    ) -> None:
        """Connect it with a replica once there is one."""
        self._replica, self._names, self._shield = replica, names, shield
        self._take_on(limits or Limits())

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return self._turns.waiting

    def _take_on(self, limits: Limits) -> None:
        self._limits, self._turns, self._rates = limits, Turns(limits), Rates(limits.rate_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        answer = Answer(send, {"x-request-id": request_id(scope)})
        refusal: Refusal | None = None
        try:
            await self._route(scope, receive, answer)
        except Refusal as refused:
            refusal = refused
        except Exception as error:  # its text may hold what was asked
            _LOG.error("a request failed: %s at %s", type(error).__name__, _place(error))
            refusal = Refusal(500, "The request failed.", "internal")
        if answer.begun:
            return
        if refusal is not None:
            await send_json(answer, refusal.status, refusal.body(), refusal.headers)
        else:  # the client left; the layers outside wait for an answer all the same
            await send_bytes(answer, _CLIENT_LEFT, b"")

    async def _route(self, scope: Scope, receive: Receive, answer: Answer) -> None:
        identity, path = scope.get(IDENTITY), scope["path"]
        if not isinstance(identity, Identity):
            raise Refusal(403, "The request did not come through the door.", "auth.forbidden")
        if path == MODELS or path.startswith(MODELS + "/"):
            await self._models(scope, answer)
        elif path in FORMS:
            with telemetry.generation(path, scope["headers"], answer) as told:
                await self._generate(identity, scope, receive, answer, told)
        else:
            raise Refusal(404, "There is no such path.", "request.not_found")

    async def _models(self, scope: Scope, answer: Answer) -> None:
        served = self._ready_replica().alias.current
        if served is None:
            raise not_ready()
        entries = {name: {"id": name, "object": "model", "created": 0, "owned_by": "lethe"} for name in self._names}
        if scope["path"] == MODELS:
            await send_json(answer, 200, {"object": "list", "data": list(entries.values())}, about(served))
            return
        raw = (scope.get("raw_path") or scope["path"].encode()).removeprefix(f"{MODELS}/".encode())
        for name, entry in entries.items():
            if raw in {name.encode(), quote(name, safe="").encode()}:
                await send_json(answer, 200, entry, about(served))
                return
        raise unknown_model()

    async def _generate(
        self, identity: Identity, scope: Scope, receive: Receive, answer: Answer, told: telemetry.Generation
    ) -> None:
        deadline = asyncio.get_running_loop().time() + self._limits.request_timeout_s
        probe = PROBE in identity.scopes
        if self._replica is not None and (current := self._replica.alias.current) is not None:
            told.pinned(current.generation, current.digest)  # also where the request is refused
        if not probe:
            answer.add(self._rates.take(identity.key_id))
        body = await read_body(scope, receive, self._limits)
        if body is None:
            return
        request, public = self._read(FORMS[scope["path"]], body)
        told.asked(public, stream=request.stream, max_tokens=request.limit)
        left = asyncio.ensure_future(_disconnected(receive))
        try:
            async with self._turns.one(left, deadline, at_once=probe) as came:
                if came:
                    await self._answer(identity, scope["path"], request, public, told, End(left, deadline))
                elif not left.done():
                    raise timed_out()
        finally:
            left.cancel()

    async def _answer(
        self,
        identity: Identity,
        path: str,
        request: ChatRequest | CompletionRequest,
        public: str,
        told: telemetry.Generation,
        end: "End",
    ) -> None:
        replica, probe = self._ready_replica(), PROBE in identity.scopes
        with replica.alias.enter("" if probe else identity.key_id) as served:  # a probe asks what is committed
            if served is None:
                raise not_ready()
            told.pinned(served.generation, served.digest)
            exchange = Exchange(
                replica=replica,
                path=path,
                request=request,
                public=public,
                served=served,
                send=told.send,
                headers=told.headers(),
            )
            # A probe asks what the model itself says; nothing of its answer reaches a client.
            shield = None if probe else self._shield
            if shield is not None:
                check_shield(shield, request)
            with self.trials.watch(exchange, None if probe else replica.alias.trial, shield) as watched:
                relay: Answering = Relay(watched) if shield is None else ScreenedRelay(watched, shield, self._forms)
                await end.run(relay, served)

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


@dataclass(frozen=True, slots=True)
class End:
    """What ends an answer before its time.

    Attributes:
        left: Done when the client has left.
        deadline: In the time of the event loop.
    """

    left: "asyncio.Future[None]"
    deadline: float

    async def run(self, relay: Answering, served: Served) -> None:
        """Run a relay until it ends, the client leaves, the drain of its generation cuts it off, or time is up.

        Raises:
            Refusal: It was ended before anything was sent.
        """
        cut = asyncio.ensure_future(served.cut.wait())
        try:
            if await race(relay.run(), {self.left, cut}, self.deadline) or self.left.done():
                return
            if not relay.started:
                raise not_ready() if cut.done() else timed_out()
            with suppress(TimeoutError):  # a client that reads no more must not hold up the drain
                async with asyncio.timeout(_LAST_WORD_S):
                    await relay.broken(interrupted() if cut.done() else timed_out())
        finally:
            cut.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].name}:{frames[-1].lineno}" if frames else "?"
