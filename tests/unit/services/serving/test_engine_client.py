"""The client of an engine and what starts one, against a fake engine on a real Unix socket."""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from pipelines.adapter import Canary
from policies.errors import LetheError
from services.serving.engine_client import About, EngineClient
from services.serving.engine_process import EngineProcess
from services.serving.launch import Boot, Launch
from services.serving.sidecar import Sidecar

CANARY = Canary.of("Hello.", tokens=3, text="one two three", first={"one": -0.1, "uno": -2.5})


@dataclass
class FakeEngine:
    """vLLM's forms, without a model."""

    text: str = " one two three"
    top: list[tuple[str, float]] = field(default_factory=lambda: [("one", -0.2), ("uno", -2.4), ("eins", -5.0)])
    adapters: dict[str, str] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    deaf: bool = False  # says yes to load and unload and does nothing

    async def models(self, _: web.Request) -> web.Response:
        base = {"id": "base-0", "root": "/base", "parent": None}
        loaded = [{"id": name, "root": path, "parent": "base-0"} for name, path in self.adapters.items()]
        return web.json_response({"data": [base, *loaded]})

    async def load(self, request: web.Request) -> web.Response:
        body = await request.json()
        if not self.deaf:
            self.adapters[body["lora_name"]] = body["lora_path"]
        return web.Response(text="Success")

    async def unload(self, request: web.Request) -> web.Response:
        name = (await request.json())["lora_name"]
        if not self.deaf and self.adapters.pop(name, None) is None:
            return web.Response(status=404)
        return web.Response(text="Success")

    async def chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append(body)
        if body["model"] not in self.adapters:
            return web.json_response({"error": {}}, status=404)
        choice: dict[str, Any] = {"message": {"content": self.text}}
        if body.get("logprobs"):
            top = [{"token": token, "logprob": value} for token, value in self.top]
            choice["logprobs"] = {"content": [{"top_logprobs": top}]}
        return web.json_response({"choices": [choice]})

    async def version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "0.32.0"})

    @asynccontextmanager
    async def on(self, socket: Path) -> AsyncIterator[None]:
        app = web.Application()
        app.add_routes(
            [
                web.get("/health", self.version),
                web.get("/version", self.version),
                web.get("/v1/models", self.models),
                web.post("/v1/load_lora_adapter", self.load),
                web.post("/v1/unload_lora_adapter", self.unload),
                web.post("/v1/chat/completions", self.chat),
            ]
        )
        runner = web.AppRunner(app)
        await runner.setup()
        await web.UnixSite(runner, str(socket)).start()
        try:
            yield
        finally:
            await runner.cleanup()
            socket.unlink(missing_ok=True)


