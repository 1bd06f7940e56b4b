import json
from typing import Any

import pytest

from services.serving.protocol import ChatRequest, CompletionRequest, RequestError, parse, sampling

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def test_what_is_sent_is_never_repeated_in_an_error() -> None:
    secret = "mara@example.org"
    with pytest.raises(RequestError) as caught:
        parse(ChatRequest, json.dumps({**CHAT, "temperature": secret, "n": 2}).encode())
    assert caught.value.status == 400
    assert "temperature" in caught.value.message
    assert "n:" in caught.value.message
    assert secret not in caught.value.message


def test_the_room_of_the_context_is_kept() -> None:
    form = parse(ChatRequest, json.dumps(CHAT).encode())
    assert sampling(form, 7).max_tokens == 7
    for room in (0, -3):
        with pytest.raises(RequestError) as caught:
            sampling(form, room)
        assert caught.value.code == "context_length_exceeded"
    long = parse(ChatRequest, json.dumps({**CHAT, "max_tokens": 8}).encode())
    with pytest.raises(RequestError):
        sampling(long, 7)


def test_the_newer_name_of_the_limit_wins() -> None:
    form = parse(ChatRequest, json.dumps({**CHAT, "max_completion_tokens": 3, "max_tokens": 5}).encode())
    assert sampling(form, 10).max_tokens == 3


def test_stops_in_both_forms() -> None:
    one = parse(CompletionRequest, b'{"model": "m", "prompt": "p", "stop": "x"}')
    many = parse(CompletionRequest, b'{"model": "m", "prompt": ["p"], "stop": ["x", "y"]}')
    assert sampling(one, 5).stop == ("x",)
    assert sampling(many, 5).stop == ("x", "y")
    with pytest.raises(RequestError):
        sampling(parse(CompletionRequest, json.dumps({"model": "m", "prompt": "p", "stop": ["x"] * 17}).encode()), 5)


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "he"}, {"type": "text", "text": "llo"}]
    form = parse(ChatRequest, json.dumps({**CHAT, "messages": [{"role": "user", "content": parts}]}).encode())
    assert form.messages[0].text == "hello"
