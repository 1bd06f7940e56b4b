from typing import Any

import pytest

from services.serving.protocol import (
    ChatRequest,
    CompletionRequest,
    EngineChatRequest,
    EngineCompletionRequest,
    RequestError,
    parse,
    read_object,
    sampling,
)

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
PLAIN: dict[str, Any] = {"model": "m", "prompt": "hello"}


def test_what_is_sent_is_never_repeated_in_an_error() -> None:
    secret = "mara@example.org"
    with pytest.raises(RequestError) as caught:
        parse(ChatRequest, {**CHAT, "temperature": secret, "n": 9})
    assert caught.value.status == 400
    assert "temperature" in caught.value.message
    assert "n:" in caught.value.message
    assert secret not in caught.value.message
    assert caught.value.param in {"temperature", "n"}


def test_the_room_of_the_context_is_kept() -> None:
    form = parse(EngineChatRequest, CHAT)
    assert sampling(form, 7).max_tokens == 7
    for room in (0, -3):
        with pytest.raises(RequestError) as caught:
            sampling(form, room)
        assert caught.value.code == "context_length_exceeded"
    with pytest.raises(RequestError):
        sampling(parse(EngineChatRequest, {**CHAT, "max_tokens": 8}), 7)


def test_a_plain_completion_is_short_unless_asked_otherwise() -> None:
    form = parse(EngineCompletionRequest, PLAIN)
    assert sampling(form, 100).max_tokens == 16
    assert sampling(form, 7).max_tokens == 7
    assert sampling(parse(EngineCompletionRequest, {**PLAIN, "max_tokens": 50}), 100).max_tokens == 50


def test_the_newer_name_of_the_limit_wins() -> None:
    form = parse(EngineChatRequest, {**CHAT, "max_completion_tokens": 3, "max_tokens": 5})
    assert sampling(form, 10).max_tokens == 3


def test_stops_in_both_forms() -> None:
    assert sampling(parse(EngineCompletionRequest, {**PLAIN, "stop": "x"}), 5).stop == ("x",)
    assert sampling(parse(EngineCompletionRequest, {**PLAIN, "stop": ["x", "y"]}), 5).stop == ("x", "y")
    with pytest.raises(RequestError):
        parse(CompletionRequest, {**PLAIN, "stop": ["x"] * 17})


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "he"}, {"type": "text", "text": "llo"}]
    form = parse(ChatRequest, {**CHAT, "messages": [{"role": "user", "content": parts}]})
    assert form.messages[0].text == "he\nllo"
    assert form.model_dump()["messages"][0]["content"] == "he\nllo", "what is screened is what the engine is asked"


def test_null_is_absent_for_fields_on_the_list_and_for_no_other() -> None:
    form = parse(ChatRequest, {**CHAT, "temperature": None, "n": None, "stream": None, "logprobs": None, "stop": None})
    assert form.model_dump(exclude_unset=True) == parse(ChatRequest, CHAT).model_dump(exclude_unset=True)
    for foreign in ("echo", "tools", "prompt_logprobs", "chat_template"):
        with pytest.raises(RequestError):
            parse(ChatRequest, {**CHAT, foreign: None})
    with pytest.raises(RequestError):
        parse(ChatRequest, {**CHAT, "messages": None})


@pytest.mark.parametrize(
    "more",
    [
        {"top_logprobs": 2},
        {"logprobs": True, "top_logprobs": 21},
        {"stream_options": {"include_usage": True}},
        {"n": 2, "temperature": 0},
        {"n": 0},
        {"n": 9},
        {"presence_penalty": 2.1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"min_tokens": 1},
        {"ignore_eos": True},
    ],
)
def test_what_does_not_fit_together_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        parse(ChatRequest, {**CHAT, **more})


def test_the_engine_takes_a_least_length_and_clients_cannot_ask_for_it() -> None:
    settings = sampling(parse(EngineChatRequest, {**CHAT, "min_tokens": 4, "ignore_eos": True, "max_tokens": 4}), 10)
    assert (settings.min_tokens, settings.ignore_eos) == (4, True)
    with pytest.raises(RequestError):
        sampling(parse(EngineChatRequest, {**CHAT, "min_tokens": 5, "max_tokens": 4}), 10)


def test_log_probabilities_in_both_forms() -> None:
    assert parse(ChatRequest, CHAT).top_tokens is None
    assert parse(ChatRequest, {**CHAT, "logprobs": True}).top_tokens == 0
    assert parse(ChatRequest, {**CHAT, "logprobs": True, "top_logprobs": 3}).top_tokens == 3
    assert parse(CompletionRequest, PLAIN).top_tokens is None
    assert parse(CompletionRequest, {**PLAIN, "logprobs": 0}).top_tokens == 0


def test_choices_of_one_request_have_seeds_of_their_own() -> None:
    form = parse(EngineChatRequest, {**CHAT, "seed": 2**63 - 1, "n": 2})
    assert [sampling(form, 9, choice).seed for choice in (0, 1)] == [2**63 - 1, 0]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'"x"', "not a JSON object"),
        (b'{"a": NaN}', "not JSON"),
        (b'{"a": 1} {"a": 1}', "not JSON"),
        (b'{"a": 1, "a": 1}', "stands twice"),
        (b'{"b": {"a": 1, "\\u0061": 2}}', "stands twice"),
        (b'{"a": "\xff"}', "not JSON"),
        ('{"a": 1}'.encode("utf-16"), "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a":' * 100_000, "not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_a_body_is_one_object_that_can_be_read_in_one_way(raw: bytes, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_object(raw)
    assert caught.value.status == 400
    assert words in caught.value.message


def test_half_a_character_is_refused_and_a_whole_one_is_not() -> None:
    with pytest.raises(RequestError):
        read_object(b'{"prompt": "\\uD83D"}')
    assert read_object(b'{"prompt": "\\uD83D\\uDE00"}') == {"prompt": "\U0001f600"}
