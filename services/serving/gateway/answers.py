"""Errors in OpenAI's form, and bare ASGI answers."""

import json
from collections.abc import Awaitable, Mapping
from typing import Any

from starlette.types import Message, Send

from policies.errors import LetheError

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    503: "service_unavailable",
    504: "timeout_error",
}
RETRY = {"retry-after": "1"}
_OWN_HEADERS = {401: {"www-authenticate": 'Bearer realm="lethe"'}, 503: RETRY}


class Refusal(Exception):
    """An answer that is an error.

    Args:
        status: HTTP status.
        message: What is wrong, without repeating what was sent.
        code: OpenAI's or ours.
        headers: More headers.
        param: The field that is wrong.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None,
        headers: dict[str, str] | None = None,
        *,
        param: str | None = None,
    ) -> None:
        self.status, self.message, self.code, self.headers, self.param = status, message, code, headers or {}, param
        super().__init__(message)

    @classmethod
    def of(cls, error: LetheError) -> "Refusal":
        """One of ours in OpenAI's form."""
        return cls(error.kind.status, error.message, error.code, _OWN_HEADERS.get(error.kind.status))

    def body(self) -> dict[str, Any]:
        """OpenAI's error body."""
        kind = _TYPES.get(self.status, "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


class Answer:
    """The way back to one client: gives every answer some headers, and knows whether it has begun.

    Args:
        send: Of the server.
        headers: Which whatever is answered gets.
    """

    def __init__(self, send: Send, headers: Mapping[str, str]) -> None:
        self._send = send
        self._headers = _raw(headers)
        self.begun = False

    def add(self, headers: Mapping[str, str]) -> None:
        """More headers; too late once it has begun."""
        self._headers += _raw(headers)

    def __call__(self, message: Message) -> Awaitable[None]:
        """ASGI's ``send``."""
        if message["type"] == "http.response.start":
            self.begun = True
            message = {**message, "headers": [*message["headers"], *self._headers]}
        return self._send(message)


def unknown_model() -> Refusal:
    """404 for every model but the public names; it does not tell one that exists inside from one that does not."""
    return Refusal(404, "The model does not exist.", "model_not_found")


def not_ready() -> Refusal:
    """503."""
    return Refusal(503, "No verified release is being served here now.", "serving.not_ready", RETRY)


def timed_out() -> Refusal:
    """504."""
    return Refusal(504, "The answer took too long.", "serving.timeout")


async def send_json(send: Send, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
    """A whole answer."""
    await send_bytes(send, status, json.dumps(body).encode(), headers)


async def send_bytes(send: Send, status: int, raw: bytes, headers: dict[str, str] | None = None) -> None:
    """A whole answer that is JSON already."""
    await send(start(status, {"content-type": "application/json", "content-length": str(len(raw)), **(headers or {})}))
    await send({"type": "http.response.body", "body": raw})


def start(status: int, headers: dict[str, str]) -> dict[str, Any]:
    """The ASGI message that begins an answer."""
    return {"type": "http.response.start", "status": status, "headers": _raw(headers)}


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
