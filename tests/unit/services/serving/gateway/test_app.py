"""The gateway before a fake engine that does what a test needs: late, silent, broken, or not read by its client."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from starlette.types import Message

from services.auth import IDENTITY, Identity
from services.serving.alias import Alias, Served
from services.serving.gateway.app import Gateway
from services.serving.gateway.limits import Limits

CHAT = "/v1/chat/completions"
QUESTION = {"model": "lethe", "messages": [{"role": "user", "content": "hello"}]}
NAME = "u-0123456789abcdef"
CHUNK = b'data: {"model":"' + NAME.encode() + b'","choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
Act = Callable[["FakeResponse"], AsyncIterator[bytes]]


@dataclass
class FakeResponse:
    """What the fake engine answers."""

    act: Act
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    closed: bool = False

    @property
    def content(self) -> "FakeResponse":
        return self

    def iter_any(self) -> AsyncIterator[bytes]:
        return self.act(self)

    async def read(self) -> bytes:
        return self.body or b"".join([part async for part in self.act(self)])

    async def json(self) -> Any:
        return json.loads(await self.read())


@dataclass
class FakeReplica:
    """A replica whose engine is the client too."""

    response: FakeResponse
    ready: bool = True
    asked: list[dict[str, Any]] = field(default_factory=list)
    alias: Alias = field(default_factory=Alias)

    @property
    def client(self) -> Any:
        return self

    @asynccontextmanager
    async def open(self, path: str, body: dict[str, Any], headers: Any = None) -> AsyncIterator[FakeResponse]:
        self.asked.append(body)
        try:
            yield self.response
        finally:
            self.response.closed = True


class FakeClient:
    """The server's side of one connection; ``stuck`` after so many messages it takes no more."""

    def __init__(self, body: Any, *, stuck: int = 1 << 30, **headers: str) -> None:
        self.left = asyncio.Event()
        self.sent: list[Message] = []
        self._body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._asked, self._stuck = False, stuck
        named = {"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": CHAT,
            "headers": [(k.encode(), v.encode()) for k, v in named.items()],
            IDENTITY: Identity("k1", frozenset({"infer"})),
        }

    async def receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if len(self.sent) >= self._stuck:
            await asyncio.Event().wait()
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    @property
    def error(self) -> Any:
        return json.loads(self.body.rpartition(b"data: ")[2])["error"]


def gateway(act: Act, status: int = 200, body: bytes = b"", **limits: Any) -> tuple[Gateway, FakeReplica]:
    replica = FakeReplica(FakeResponse(act, status, body))
    replica.alias.flip(Served(7, NAME, "d" * 64))
    made = Gateway()
    made.attach(replica, names=("lethe", "acme/lethe"), limits=Limits(**limits))
    return made, replica


async def call(made: Gateway, client: FakeClient) -> FakeClient:
    await asyncio.wait_for(made(client.scope, client.receive, client.send), 20)
    return client


async def says_nothing(_: FakeResponse) -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


async def says_one_word(_: FakeResponse) -> AsyncIterator[bytes]:
    yield CHUNK
    await asyncio.Event().wait()


async def never_ends(_: FakeResponse) -> AsyncIterator[bytes]:
    while True:
        yield CHUNK
        await asyncio.sleep(0)


async def breaks(_: FakeResponse) -> AsyncIterator[bytes]:
    yield CHUNK[:10]
    yield CHUNK[10:] + b'data: {"error": {"message": "EngineCore at /srv/vllm", "code": 500}}\n\n'
    yield DONE


async def in_pieces(_: FakeResponse) -> AsyncIterator[bytes]:
    for byte in CHUNK + CHUNK + DONE:
        yield bytes([byte])


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


def test_a_stream_keeps_its_bytes_but_for_the_models_name() -> None:
    async def scenario() -> None:
        made, replica = gateway(in_pieces)
        client = await call(made, FakeClient({**QUESTION, "stream": True, "user": "me"}))
        assert client.body == (CHUNK + CHUNK + DONE).replace(NAME.encode(), b"lethe")
        assert client.headers["x-lethe-generation"] == "7"
        assert client.headers["x-lethe-release"] == "d" * 64
        assert replica.asked == [{**QUESTION, "model": NAME, "stream": True}]
        assert replica.response.closed

    run(scenario)


