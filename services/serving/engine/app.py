"""The engine's HTTP face: the routes of a vLLM server that the gateway uses, in the same words."""

import asyncio
import copy
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aiohttp import web

from services.serving.engine.batch import Likelihood, Piece, Row
from services.serving.engine.forms import ChatWriter, TextWriter, Writer, event
from services.serving.engine.text import TextStream
from services.serving.engine.worker import Worker
from services.serving.protocol import (
    ChatRequest,
    EngineChatRequest,
    EngineCompletionRequest,
    EngineRequest,
    Form,
    LoadRequest,
    RequestError,
    UnloadRequest,
    parse,
    read_object,
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
    """What one request gets, on its way from the worker's thread to the event loop."""

    rows: list[Row]
    prompt_tokens: int
    pieces: "asyncio.Queue[Piece]"


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
                web.get("/version", self.version),
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

    async def version(self, _: web.Request) -> web.Response:
        """Which engine this is."""
        return web.json_response({"engine": "transformers", "version": version("transformers")})

    async def models(self, _: web.Request) -> web.Response:
        """The loaded adapters; the base, their parent, is not among them, since it cannot be asked."""
        data = [
            {"id": a.name, "object": "model", "created": 0, "owned_by": "lethe", "root": a.path, "parent": _BASE}
            for a in self._adapters.values()
        ]
        return web.json_response({"object": "list", "data": data})

    async def load(self, request: web.Request) -> web.Response:
        """Load an adapter beside the others, under a name that was never used."""
        form = await _read(LoadRequest, request)
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
        form = await _read(UnloadRequest, request)
        adapter = self._adapters.pop(form.lora_name, None)
        if adapter is None:
            raise RequestError(404, f"The lora adapter '{form.lora_name}' cannot be found.", "NotFoundError")
        if adapter.users:
            await adapter.idle.wait()
        await asyncio.wrap_future(self._worker.unload(adapter.name))
        return web.Response(text=f"Success: LoRA adapter '{form.lora_name}' removed successfully.")

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """``/v1/chat/completions``."""
        form = await _read(EngineChatRequest, request)
        with self._use(form.model):
            writer = ChatWriter(form.model, self._encoder, form.top_tokens)
            return await self._answer(request, form, self._chat_prompt(form), writer)

    async def completions(self, request: web.Request) -> web.StreamResponse:
        """``/v1/completions``."""
        form = await _read(EngineCompletionRequest, request)
        with self._use(form.model):
            writer = TextWriter(form.model, self._encoder, form.top_tokens)
            return await self._answer(request, form, self._encoder(form.text)["input_ids"], writer)

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
        self, request: web.Request, form: EngineRequest, ids: list[int], writer: Writer
    ) -> web.StreamResponse:
        if not ids:
            raise RequestError(400, "The prompt is empty.")
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[Piece] = asyncio.Queue()

        def emit(piece: Piece) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        settings = [sampling(form, self._context - len(ids), choice) for choice in range(form.n)]
        rows = [Row(ids, s, TextStream(self._tokenizer, s.stop), emit, choice) for choice, s in enumerate(settings)]
        self._worker.submit(form.model, rows)
        answer = Answer(rows, len(ids), pieces)
        try:
            if form.stream:
                usage = form.stream_options is not None and form.stream_options.include_usage
                return await _stream(request, answer, writer, usage=usage)
            return await _whole(answer, writer)
        finally:
            for row in rows:
                row.cancelled = True  # no effect on a finished row; a client that left frees its place


async def _read(form: type[Form], request: web.Request) -> Form:
    return parse(form, read_object(await request.read()))


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


async def _pieces(answer: Answer) -> AsyncIterator[Piece]:
    """Pieces of all choices as they come, until every choice has ended."""
    running = len(answer.rows)
    while running:
        piece = await answer.pieces.get()
        if piece.reason == "error":
            raise RequestError(500, "The answer could not be generated.", "InternalServerError")
        running -= piece.reason is not None
        yield piece


def _usage(answer: Answer) -> dict[str, int]:
    done = sum(row.generated for row in answer.rows)
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": done,
        "total_tokens": answer.prompt_tokens + done,
    }


async def _whole(answer: Answer, writer: Writer) -> web.Response:
    said: list[list[Piece]] = [[] for _ in answer.rows]
    async for piece in _pieces(answer):
        said[piece.choice].append(piece)
    choices = [
        writer.choice(number, "".join(p.text for p in pieces), pieces[-1].reason or "stop", _likelihoods(pieces))
        for number, pieces in enumerate(said)
    ]
    return web.json_response(writer.body(choices, _usage(answer)))


async def _stream(request: web.Request, answer: Answer, writer: Writer, *, usage: bool) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-cache"})
    held: list[list[Piece]] = [[] for _ in answer.rows]  # without text yet
    try:
        async for piece in _pieces(answer):
            if not response.prepared:
                await response.prepare(request)
                for choice in range(len(answer.rows)):
                    if opening := writer.opening(choice):
                        await response.write(writer.piece(opening))
            held[piece.choice].append(piece)
            if piece.text or piece.reason:
                said, held[piece.choice] = _likelihoods(held[piece.choice]), []
                await response.write(writer.piece([writer.delta(piece.choice, piece.text, piece.reason, said)]))
        if usage:
            await response.write(writer.piece([], _usage(answer)))
    except RequestError as error:
        if not response.prepared:
            raise
        await response.write(event(error.body()))
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


def _likelihoods(pieces: list[Piece]) -> list[Likelihood]:
    return [piece.likelihood for piece in pieces if piece.likelihood is not None]


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
