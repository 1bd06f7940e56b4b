import asyncio
from typing import Any

import pytest
from starlette.types import Message

from services.serving.gateway.answers import Refusal
from services.serving.gateway.arrival import read_body, request_id
from services.serving.gateway.limits import Limits

JSON = (b"content-type", b"application/json")


def scope(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http", "headers": list(headers)}


def read(messages: list[Message], *headers: tuple[bytes, bytes], **limits: Any) -> bytes | None:
    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    return asyncio.run(read_body(scope(*(headers or (JSON,))), receive, Limits(**limits)))


def part(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def test_the_parts_of_a_body_are_put_together() -> None:
    assert read([part(b"a", more=True), part(b"b")]) == b"ab"
    charset = (b"content-type", b"Application/JSON; charset=utf-8")
    assert read([part(b"a")], charset) == b"a"


def test_a_client_that_leaves_has_sent_nothing() -> None:
    assert read([part(b"a", more=True), {"type": "http.disconnect"}]) is None


def test_a_body_that_does_not_end_is_refused_by_size_and_by_time() -> None:
    with pytest.raises(Refusal) as caught:
        read([part(b"a" * 1000, more=True)] * 3, max_body_bytes=2048)
    assert (caught.value.status, caught.value.code) == (413, "request.too_large")
    with pytest.raises(Refusal) as caught:
        read([part(b"a", more=True)], body_timeout_s=0.01)
    assert (caught.value.status, caught.value.code) == (408, "request.too_slow")
    assert caught.value.headers["connection"] == "close"


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-type", b"text/plain")],
        [(b"content-type", b"application/x-www-form-urlencoded")],
        [(b"content-type", b"application/json, text/plain")],
        [(b"content-length", b"1")],
        [JSON, JSON],
        [JSON, (b"content-encoding", b"gzip")],
        [JSON, (b"content-encoding", b"identity")],
        [JSON, (b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
    ],
)
def test_a_body_that_is_not_plain_json_by_its_headers_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Refusal) as caught:
        read([part(b"{}")], *headers)
    assert (caught.value.status, caught.value.code) == (400, "request.not_json")


def test_the_id_of_a_request_is_the_callers_only_if_it_is_harmless() -> None:
    assert request_id(scope((b"x-request-id", b"my-1.x_Y"))) == "my-1.x_Y"
    given = [b"", b"a b", b"a\nb", b"\xff", b"x" * 65, b"<script>", b'"']
    for value in given:
        assert request_id(scope((b"x-request-id", value))).startswith("req-")
    assert request_id(scope((b"x-request-id", b"a"), (b"x-request-id", b"b"))).startswith("req-")
    assert request_id(scope()) != request_id(scope())
