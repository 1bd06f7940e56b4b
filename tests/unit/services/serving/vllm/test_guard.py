"""The allow-list inside vLLM: what it lets through, byte by byte, and what never reaches vLLM."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from services.serving.vllm.inside.lethe_guard import MAX_BODY, RELEASES_VARIABLE, Guard, Message, Receive, Scope, Send

CHAT, PLAIN = "/v1/chat/completions", "/v1/completions"
LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
HELLO = {"model": "u-1", "messages": [{"role": "user", "content": "hello"}]}


class Behind:
    """A fake vLLM that remembers what reached it."""

    def __init__(self) -> None:
        self.scope: Scope | None = None
        self.body = b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        if scope["type"] != "http":
            return
        if scope["method"] == "POST":
            self.body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


class Client:
    def __init__(self, guard: Guard, behind: Behind) -> None:
        self.guard, self.behind = guard, behind

    def ask(self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, **scope: Any) -> int:
        """The status; the body goes in two parts."""
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        parts = [data[: len(data) // 2], data[len(data) // 2 :]]
        incoming = [{"type": "http.request", "body": part, "more_body": part is parts[0]} for part in parts]
        sent: list[Message] = []

        async def receive() -> Message:
            return incoming.pop(0) if incoming else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        self.behind.scope, self.behind.body = None, b""
        whole = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": [], **scope}
        asyncio.run(self.guard(whole, receive, send))
        status = int(sent[0]["status"])
        if status != 200:
            assert self.behind.scope is None
            assert json.loads(sent[1]["body"])["error"]["code"] == status
        return status


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    root = tmp_path / "releases"
    (root / "u-1").mkdir(parents=True)
    return root


@pytest.fixture
def client(releases: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setenv(RELEASES_VARIABLE, str(releases))
    behind = Behind()
    return Client(Guard(behind), behind)


def test_what_the_gateway_needs_is_let_through(client: Client, releases: Path) -> None:
    for path in ("/health", "/version", "/v1/models"):
        assert client.ask("GET", path) == 200
    assert client.ask("POST", CHAT, {**HELLO, "stream": True, "max_tokens": 3, "temperature": 0}) == 200
    assert json.loads(client.behind.body)["messages"] == HELLO["messages"]
    parts = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    assert client.ask("POST", CHAT, {**HELLO, "messages": parts}) == 200
    assert client.ask("POST", PLAIN, {"model": "u-1", "prompt": "hello", "logprobs": 2}) == 200
    assert client.ask("POST", LOAD, {"lora_name": "u-1", "lora_path": str(releases / "u-1")}) == 200
    assert client.ask("POST", UNLOAD, {"lora_name": "u-1"}) == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/adapters"),
        ("DELETE", "/adapters/u-1"),
        ("POST", "/invocations"),
        ("POST", "/ping"),
        ("GET", "/metrics"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("POST", "/tokenize"),
        ("POST", "/v1/responses"),
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "//v1/chat/completions"),
        ("POST", "/V1/chat/completions"),
        ("POST", "/v1/../adapters"),
        ("POST", "/v1/chat/completions/render"),
        ("POST", "/v1/models"),
        ("GET", "/v1/load_lora_adapter"),
        ("PUT", "/v1/chat/completions"),
        ("OPTIONS", "/v1/chat/completions"),
        ("HEAD", "/health"),
        ("POST", "/collective_rpc"),
        ("POST", "/reset_prefix_cache"),
    ],
)
def test_other_routes_and_methods_do_not_exist(client: Client, method: str, path: str) -> None:
    assert client.ask(method, path, HELLO) == 404


@pytest.mark.parametrize("model", ["", "base", "base-00ff", "U-1", "u-", "u-1/..", "u-1\n", " u-1", "u-é", "lethe"])
def test_only_a_release_can_be_asked(client: Client, model: str) -> None:
    assert client.ask("POST", CHAT, {**HELLO, "model": model}) == 404
    assert client.ask("POST", PLAIN, {"model": model, "prompt": "hello"}) == 404


@pytest.mark.parametrize("model", [None, 1, ["u-1"], {}])
def test_a_model_that_is_no_text(client: Client, model: object) -> None:
    assert client.ask("POST", CHAT, {**HELLO, "model": model}) == 400
    assert client.ask("POST", CHAT, {"messages": HELLO["messages"]}) == 400


@pytest.mark.parametrize(
    "field",
    [
        "prompt_logprobs",
        "echo",
        "chat_template",
        "chat_template_kwargs",
        "prompt_embeds",
        "kv_transfer_params",
        "vllm_xargs",
        "tools",
        "response_format",
        "structured_outputs",
        "logit_bias",
        "cache_salt",
        "priority",
        "request_id",
        "add_generation_prompt",
        "continue_final_message",
        "documents",
        "return_token_ids",
        "lora_path",
        "session_id",
    ],
)
def test_fields_that_are_not_on_the_list(client: Client, field: str) -> None:
    assert client.ask("POST", CHAT, {**HELLO, field: None}) == 400
    assert client.ask("POST", PLAIN, {"model": "u-1", "prompt": "hello", field: None}) == 400


@pytest.mark.parametrize(
    "messages",
    [
        "hello",
        [["hello"]],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": "a", "tool_calls": []}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://inside/"}}]}],
        [{"role": "user", "content": [{"type": "text", "text": "a", "uuid": "b"}]}],
        [{"role": "user", "content": ["a"]}],
    ],
)
def test_messages_hold_text_only(client: Client, messages: object) -> None:
    assert client.ask("POST", CHAT, {**HELLO, "messages": messages}) == 400


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"null", b"{", b"\xff", b'{"model": "u-1", "model": "base"}', b"[" * 200_000]
)
def test_bodies_that_are_no_object_or_two_in_one(client: Client, raw: bytes) -> None:
    assert client.ask("POST", CHAT, raw=raw) == 400


def test_a_body_without_end(client: Client) -> None:
    assert client.ask("POST", CHAT, raw=b" " * (MAX_BODY + 2)) == 413


def test_a_client_that_leaves_before_its_body_is_whole(client: Client) -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        assert message.get("status", 400) == 400

    scope = {"type": "http", "method": "POST", "path": CHAT, "query_string": b"", "headers": []}
    asyncio.run(client.guard(scope, receive, send))
    assert client.behind.scope is None


def test_query_strings_and_foreign_headers(client: Client) -> None:
    assert client.ask("POST", CHAT, HELLO, query_string=b"model=base") == 400
    headers = [
        (b"content-type", b"application/json"),
        (b"X-Amzn-SageMaker-Adapter-Identifier", b"base"),
        (b"x-data-parallel-rank", b"1"),
        (b"x-request-id", b"1"),
    ]
    assert client.ask("POST", CHAT, HELLO, headers=headers) == 200
    assert client.behind.scope is not None
    assert client.behind.scope["headers"] == headers[:1]


def test_adapters_come_from_the_releases_directory_only(client: Client, releases: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (releases / "u-link").symlink_to(tmp_path / "elsewhere")
    (releases / "u-1" / "deep").mkdir()
    for path in (
        tmp_path / "elsewhere",
        releases / "u-link",
        releases,
        releases / "u-1" / "deep",
        f"{releases}/../elsewhere",
        f"{releases}//u-1",
        f"{releases}/u-1/",
        "u-1",
        "",
        None,
        ["u-1"],
    ):
        body = {"lora_name": "u-1", "lora_path": str(path) if isinstance(path, Path) else path}
        assert client.ask("POST", LOAD, body) == 400, path


def test_never_in_place_and_never_another_directory_under_one_name(client: Client, releases: Path) -> None:
    (releases / "u-2").mkdir()
    body = {"lora_name": "u-1", "lora_path": str(releases / "u-1")}
    for more in ({"load_inplace": True}, {"load_inplace": False}, {"is_3d_lora_weight": False}):
        assert client.ask("POST", LOAD, {**body, **more}) == 400
    assert client.ask("POST", UNLOAD, {"lora_name": "u-1", "lora_int_id": 1}) == 400
    assert client.ask("POST", LOAD, body) == 200
    assert client.ask("POST", UNLOAD, {"lora_name": "u-1"}) == 200
    assert client.ask("POST", LOAD, {**body, "lora_path": str(releases / "u-2")}) == 400
    assert client.ask("POST", LOAD, body) == 200
    assert client.ask("POST", LOAD, {**body, "lora_name": "base"}) == 400


def test_other_protocols(client: Client) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    asyncio.run(client.guard({"type": "websocket", "path": "/v1/realtime"}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
    assert client.behind.scope is None
    asyncio.run(client.guard({"type": "lifespan"}, receive, send))
    assert client.behind.scope == {"type": "lifespan"}
