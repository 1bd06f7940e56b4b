"""Clients as people use them, each against the running service with each engine."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.integration.conftest import WORD
from tests.integration.serving_host import Host

pytestmark = pytest.mark.slow

QUESTION: Any = [{"role": "system", "content": "hello"}, {"role": "user", "content": "who are you ?"}]
GREEDY: Any = {"model": "lethe", "messages": QUESTION, "temperature": 0}


def words(text: str | None) -> list[str]:
    return (text or "").split()


@pytest.fixture
def client(asked: Host) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{asked.url}/v1", api_key=asked.token(), max_retries=0) as made:
        yield made


# -- the openai package -------------------------------------------------------------------------------------------


def test_models_of_the_openai_package(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["lethe"]
    assert client.models.retrieve("lethe").id == "lethe"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("base")


def test_a_chat_of_the_openai_package(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(**GREEDY, max_tokens=3, stop=["zeta"], seed=3, user="me")
    assert raw.headers["x-lethe-generation"] == "1"
    whole = raw.parse()
    assert whole.model == "lethe"
    assert words(whole.choices[0].message.content) == [WORD] * 3
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 3
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + 3
    stopped = client.chat.completions.create(**GREEDY, max_tokens=30, stop=f"{WORD} {WORD} b")
    assert stopped.choices[0].finish_reason == "stop"
    assert words(stopped.choices[0].message.content) == []


def test_a_stream_of_the_openai_package(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        **GREEDY, max_completion_tokens=3, stream=True, stream_options={"include_usage": True}
    )
    *pieces, last = list(stream)
    assert {piece.model for piece in [*pieces, last]} == {"lethe"}
    assert pieces[0].choices[0].delta.role == "assistant"
    assert words("".join(piece.choices[0].delta.content or "" for piece in pieces)) == [WORD] * 3
    assert [piece.choices[0].finish_reason for piece in pieces][-1] == "length"
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 3


def test_the_streaming_helper_of_the_openai_package(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(**GREEDY, max_tokens=3, logprobs=True, top_logprobs=2) as stream:
        for _ in stream:
            continue
        with pytest.raises(openai.LengthFinishReasonError) as ended:  # its own rule; the answer is whole all the same
            stream.get_final_completion()
    final = ended.value.completion.choices[0]
    assert words(final.message.content) == [WORD] * 3
    assert final.logprobs is not None
    assert final.logprobs.content is not None
    assert [entry.token.strip() for entry in final.logprobs.content] == [WORD] * 3


def test_log_probabilities_and_choices_of_the_openai_package(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(
        **{**GREEDY, "temperature": 0.5}, max_tokens=2, n=3, logprobs=True, top_logprobs=1
    )
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    for choice in whole.choices:
        assert choice.logprobs is not None
        assert choice.logprobs.content is not None
        assert len(choice.logprobs.content) == 2
        assert choice.logprobs.content[0].top_logprobs[0].logprob <= 0
    plain = client.completions.create(model="lethe", prompt="hello", max_tokens=2, temperature=0, logprobs=1)
    assert words(plain.choices[0].text) == [WORD] * 2
    assert plain.choices[0].logprobs is not None
    assert len(plain.choices[0].logprobs.tokens or []) == 2
    stream = client.completions.create(model="lethe", prompt=["hello"], temperature=0, stream=True)
    assert words("".join(piece.choices[0].text for piece in stream)) == [WORD] * 16


def test_errors_of_the_openai_package(asked: Host, client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(**{**GREEDY, "model": "base"})
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(**GREEDY, max_tokens=100_000)
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(**{**GREEDY, "temperature": 3})
    assert wrong.value.param == "temperature"
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**GREEDY, tools=[])
    with (
        openai.OpenAI(base_url=f"{asked.url}/v1", api_key="lethe_x_y", max_retries=0) as other,
        pytest.raises(openai.AuthenticationError) as stranger,
    ):
        other.models.list()
    assert stranger.value.code == "auth.invalid"


def test_the_asynchronous_client_of_the_openai_package(asked: Host) -> None:
    async def ask() -> list[list[str]]:
        async with openai.AsyncOpenAI(base_url=f"{asked.url}/v1", api_key=asked.token(), max_retries=0) as client:

            async def whole() -> list[str]:
                answer = await client.chat.completions.create(**GREEDY, max_tokens=3)
                return words(answer.choices[0].message.content)

            async def streamed() -> list[str]:
                pieces = await client.chat.completions.create(**GREEDY, max_tokens=3, stream=True)
                return words("".join([piece.choices[0].delta.content or "" async for piece in pieces]))

            return await asyncio.gather(*(whole() for _ in range(4)), *(streamed() for _ in range(4)))

    assert asyncio.run(ask()) == [[WORD] * 3] * 8


# -- LangChain ----------------------------------------------------------------------------------------------------


def chat_model(host: Host, **more: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model="lethe",
        base_url=f"{host.url}/v1",
        api_key=SecretStr(host.token()),
        temperature=0,
        max_tokens=3,
        max_retries=0,
        **more,
    )


@pytest.fixture
def connections() -> Iterator[httpx.Client]:
    """LangChain keeps its own open for ever."""
    with httpx.Client(timeout=60) as made:
        yield made


def test_langchain(asked: Host, connections: httpx.Client) -> None:
    model = chat_model(asked, http_client=connections)
    conversation = [SystemMessage("hello"), HumanMessage("who"), AIMessage("you"), HumanMessage("are you ?")]
    answer = model.invoke(conversation)
    assert words(str(answer.content)) == [WORD] * 3
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] == 3
    assert answer.response_metadata["finish_reason"] == "length"
    assert words("".join(str(piece.content) for piece in model.stream(conversation))) == [WORD] * 3
    assert [words(str(one.content)) for one in model.batch([conversation, conversation])] == [[WORD] * 3] * 2


def test_langchain_with_usage_and_log_probabilities(asked: Host, connections: httpx.Client) -> None:
    more: Any = {"stream_usage": True, "logprobs": True, "top_logprobs": 1, "seed": 1, "stop": ["zeta"]}
    model = chat_model(asked, http_client=connections, **more)
    answer = model.invoke("hello")
    assert len(answer.response_metadata["logprobs"]["content"]) == 3
    counted = [piece.usage_metadata for piece in model.stream("hello") if piece.usage_metadata]
    assert [usage["output_tokens"] for usage in counted] == [3]


def test_langchain_asynchronously(asked: Host) -> None:
    async def ask() -> str:
        async with httpx.AsyncClient(timeout=60) as connections:
            model = chat_model(asked, http_async_client=connections)
            return "".join([str(piece.content) async for piece in model.astream("hello")])

    assert words(asyncio.run(ask())) == [WORD] * 3


def test_langchain_is_told_what_is_refused(asked: Host, connections: httpx.Client) -> None:
    model = chat_model(asked, http_client=connections)
    with pytest.raises(openai.NotFoundError):
        model.bind(model="base").invoke("hello")
    with pytest.raises(openai.BadRequestError):
        model.bind_tools([{"type": "function", "function": {"name": "f", "parameters": {}}}]).invoke("x")


# -- curl ---------------------------------------------------------------------------------------------------------


def curl(host: Host, tmp_path: Path, path: str, *more: str) -> tuple[str, str]:
    """Headers and body."""
    headers = tmp_path / "headers"
    key = ["-H", f"Authorization: Bearer {host.token()}"]
    command = ["curl", "-sS", "--max-time", "60", "-D", str(headers), *key, *more, host.url + path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return headers.read_text(), done.stdout


def test_curl(asked: Host, tmp_path: Path) -> None:
    kind = ["-H", "Content-Type: application/json"]
    body = json.dumps({**GREEDY, "max_tokens": 3})
    headers, answer = curl(asked, tmp_path, "/v1/chat/completions", *kind, "-d", body)
    assert headers.startswith("HTTP/1.1 200")
    assert "x-lethe-generation: 1" in headers
    assert words(json.loads(answer)["choices"][0]["message"]["content"]) == [WORD] * 3
    headers, answer = curl(asked, tmp_path, "/v1/chat/completions", *kind, "-N", "-d", body[:-1] + ', "stream": true}')
    assert "content-type: text/event-stream" in headers
    assert answer.endswith("data: [DONE]\n\n")
    headers, answer = curl(asked, tmp_path, "/v1/chat/completions", "-d", body)  # curl then says that it is a form
    assert headers.startswith("HTTP/1.1 400")
    assert json.loads(answer)["error"]["code"] == "request.not_json"
    _, answer = curl(asked, tmp_path, "/v1/models")
    assert json.loads(answer)["data"][0]["id"] == "lethe"
    expecting = [*kind, "-H", "Expect: 100-continue", "-d", body]
    assert curl(asked, tmp_path, "/v1/chat/completions", *expecting)[1].count(WORD) == 3