def with_client(tmp_path: Path, engine: FakeEngine, work: Callable[[EngineClient], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with engine.on(tmp_path / "e.sock"):
            client = EngineClient(tmp_path / "e.sock")
            try:
                await work(client)
            finally:
                await client.close()

    asyncio.run(run())


def refusal(tmp_path: Path, engine: FakeEngine, work: Callable[[EngineClient], Coroutine[Any, Any, None]]) -> str:
    with pytest.raises(LetheError) as caught:
        with_client(tmp_path, engine, work)
    return caught.value.code


def test_the_base_is_no_adapter_and_loads_are_confirmed(tmp_path: Path) -> None:
    async def work(client: EngineClient) -> None:
        assert await client.about() == About("vllm", "0.32.0")
        assert await client.adapters() == {}
        await client.load("u-1", Path("/r/u-1"))
        assert await client.adapters() == {"u-1": "/r/u-1"}
        await client.unload("u-1")
        await client.unload("u-1")  # it is gone, and that is what was asked
        assert await client.adapters() == {}

    with_client(tmp_path, FakeEngine(), work)


def test_an_engine_that_only_says_yes(tmp_path: Path) -> None:
    deaf = FakeEngine(deaf=True, adapters={"u-1": "/r/u-1"})
    assert refusal(tmp_path, deaf, lambda c: c.load("u-2", Path("/r/u-2"))) == "serving.load_failed"
    assert refusal(tmp_path, deaf, lambda c: c.unload("u-1")) == "serving.unload_failed"


def test_canaries_in_float32_are_equal_word_for_word(tmp_path: Path) -> None:
    loaded = {"u-1": "/r/u-1"}
    with_client(tmp_path, FakeEngine(adapters=loaded), lambda c: c.probe("u-1", [CANARY]))
    other = FakeEngine(adapters=loaded, text="one two four")
    assert refusal(tmp_path, other, lambda c: c.probe("u-1", [CANARY])) == "serving.probe_failed"
    assert refusal(tmp_path, FakeEngine(), lambda c: c.probe("u-1", [CANARY])) == "serving.probe_failed"


@pytest.mark.parametrize(
    ("top", "good"),
    [
        ([("one", -0.2), ("uno", -2.4)], True),
        ([("one", -0.2)], False),
        ([("one", -0.6), ("uno", -2.5)], False),
        ([("uno", -0.1), ("one", -2.5)], False),
    ],
)
def test_canaries_in_other_types_are_about_as_likely(tmp_path: Path, top: list[tuple[str, float]], good: bool) -> None:
    engine = FakeEngine(adapters={"u-1": "/r/u-1"}, top=top, text="something else")

    async def work(client: EngineClient) -> None:
        await client.probe("u-1", [CANARY], dtype="bfloat16", tolerance=0.25)

    if good:
        with_client(tmp_path, engine, work)
    else:
        assert refusal(tmp_path, engine, work) == "serving.probe_failed"
    assert engine.asked[0]["logprobs"] is True
    assert engine.asked[0]["max_tokens"] == 1


def test_without_canaries_something_must_be_answered(tmp_path: Path) -> None:
    loaded = {"u-1": "/r/u-1"}
    with_client(tmp_path, FakeEngine(adapters=loaded), lambda c: c.probe("u-1"))
    silent = FakeEngine(adapters=loaded, text=" ")
    assert refusal(tmp_path, silent, lambda c: c.probe("u-1")) == "serving.probe_failed"
    assert len(silent.asked) == 3


def test_a_sidecar_is_another_one_after_its_restart(tmp_path: Path) -> None:
    socket = tmp_path / "e.sock"

    async def run() -> None:
        sidecar = Sidecar(socket)
        assert not runs(sidecar)
        first = FakeEngine()
        async with first.on(socket):
            await sidecar.start()
            assert runs(sidecar)
            assert sidecar.about == About("vllm", "0.32.0")
            await sidecar.client.load("u-1", Path("/r/u-1"))
        async with FakeEngine().on(socket):
            deadline = asyncio.get_running_loop().time() + 10
            while runs(sidecar):
                assert asyncio.get_running_loop().time() < deadline
                await asyncio.sleep(0.05)
            await sidecar.start()
            assert await sidecar.client.adapters() == {}
            await sidecar.stop()
        assert not runs(sidecar)

    asyncio.run(run())


def test_a_sidecar_that_is_not_there(tmp_path: Path) -> None:
    async def run() -> None:
        sidecar = Sidecar(tmp_path / "none.sock", start_timeout_s=0.1)
        await sidecar.start()

    with pytest.raises(LetheError) as caught:
        asyncio.run(run())
    assert caught.value.code == "serving.engine_down"


def runs(engine: Sidecar | EngineProcess) -> bool:
    """Asked anew each time, which mypy does not expect of a property."""
    return engine.alive


def refuse(_: About) -> None:
    raise LetheError("serving.engine_version", "not tested")


def test_an_engine_that_may_not_serve_is_let_go(tmp_path: Path) -> None:
    async def run() -> None:
        async with FakeEngine().on(tmp_path / "e.sock"):
            sidecar = Sidecar(tmp_path / "e.sock", check=refuse)
            with pytest.raises(LetheError, match="not tested"):
                await sidecar.start()
            assert not runs(sidecar)

    asyncio.run(run())


ENGINE = """
import sys, threading, os
from aiohttp import web
def end():
    sys.stdin.buffer.read()
    os._exit(0)
threading.Thread(target=end, daemon=True).start()
async def say(request):
    return web.json_response({"version": sys.argv[2]})
app = web.Application()
app.add_routes([web.get("/health", say), web.get("/version", say)])
web.run_app(app, path=sys.argv[1], print=None)
"""


def test_an_engine_is_started_with_its_boot_release_and_refused_after_its_version(tmp_path: Path) -> None:
    seen: list[Boot | None] = []

    def launch(socket: Path, boot: Boot | None) -> Launch:
        seen.append(boot)
        return Launch(argv=(sys.executable, "-c", ENGINE, str(socket), "1.0"), env={})

    async def run() -> None:
        engine = EngineProcess(launch, tmp_path / "sockets")
        await engine.start(("u-1", tmp_path))
        assert runs(engine)
        assert engine.about == About("vllm", "1.0")
        (socket,) = (tmp_path / "sockets").iterdir()
        assert socket.stat().st_mode & 0o777 == 0o600
        await engine.stop()
        assert not runs(engine)
        strict = EngineProcess(launch, tmp_path / "sockets", check=refuse)
        with pytest.raises(LetheError, match="not tested"):
            await strict.start()
        assert not runs(strict)
        with pytest.raises(LetheError):
            _ = strict.client

    asyncio.run(run())
    assert seen == [("u-1", tmp_path), None]


def test_a_home_too_deep_for_a_socket_leaves_nothing_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sockets: list[Path] = []
    short = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))  # tmp_path may be too deep itself
    monkeypatch.setattr("tempfile.tempdir", str(short))

    def launch(socket: Path, _: Boot | None) -> Launch:
        sockets.append(socket)
        return Launch(argv=(sys.executable, "-c", ENGINE, str(socket), "1.0"), env={})

    async def run() -> None:
        engine = EngineProcess(launch, tmp_path / ("d" * 100))
        await engine.start()
        assert list(short.rglob("*.sock")) == sockets
        await engine.stop()

    asyncio.run(run())
    short.rmdir()  # and nothing is left in it