def test_an_answer_that_takes_too_long_is_504_and_the_engine_is_left() -> None:
    async def scenario() -> None:
        made, replica = gateway(says_nothing, request_timeout_s=0.05)
        client = await call(made, FakeClient(QUESTION))
        assert client.status == 504
        assert client.error["code"] == "serving.timeout"
        assert replica.response.closed
        made, replica = gateway(says_one_word, request_timeout_s=0.05)
        client = await call(made, FakeClient({**QUESTION, "stream": True}))
        assert client.status == 200
        assert client.error["code"] == "serving.timeout"
        assert not client.body.endswith(DONE)
        assert replica.response.closed

    run(scenario)


def test_a_failure_of_the_engine_in_a_stream_is_told_without_its_words() -> None:
    async def scenario() -> None:
        made, _ = gateway(breaks)
        client = await call(made, FakeClient({**QUESTION, "stream": True}))
        assert client.body.startswith(CHUNK.replace(NAME.encode(), b"lethe"))
        assert client.error["code"] == "serving.interrupted"
        assert b"EngineCore" not in client.body
        assert DONE not in client.body

    run(scenario)


def test_a_client_that_leaves_frees_the_engine_and_the_layers_outside() -> None:
    async def scenario() -> None:
        for act, more in ((says_nothing, {}), (says_one_word, {"stream": True})):
            made, replica = gateway(act)
            client = FakeClient({**QUESTION, **more})
            task = asyncio.create_task(call(made, client))
            while not replica.asked:
                await asyncio.sleep(0)
            client.left.set()
            await task
            assert replica.response.closed
            assert client.status in {200, 499}
            assert replica.alias.current is not None
            assert replica.alias.current.users == 0

    run(scenario)


def test_a_client_that_reads_no_more_does_not_hold_up_a_swap() -> None:
    async def scenario() -> None:
        made, replica = gateway(never_ends)
        client = FakeClient({**QUESTION, "stream": True}, stuck=3)
        task = asyncio.create_task(call(made, client))
        while len(client.sent) < 3:
            await asyncio.sleep(0)
        old = replica.alias.flip(Served(8, "u-" + "1" * 16, "e" * 64))
        assert old is not None
        assert not await asyncio.wait_for(replica.alias.drain(old, 0.05), 10)
        await task
        assert old.users == 0

    run(scenario)


def test_more_than_the_gateway_takes_on_is_429_and_a_probe_always_passes() -> None:
    async def scenario() -> None:
        made, replica = gateway(says_nothing, max_concurrency=1, max_waiting=0)
        first = FakeClient(QUESTION)
        task = asyncio.create_task(call(made, first))
        while not replica.asked:
            await asyncio.sleep(0)
        second = await call(made, FakeClient(QUESTION))
        assert (second.status, second.error["code"]) == (429, "serving.busy")
        assert second.headers["retry-after"] == "1"
        probe = FakeClient(QUESTION)
        probe.scope[IDENTITY] = Identity("probe", frozenset({"infer", "probe"}))
        other = asyncio.create_task(call(made, probe))
        while len(replica.asked) < 2:
            await asyncio.sleep(0)
        first.left.set()
        probe.left.set()
        await asyncio.gather(task, other)
        replica.response.act = in_pieces
        assert (await call(made, FakeClient({**QUESTION, "stream": True}))).status == 200

    run(scenario)


def test_a_key_that_asks_too_often_is_429_before_its_body_is_read() -> None:
    async def scenario() -> None:
        made, _ = gateway(in_pieces, rate_per_minute=1)
        first = await call(made, FakeClient({**QUESTION, "stream": True}))
        assert first.headers["x-ratelimit-remaining-requests"] == "0"
        second = await call(made, FakeClient(b"no JSON"))
        assert (second.status, second.error["code"]) == (429, "serving.rate_limited")
        assert int(second.headers["retry-after"]) > 50

    run(scenario)


