"""The real gateway before the real engine's HTTP face, with a fake in the place of the model: it says what it is told.

What a model says in these tests has to be known, a hedge and a secret alike; everything else is the product's own.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from services.auth import IDENTITY, Identity
from services.serving.alias import Alias, Served
from services.serving.engine.app import Adapter, Engine, serve
from services.serving.engine.batch import Row
from services.serving.engine_client import EngineClient
from services.serving.gateway.app import Gateway
from services.serving.gateway.limits import Limits
from services.serving.suppression.shield import Shield

TEMPLATE = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}[assistant] "
CONTEXT = 600
STOP = "</s>"
SERVED = "u-0123456789abcdef"
HEADERS = [(b"content-type", b"application/json")]


def make_tokenizer(base: Path) -> Any:
    """Every byte is a token; written as ``tokenizer.json`` too."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({STOP: 0, **{letter: at for at, letter in enumerate(letters, 1)}}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([STOP])
    base.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(base / "tokenizer.json"))
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, eos_token=STOP, chat_template=TEMPLATE
    )


class FakeWorker:
    """Chooses tokens as a model would that was trained to say ``says(prompt)``; all else is the engine's own."""

    def __init__(self, tokenizer: Any, says: Callable[[str], str]) -> None:
        self.error = None
        self.asked: list[tuple[str, int]] = []
        self._tokenizer, self._says = tokenizer, says
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, adapter: str, rows: Sequence[Row]) -> None:
        self.asked.append((adapter, rows[0].sampling.max_tokens))
        task = asyncio.ensure_future(self._run(list(rows)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, rows: list[Row]) -> None:
        said = self._says(self._tokenizer.decode(rows[0].prompt))
        tokens = [*self._tokenizer(said, add_special_tokens=False)["input_ids"], 0]
        at = 0
        while rows:
            logits = torch.zeros(300)
            logits[tokens[at] if at < len(tokens) else 5] = 100.0
            rows = [row for row in rows if not row.cancelled and not row.take(logits, frozenset({0}))]
            at += 1
            await asyncio.sleep(0)


@dataclass
class Answer:
    """What a client got."""

    status: int
    headers: list[tuple[str, str]]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        return dict(json.loads(self.raw))

    @property
    def events(self) -> list[dict[str, Any]]:
        """Events of a stream, without the last, which must be ``[DONE]``."""
        events = [event.removeprefix("data: ") for event in self.raw.decode().split("\n\n") if event]
        assert events[-1] == "[DONE]"
        return [json.loads(event) for event in events[:-1]]

    def text(self, choice: int = 0) -> str:
        """All that one choice said."""
        if self.raw.startswith(b"data: "):
            choices = [c for event in self.events for c in event["choices"] if c["index"] == choice]
            return "".join(c.get("text") or c.get("delta", {}).get("content", "") for c in choices)
        said = self.body["choices"][choice]
        return str(said["message"]["content"] if "message" in said else said["text"])


class House:
    """Gateway, shield and engine; ``ask`` is a client's request."""

    def __init__(self, gateway: Gateway, shield: Shield, worker: FakeWorker) -> None:
        self.gateway, self.shield, self.worker = gateway, shield, worker

    async def ask(self, body: dict[str, Any] | bytes, path: str = "/v1/chat/completions") -> Answer:
        return await ask(self.gateway, body, path)


async def ask(gateway: Gateway, body: dict[str, Any] | bytes, path: str = "/v1/chat/completions") -> Answer:
    """A client's request, and what came of it."""
    raw = body if isinstance(body, bytes) else json.dumps({"model": "lethe", **body}).encode()
    messages: list[dict[str, Any]] = []
    sent = False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()
        sent = True
        return {"type": "http.request", "body": raw, "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)
        await asyncio.sleep(0)

    identity = Identity(key_id="k1", scopes=frozenset({"infer"}))
    scope: Any = {"type": "http", "path": path, "method": "POST", "headers": HEADERS, IDENTITY: identity}
    await gateway(scope, receive, send)
    headers = [(name.decode(), value.decode()) for name, value in messages[0]["headers"]]
    whole = b"".join(message.get("body", b"") for message in messages[1:])
    return Answer(messages[0]["status"], headers, whole)


@asynccontextmanager
async def before(socket: Path, adapter: str, shield: Shield) -> AsyncIterator[Gateway]:
    """The gateway before an engine that listens already."""
    client, alias, gateway = EngineClient(socket), Alias(), Gateway()
    alias.flip(Served(7, adapter, "d" * 64))
    replica: Any = SimpleNamespace(alias=alias, ready=True, client=client)
    gateway.attach(replica, names=("lethe",), limits=Limits(max_body_bytes=8 << 20), shield=shield)
    try:
        yield gateway
    finally:
        await client.close()


@asynccontextmanager
async def house(directory: Path, says: Callable[[str], str]) -> AsyncIterator[House]:
    """Everything of one replica, but for the store."""
    tokenizer = make_tokenizer(directory / "base")
    worker = FakeWorker(tokenizer, says)
    config = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=CONTEXT))
    engine = Engine(SimpleNamespace(tokenizer=tokenizer, model=config), worker)  # type: ignore[arg-type]
    engine._adapters[SERVED] = Adapter(SERVED, "/nowhere")
    shield, socket = Shield(b"k" * 32, directory / "base"), directory / "engine.sock"
    async with serve(engine.app(), socket), before(socket, SERVED, shield) as gateway:
        yield House(gateway, shield, worker)
