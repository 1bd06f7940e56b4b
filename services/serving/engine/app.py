"""The engine's HTTP face: the routes of a vLLM server that the gateway uses, in the same words."""

import asyncio
import copy
import json
import logging
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from services.serving.engine.batch import Row
from services.serving.engine.text import TextStream
from services.serving.engine.worker import Worker
from services.serving.protocol import (
    ChatRequest,
    CompletionRequest,
    LoadRequest,
    RequestError,
    UnloadRequest,
    parse,
    sampling,
)

_LOG = logging.getLogger(__name__)
_DEFAULT_CONTEXT = 2048
_BASE = "base"


@dataclass(eq=False, slots=True)
class Adapter:
    """A loaded adapter and how many requests use it."""

    name: str
    path: str
    users: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Answer:
    """Events of one row on their way from the worker's thread to the event loop."""

    row: Row
    prompt_tokens: int
    events: "asyncio.Queue[tuple[str, str | None]]"


class Engine:
    """Handlers over one worker."""

    def __init__(self, loaded: Any, worker: Worker) -> None:
        self._worker = worker
        self._tokenizer = loaded.tokenizer  # the worker's thread decodes with it
        self._encoder = copy.deepcopy(loaded.tokenizer)  # fast tokenizers may not be shared by threads
        config = loaded.model.config
        self._context = int(getattr(config, "max_position_embeddings", None) or _DEFAULT_CONTEXT)
        self._adapters: dict[str, Adapter] = {}

    def app(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(middlewares=[_errors], client_max_size=8 << 20)
        app.add_routes(
            [
                web.get("/health", self.health),
                web.get("/v1/models", self.models),
                web.post("/v1/chat/completions", self.chat),
                web.post("/v1/completions", self.completions),
                web.post("/v1/load_lora_adapter", self.load),
                web.post("/v1/unload_lora_adapter", self.unload),
            ]
        )
        return app

    async def health(self, _: web.Request) -> web.Response:
        """200 while the worker lives."""
        return web.Response(status=200 if self._worker.error is None else 500)

    async def models(self, _: web.Request) -> web.Response:
        """The loaded adapters; the base, their parent, is not among them, since it cannot be asked."""
        data = [
            {"id": a.name, "object": "model", "created": 0, "owned_by": "lethe", "root": a.path, "parent": _BASE}
            for a in self._adapters.values()
        ]
        return web.json_response({"object": "list", "data": data})

    async def load(self, request: web.Request) -> web.Response:
        """Load an adapter beside the others, under a name that was never used."""
        form = parse(LoadRequest, await request.read())
        if form.lora_name in self._adapters:
            raise RequestError(400, f"The lora adapter '{form.lora_name}' has already been loaded.", "InvalidUserInput")
        if not (Path(form.lora_path) / "adapter_config.json").is_file():
            raise RequestError(404, f"Loading lora {form.lora_name} failed: No adapter found.", "NotFoundError")
        try:
            await asyncio.wrap_future(self._worker.load(form.lora_name, form.lora_path))
        except Exception as error:
            _LOG.exception("loading an adapter failed")
            raise RequestError(500, f"Loading lora failed: {type(error).__name__}", "InternalServerError") from error
        self._adapters[form.lora_name] = Adapter(form.lora_name, form.lora_path)
        return web.Response(text=f"Success: LoRA adapter '{form.lora_name}' added successfully.")

    async def unload(self, request: web.Request) -> web.Response:
        """Take an adapter's name away at once, and its weights when the last request on it is done."""
        form = parse(UnloadRequest, await request.read())
        adapter = self._adapters.pop(form.lora_name, None)
        if adapter is None:
            raise RequestError(404, f"The lora adapter '{form.lora_name}' cannot be found.", "NotFoundError")
        if adapter.users:
            await adapter.idle.wait()
        await asyncio.wrap_future(self._worker.unload(adapter.name))
        return web.Response(text=f"Success: LoRA adapter '{form.lora_name}' removed successfully.")

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """``/v1/chat/completions``."""
        form = parse(ChatRequest, await request.read())
        with self._use(form.model):
            return await self._answer(request, form, self._chat_prompt(form), ChatWriter(form.model))

    async def completions(self, request: web.Request) -> web.StreamResponse:
        """``/v1/completions``."""
        form = parse(CompletionRequest, await request.read())
        with self._use(form.model):
            prompt = form.prompt if isinstance(form.prompt, str) else form.prompt[0]
            ids = self._encoder(prompt)["input_ids"]
            return await self._answer(request, form, ids, TextWriter(form.model))

    def _use(self, name: str) -> "_Use":
        if name not in self._adapters:
            raise RequestError(404, f"The model '{name}' does not exist.", "NotFoundError", "model_not_found")
        return _Use(self._adapters[name])

    def _chat_prompt(self, form: ChatRequest) -> list[int]:
        messages = [{"role": message.role, "content": message.text} for message in form.messages]
        try:
            text = self._encoder.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # a template refuses by whatever Jinja raises
            raise RequestError(400, "The messages do not fit the model's chat template.") from error
        ids: list[int] = self._encoder(text, add_special_tokens=False)["input_ids"]
        return ids

    async def _answer(
        self, request: web.Request, form: ChatRequest | CompletionRequest, ids: list[int], writer: "Writer"
    ) -> web.StreamResponse:
        if not ids:
            raise RequestError(400, "The prompt is empty.")
        settings = sampling(form, self._context - len(ids))
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[tuple[str, str | None]] = asyncio.Queue()

        def emit(_: Row, text: str, reason: str | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(events.put_nowait, (text, reason))

        row = Row(ids, settings, TextStream(self._tokenizer, settings.stop), emit)
        self._worker.submit(form.model, row)
        answer = Answer(row, len(ids), events)
        try:
            if form.stream:
                usage = form.stream_options is not None and form.stream_options.include_usage
                return await _stream(request, answer, writer, usage=usage)
            return await _whole(answer, writer)
        finally:
            row.cancelled = True  # no effect on a finished row; a client that left frees its place


class _Use:
    """Counts a request on its adapter."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter

    def __enter__(self) -> None:
        self._adapter.users += 1
        self._adapter.idle.clear()

    def __exit__(self, *_: object) -> None:
        self._adapter.users -= 1
        if not self._adapter.users:
            self._adapter.idle.set()


class Writer(ABC):
    """Forms of one kind of answer."""

    prefix: str
    whole: str
    chunk: str

    def __init__(self, model: str) -> None:
        self._head = {"id": f"{self.prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}

    def body(self, text: str, reason: str, usage: dict[str, int]) -> dict[str, Any]:
        """A whole answer."""
        return {**self._head, "object": self.whole, "choices": [self._choice(text, reason)], "usage": usage}

    def piece(self, text: str, reason: str | None, *, first: bool) -> dict[str, Any]:
        """A piece of a stream."""
        return {**self._head, "object": self.chunk, "choices": [self._delta(text, reason, first=first)]}

    def usage(self, usage: dict[str, int]) -> dict[str, Any]:
        """The last piece, where usage was asked for."""
        return {**self._head, "object": self.chunk, "choices": [], "usage": usage}

    @abstractmethod
    def _choice(self, text: str, reason: str) -> dict[str, Any]:
        """The one choice of a whole answer."""

    @abstractmethod
    def _delta(self, text: str, reason: str | None, *, first: bool) -> dict[str, Any]:
        """The one choice of a piece."""


class ChatWriter(Writer):
    """Chat completions."""

    prefix, whole, chunk = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def _choice(self, text: str, reason: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": text}
        return {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}

    def _delta(self, text: str, reason: str | None, *, first: bool) -> dict[str, Any]:
        delta = {"role": "assistant", "content": text} if first else {"content": text}
        return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}


class TextWriter(Writer):
    """Plain completions."""

    prefix, whole, chunk = "cmpl", "text_completion", "text_completion"

    def _choice(self, text: str, reason: str) -> dict[str, Any]:
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}

    def _delta(self, text: str, reason: str | None, *, first: bool) -> dict[str, Any]:
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}


async def _pieces(answer: Answer) -> AsyncIterator[tuple[str, str | None]]:
    while True:
        text, reason = await answer.events.get()
        if reason == "error":
            raise RequestError(500, "The answer could not be generated.", "InternalServerError")
        yield text, reason
        if reason is not None:
            return


def _usage(answer: Answer) -> dict[str, int]:
    done = answer.row.generated
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": done,
        "total_tokens": answer.prompt_tokens + done,
    }


async def _whole(answer: Answer, writer: Writer) -> web.Response:
    parts, end = [], "stop"
    async for text, reason in _pieces(answer):
        parts.append(text)
        end = reason or end
    return web.json_response(writer.body("".join(parts), end, _usage(answer)))


async def _stream(request: web.Request, answer: Answer, writer: Writer, *, usage: bool) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-cache"})
    first = True
    try:
        async for text, reason in _pieces(answer):
            if first:
                await response.prepare(request)
            if text or reason or first:
                await response.write(_event(writer.piece(text, reason, first=first)))
            first = False
        if usage:
            await response.write(_event(writer.usage(_usage(answer))))
    except RequestError as error:
        if first:
            raise
        await response.write(_event(error.body()))
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


@web.middleware
async def _errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
        return response
    except RequestError as error:
        headers = {"retry-after": "1"} if error.status == 429 else None
        return web.json_response(error.body(), status=error.status, headers=headers)


@asynccontextmanager
async def serve(app: web.Application, socket: Path) -> AsyncIterator[None]:
    """Listen on a Unix socket that only this user can reach."""
    # Without handler_cancellation a client that leaves would keep its row in the batch to the end.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    socket.unlink(missing_ok=True)
    try:
        await web.UnixSite(runner, str(socket)).start()
        socket.chmod(0o600)
        yield
    finally:
        await runner.cleanup()
        socket.unlink(missing_ok=True)