@pytest.mark.parametrize(
    ("status", "raw", "expected", "code"),
    [
        (400, b'{"error": {"message": "Only 3 left for u-0123456789abcdef", "code": 400}}', 400, None),
        (400, b'{"error": {"message": "maximum context length is 9", "code": 400}}', 400, "context_length_exceeded"),
        (400, b'{"error": {"message": "9 > max_model_len=8", "code": 400}}', 400, "context_length_exceeded"),
        (400, b'{"error": {"message": "m", "code": "x", "param": "n"}}', 400, "x"),
        (400, b"no JSON", 503, "serving.engine_failed"),
        (429, b'{"error": {"message": "full", "code": 429}}', 429, "serving.busy"),
        (
            404,
            b'{"error": {"message": "no u-0123456789abcdef", "code": 404}}',
            503,
            "serving.engine_failed",
        ),
        (500, b'{"error": {"message": "trace", "code": 500}}', 503, "serving.engine_failed"),
        (200, b"no JSON", 500, "internal"),
    ],
)
def test_refusals_of_the_engine(status: int, raw: bytes, expected: int, code: str | None) -> None:
    async def scenario() -> None:
        made, _ = gateway(says_nothing, status, raw)
        client = await call(made, FakeClient(QUESTION))
        assert client.status == expected
        assert client.error["code"] == code
        assert NAME not in client.error["message"]
        assert client.headers.get("retry-after") == ("1" if expected in {429, 503} else None)

    run(scenario)


def test_an_engine_that_is_gone_is_not_ready() -> None:
    async def gone(_: FakeResponse) -> AsyncIterator[bytes]:
        for _ignored in range(1):
            raise aiohttp.ClientConnectionError
        yield b""

    async def scenario() -> None:
        made, replica = gateway(gone)
        client = await call(made, FakeClient(QUESTION))
        assert (client.status, client.error["code"]) == (503, "serving.not_ready")
        replica.ready = False
        client = await call(made, FakeClient(QUESTION))
        assert (client.status, client.error["code"]) == (503, "serving.not_ready")

    run(scenario)


def test_every_answer_has_an_id_and_no_header_of_the_engine() -> None:
    async def scenario() -> None:
        made, replica = gateway(in_pieces)
        replica.response.headers = {"server": "uvicorn", "x-request-id": "engine's"}
        client = await call(made, FakeClient({**QUESTION, "stream": True}, x_request_id="mine"))
        assert client.headers["x-request-id"] == "mine"
        assert "server" not in client.headers
        refused = await call(made, FakeClient(b"{"))
        assert refused.status == 400
        assert refused.headers["x-request-id"].startswith("req-")

    run(scenario)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        ("/v1/models", 200),
        ("/v1/models/lethe", 200),
        ("/v1/models/acme%2Flethe", 200),
        ("/v1/models/acme/lethe", 200),
        (f"/v1/models/{NAME}", 404),
        ("/v1/models/", 404),
        ("/v1/models/LETHE", 404),
        ("/v1/models/%6Cethe", 404),
        ("/v1/models/lethe/", 404),
        ("/v1/models/../models", 404),
    ],
)
def test_models_are_the_public_names_and_nothing_else(raw: str, status: int) -> None:
    async def scenario() -> None:
        made, _ = gateway(says_nothing)
        client = FakeClient(b"")
        client.scope |= {"method": "GET", "path": raw, "raw_path": raw.encode()}
        await call(made, client)
        assert client.status == status
        assert NAME.encode() not in client.body

    run(scenario)


def test_who_did_not_come_through_the_door_is_not_answered() -> None:
    async def scenario() -> None:
        made, replica = gateway(says_nothing)
        client = FakeClient(QUESTION)
        del client.scope[IDENTITY]
        await call(made, client)
        assert client.status == 403
        assert replica.asked == []

    run(scenario)
