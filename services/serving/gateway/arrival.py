"""A request as it arrives: its body within limits, and the headers of it that count."""

import asyncio
import re
import uuid
from collections.abc import Iterable

from starlette.types import Receive, Scope

from services.serving.gateway.answers import Refusal
from services.serving.gateway.limits import Limits

_HEADERS_LIMIT = 1 << 16
_SAFE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


async def read_body(scope: Scope, receive: Receive, limits: Limits) -> bytes | None:
    """The whole body; None where the client left before it was whole.

    Raises:
        Refusal: It is no JSON by its headers (400), too large (413) or comes too slowly (408).
    """
    _check_headers(scope)
    try:
        async with asyncio.timeout(limits.body_timeout_s):
            return await _read(receive, limits.max_body_bytes)
    except TimeoutError as error:
        # What of it comes later would be taken for the next request.
        raise Refusal(408, "The request came too slowly.", "request.too_slow", {"connection": "close"}) from error


async def _read(receive: Receive, limit: int) -> bytes | None:
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise Refusal(413, f"The body is larger than {limit} bytes.", "request.too_large", {"connection": "close"})
        more = message.get("more_body", False)
    return b"".join(parts)


def _check_headers(scope: Scope) -> None:
    if sum(len(name) + len(value) for name, value in scope["headers"]) > _HEADERS_LIMIT:
        raise Refusal(431, "The headers are too large.", "request.too_large", {"connection": "close"})
    kind = _values(scope, b"content-type")
    if len(kind) != 1 or kind[0].split(b";")[0].strip().lower() != b"application/json":
        raise Refusal(400, "The body must be application/json.", "request.not_json")
    if _values(scope, b"content-encoding"):
        raise Refusal(400, "The body must not be compressed.", "request.not_json")
    if _values(scope, b"content-length") and _values(scope, b"transfer-encoding"):
        # Two servers in a row could disagree on where the request ends.
        raise Refusal(400, "The length of the body is told twice.", "request.not_json", {"connection": "close"})


def request_id(scope: Scope) -> str:
    """The caller's own id if it is harmless, else a new one."""
    given = _values(scope, b"x-request-id")
    if len(given) == 1 and _SAFE_ID.fullmatch(given[0]):
        return given[0].decode()
    return f"req-{uuid.uuid4().hex}"


def _values(scope: Scope, name: bytes) -> list[bytes]:
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return [value for key, value in headers if key == name]
