"""An allow-list in front of vLLM: ``--middleware lethe_guard.Guard``.

Whatever is not named here does not reach vLLM, with or without a key: other routes (``/adapters``, ``/invocations``,
``/metrics``, ``/tokenize``), other methods, WebSockets, query strings, headers that vLLM or its hosting standards act
upon, and body fields. A model is asked by a release's name only, so that the base, under whatever name, is never asked.
An adapter is loaded from the releases directory only, never in place, and a name never means another directory.
"""

import json
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

RELEASES_VARIABLE = "LETHE_GUARD_RELEASES"
MAX_BODY = 8 << 20
NAME = re.compile(r"u-[A-Za-z0-9_-]{1,126}", re.ASCII)

_READ = frozenset({"/health", "/version", "/v1/models"})
_LOAD, _UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
_SAMPLING = frozenset(
    {
        "model",
        "stream",
        "stream_options",
        "max_tokens",
        "temperature",
        "top_p",
        "seed",
        "stop",
        "n",
        "logprobs",
        "frequency_penalty",
        "presence_penalty",
        "ignore_eos",
        "min_tokens",
    }
)
_FIELDS = {
    "/v1/chat/completions": _SAMPLING | {"messages", "max_completion_tokens", "top_logprobs"},
    "/v1/completions": _SAMPLING | {"prompt"},
    _LOAD: frozenset({"lora_name", "lora_path"}),
    _UNLOAD: frozenset({"lora_name"}),
}
_MESSAGE_FIELDS = frozenset({"role", "content", "name"})
_HEADERS = frozenset({b"host", b"content-type", b"content-length", b"accept", b"connection", b"user-agent"})


class Refused(Exception):
    """A request that does not reach vLLM."""

    def __init__(self, status: int, reason: str) -> None:
        self.status, self.reason = status, reason
        super().__init__(reason)


class Guard:
    """Pure ASGI. vLLM builds it around its application."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._releases = os.path.realpath(os.environ[RELEASES_VARIABLE])
        self._paths: dict[str, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let an allowed request through, rewritten to what was checked."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            body = await self._check(scope, receive)
        except Refused as refused:
            await _refuse(send, refused)
            return
        headers = [(name, value) for name, value in scope["headers"] if name.lower() in _HEADERS]
        await self._app({**scope, "headers": headers}, _replay(body, receive), send)

    async def _check(self, scope: Scope, receive: Receive) -> bytes:
        """The body of an allowed request."""
        path, method = scope["path"], scope["method"]
        if scope.get("query_string"):
            raise Refused(400, "query strings are not allowed")
        if path in _READ and method == "GET":
            return b""
        if path not in _FIELDS or method != "POST":
            raise Refused(404, "no such route")
        raw = await _read(receive)
        body = _parse(raw)
        unknown = sorted(body.keys() - _FIELDS[path])
        if unknown:
            raise Refused(400, f"unknown fields: {', '.join(unknown)[:200]}")
        if path == _LOAD:
            self._check_load(_name(body, "lora_name"), body.get("lora_path"))
        elif path == _UNLOAD:
            _name(body, "lora_name")
        else:
            _name(body, "model", 404)
            _check_messages(body.get("messages", []))
        return raw

    def _check_load(self, name: str, path: object) -> None:
        if not isinstance(path, str) or os.path.dirname(path) != self._releases or os.path.realpath(path) != path:
            raise Refused(400, "an adapter is loaded from the releases directory only")
        if self._paths.setdefault(name, path) != path:
            raise Refused(400, "the name has already been loaded from another directory")


def _name(body: dict[str, Any], field: str, status: int = 400) -> str:
    """The release's name in a field."""
    name = body.get(field)
    if not isinstance(name, str):
        raise Refused(400, f"{field} is missing")
    if not NAME.fullmatch(name):
        raise Refused(status, f"{field} is no release's name")
    return name


def _check_messages(messages: object) -> None:
    """Text only: other parts make vLLM fetch what an address in them names."""
    if not isinstance(messages, list):
        raise Refused(400, "messages is no list")
    for message in messages:
        if not isinstance(message, dict) or message.keys() - _MESSAGE_FIELDS:
            raise Refused(400, "a message has unknown fields")
        content = message.get("content")
        parts = content if isinstance(content, list) else []
        if not isinstance(content, str | list) or not all(_is_text(part) for part in parts):
            raise Refused(400, "a message may hold text only")


def _is_text(part: object) -> bool:
    return isinstance(part, dict) and part.keys() == {"type", "text"} and part["type"] == "text"


async def _read(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Refused(400, "the client left")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY:
            raise Refused(413, "the body is too large")
        if not message.get("more_body"):
            return b"".join(parts)


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw, object_pairs_hook=_distinct)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON") from None
    if not isinstance(body, dict):
        raise Refused(400, "the body is no JSON object")
    return body


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A field given twice could be read in two ways."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is given twice")
    return found


def _replay(body: bytes, receive: Receive) -> Receive:
    """The checked body, once, and after that whatever else comes (the client's leaving)."""
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _refuse(send: Send, refused: Refused) -> None:
    kind = "NotFoundError" if refused.status == 404 else "BadRequestError"
    error = {"message": refused.reason, "type": kind, "param": None, "code": refused.status}
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
