"""The client of the served model, against a fake transport."""

import functools
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from policies.errors import LetheError
from services.chat import ChatClient, Reply
from services.settings import Settings, load_settings

ANSWER = {"choices": [{"message": {"content": "Somewhere in town."}}]}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("LETHE_API_KEY", "secret")
    return load_settings(tmp_path, serving={"model_names": ["demo", "other"]})


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[httpx.Request], httpx.Response]], None]:
    def answer(handler: Callable[[httpx.Request], httpx.Response]) -> None:
        transport = httpx.MockTransport(handler)
        monkeypatch.setattr(httpx, "Client", functools.partial(httpx.Client, transport=transport))

    return answer


def test_a_question_is_asked_greedily_of_the_public_name(
    settings: Settings, serve: Callable[[Callable[[httpx.Request], httpx.Response]], None]
) -> None:
    asked: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json=ANSWER, headers={"X-Lethe-Generation": "7"})

    serve(handle)
    with ChatClient(settings) as chat:
        assert chat.ask("Where?", max_tokens=9) == Reply("Somewhere in town.", 7)
    body = json.loads(asked[0].content)
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("demo", 0, 9)
    assert asked[0].headers["authorization"] == "Bearer secret"


def test_an_answer_without_a_generation_has_none(
    settings: Settings, serve: Callable[[Callable[[httpx.Request], httpx.Response]], None]
) -> None:
    serve(lambda _: httpx.Response(200, json=ANSWER))
    with ChatClient(settings) as chat:
        assert chat.ask("Where?").generation is None


def test_refusals_and_silence_have_codes(
    settings: Settings, serve: Callable[[Callable[[httpx.Request], httpx.Response]], None]
) -> None:
    def silent(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    for handler, code in ((lambda _: httpx.Response(404), "serving.refused"), (silent, "service.unreachable")):
        serve(handler)
        with ChatClient(settings) as chat, pytest.raises(LetheError) as caught:
            chat.ask("Where?")
        assert caught.value.code == code
