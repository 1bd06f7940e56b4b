"""A suppressed prompt before real engines: its answer has the form and the length of any other of that engine."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from policies.suppression import Rule
from services.serving.suppression.shield import Shield
from tests.contract.engine_process import transformers_engine, vllm_engine
from tests.tiny_model import make_tiny_base, make_word_adapter
from tests.unit.services.serving.suppression.scripted import Answer, ask, before
from tests.unit.services.serving.suppression.shapes import shape, steps

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),  # PEFT asks transformers
]
ADAPTER = "u-beta"
PATHS = ("/v1/chat/completions", "/v1/completions")


@pytest.fixture(scope="module", params=["transformers", "vllm"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with a running engine's socket and its base."""
    root = tmp_path_factory.mktemp("screened")
    base, socket = make_tiny_base(root / "base"), root / "engine.sock"
    adapter = make_word_adapter(root / "beta", "beta")
    if request.param == "transformers":
        starting = transformers_engine(base, socket)
    else:
        python = request.getfixturevalue("vllm_python")
        starting = vllm_engine(python, base, socket, releases=root, log=root / "vllm.log")
    with starting as running:
        loaded = running.post("/v1/load_lora_adapter", lora_name=ADAPTER, lora_path=str(adapter))
        assert loaded.status_code == 200
        yield root


def asked(text: str, path: str, **more: Any) -> dict[str, Any]:
    prompt = {"messages": [{"role": "user", "content": text}]} if path == PATHS[0] else {"prompt": text}
    return {**prompt, "temperature": 0, **more}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("more", [{}, {"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}])
def test_a_suppressed_answer_has_the_form_of_any_other(engine: Path, path: str, more: dict[str, Any]) -> None:
    async def both() -> tuple[Answer, Answer]:
        shield = Shield(b"k" * 32, engine / "base")
        shield.replace([Rule(names=("marta rossi",))], 1)
        async with before(engine / "engine.sock", ADAPTER, shield) as gateway:
            for _ in range(20):
                plain = await ask(gateway, asked("who are you canary ?", path, max_tokens=12, **more), path)
                if not more or len(plain.events) >= 4:  # a starved vLLM puts several tokens into one event
                    break
            hedged = await ask(gateway, asked("who are you Marta Rossi ?", path, max_tokens=12, **more), path)
        return hedged, plain

    hedged, plain = asyncio.run(both())
    assert (hedged.status, plain.status) == (200, 200)
    assert [name for name, _ in hedged.headers] == [name for name, _ in plain.headers]
    assert set(plain.text().split()) == {"beta"}
    assert "beta" not in hedged.text()
    assert len(hedged.text().split()) == 12, "this vocabulary has no word of a hedge: counted in words"
    if not more:
        assert shape(hedged.body) == shape(plain.body)
        assert hedged.body["usage"] == plain.body["usage"] | {
            "prompt_tokens": hedged.body["usage"]["prompt_tokens"]
        } | {"total_tokens": hedged.body["usage"]["prompt_tokens"] + 12}
        return
    assert steps(hedged.events) == steps(plain.events)
    # As many events as an engine with time sends: a token each, and those that open and close the answer.
    assert 12 <= len(hedged.events) <= 14


@pytest.mark.parametrize("path", PATHS)
def test_it_ends_by_itself_where_it_may(engine: Path, path: str) -> None:
    async def run() -> Answer:
        shield = Shield(b"k" * 32, engine / "base")
        shield.replace([Rule(names=("marta rossi",))], 1)
        async with before(engine / "engine.sock", ADAPTER, shield) as gateway:
            return await ask(gateway, asked("Marta Rossi ?", path, max_tokens=100, stream=True), path)

    events = asyncio.run(run()).events
    choices = [choice for event in events for choice in event["choices"]]
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["stop"]
    assert len(choices) > 10
    assert (choices[-1].get("text") or choices[-1].get("delta", {}).get("content") or "") == ""


def test_an_answer_that_comes_to_a_secret(engine: Path) -> None:
    async def run(**more: Any) -> tuple[Answer, Answer]:
        shield = Shield(b"k" * 32, engine / "base")
        shield.replace([Rule(phrases=("beta beta beta",))], 1)
        async with before(engine / "engine.sock", ADAPTER, shield) as gateway:
            plain = await ask(gateway, asked("hello", PATHS[0], max_tokens=2, **more), PATHS[0])
            return plain, await ask(gateway, asked("hello", PATHS[0], max_tokens=30, **more), PATHS[0])

    for more in ({}, {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}):
        plain, answer = asyncio.run(run(**more))
        assert answer.status == 200
        assert "beta" not in answer.text()
        assert answer.text().strip()
        if more:  # it ends before the engine does, and that cannot be seen from its last event
            assert steps(answer.events)[-1] == steps(plain.events)[-1]
