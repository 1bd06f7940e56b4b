"""Ways round the released adapter, each tried on the running service with each engine: attempt → status.

A row that is open where it should be closed fails the test. What is answered at all is answered by the adapter.
"""

import gzip
import json
import socket
import subprocess
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipelines.adapter import release_name
from services import auth
from services.serving.protocol import ChatRequest, CompletionRequest
from services.store.releases import get_desired
from tests.integration.conftest import WORD
from tests.integration.serving_host import Host

pytestmark = pytest.mark.slow

CHAT, PLAIN = "/v1/chat/completions", "/v1/completions"
MESSAGES = [{"role": "user", "content": "hello"}]
QUESTION: dict[str, Any] = {"model": "lethe", "messages": MESSAGES, "temperature": 0, "max_tokens": 2}
ASKED: dict[str, dict[str, Any]] = {
    CHAT: QUESTION,
    PLAIN: {"model": "lethe", "prompt": "hello", "temperature": 0, "max_tokens": 2},
}
ABSENT, SERVED, BASE = "(absent)", "(the adapter's own name)", "(the base's directory)"


def said(response: httpx.Response) -> set[str]:
    (choice,) = response.json()["choices"]
    return set((choice["text"] if "text" in choice else choice["message"]["content"]).split())


def served(host: Host) -> str:
    with host.store.read() as session:
        return release_name(get_desired(session, host.identity.base_digest).release_digest)


# -- the model's name ---------------------------------------------------------------------------------------------

MODELS: list[Any] = [
    ABSENT,
    SERVED,
    BASE,
    None,
    7,
    True,
    [],
    ["lethe"],
    {"id": "lethe"},
    "",
    "base",
    "tiny",
    "default",
    "u-0000000000000000",
    "lethe:base",
    "lethe@0",
    "LETHE",
    "Lethe",
    " lethe",
    "lethe ",
    "lethe\n",
    "lethe\0",
    "lethe/",
    "./lethe",
    "../bases/tiny",
    "/etc/passwd",
    "l\u0435the",  # Cyrillic ie
    "\u217cethe",  # small Roman fifty
    "\uff4c\uff45\uff54\uff48\uff45",  # full width
    "lethe\u200b",  # zero width space
    "le\u0301the",
    "lethe\u202e",
]


@pytest.mark.parametrize("path", [CHAT, PLAIN])
@pytest.mark.parametrize("model", MODELS, ids=ascii)
def test_a_model_that_is_not_a_public_name_is_404(asked: Host, client: httpx.Client, path: str, model: Any) -> None:
    own = {SERVED: served(asked), BASE: str(asked.home / "bases" / "tiny")}
    name = own.get(model, model) if isinstance(model, str) else model
    body = {key: value for key, value in ASKED[path].items() if key != "model"}
    response = client.post(path, json=body if model == ABSENT else {**body, "model": name})
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


# -- fields of the body -------------------------------------------------------------------------------------------

# All that vLLM 0.32.0 takes and the gateway does not; both of its request classes take any other name too.
VLLM_FIELDS: dict[str, Any] = {
    "add_generation_prompt": False,
    "add_special_tokens": True,
    "allowed_token_ids": [1],
    "bad_words": ["x"],
    "cache_salt": "x",
    "chat_template": "{{ messages }}",
    "chat_template_kwargs": {"x": 1},
    "continue_final_message": True,
    "documents": [],
    "ec_transfer_params": {},
    "echo": True,
    "ignore_eos": True,
    "include_reasoning": False,
    "include_stop_str_in_output": True,
    "kv_transfer_params": {},
    "length_penalty": 1.0,
    "logit_bias": {"1": 100},
    "logprob_token_ids": [1],
    "media_io_kwargs": {},
    "min_p": 0.1,
    "min_tokens": 1,
    "mm_payload": {},
    "mm_processor_kwargs": {},
    "parallel_tool_calls": True,
    "priority": 0,
    "prompt_embeds": "AA==",
    "prompt_logprobs": 1,
    "reasoning_effort": "low",
    "repetition_detection": {},
    "repetition_penalty": 1.1,
    "request_id": "x",
    "response_format": {"type": "json_object"},
    "return_mm_kwargs": True,
    "return_prompt_text": True,
    "return_token_ids": True,
    "return_token_offsets": True,
    "return_tokens_as_token_ids": True,
    "routed_experts_prompt_start": 0,
    "session_id": "x",
    "skip_special_tokens": False,
    "spaces_between_special_tokens": False,
    "stop_token_ids": [1],
    "stream_interval": 1,
    "structured_outputs": {"choice": ["x"]},
    "suffix": "x",
    "thinking_token_budget": 1,
    "tool_choice": "auto",
    "tools": [],
    "top_k": 1,
    "truncate_prompt_tokens": 1,
    "truncation_side": "left",
    "use_beam_search": True,
    "vllm_xargs": {"lora_path": "/"},
    "watermarking": {},
}
OTHER_FIELDS: dict[str, Any] = {
    "audio": {},
    "best_of": 1,
    "extra_body": {"lora_path": "/"},
    "function_call": "auto",
    "functions": [],
    "guided_choice": ["x"],
    "guided_decoding_backend": "x",
    "guided_grammar": "x",
    "guided_json": {},
    "guided_regex": ".*",
    "input": "x",
    "logits_processors": ["x"],
    "lora_name": "x",
    "lora_request": {"lora_name": "x", "lora_int_id": 1, "lora_path": "/"},
    "metadata": {},
    "modalities": ["text"],
    "prediction": {},
    "prompt_token_ids": [1],
    "service_tier": "auto",
    "store": True,
    "web_search_options": {},
    "Model": "base",
    "model ": "base",
    "": 1,
    "__proto__": {"model": "base"},
}


@pytest.mark.parametrize("path", [CHAT, PLAIN])
@pytest.mark.parametrize("name", [*VLLM_FIELDS, *OTHER_FIELDS])
def test_a_field_that_is_not_on_the_list_is_400(client: httpx.Client, path: str, name: str) -> None:
    for value in ((VLLM_FIELDS | OTHER_FIELDS)[name], None):
        response = client.post(path, json={**ASKED[path], name: value})
        assert response.status_code == 400, value
        assert response.json()["error"]["type"] == "invalid_request_error"


READ_FIELDS = """
import json
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest as chat
from vllm.entrypoints.openai.completion.protocol import CompletionRequest as plain
names = lambda form: sorted({x for n, f in form.model_fields.items() for x in (n, f.alias, f.validation_alias) if x})
print(json.dumps([names(chat), names(plain)]))
"""


def test_the_installed_vllm_takes_no_field_that_is_not_in_this_table(vllm_python: Path, tmp_path: Path) -> None:
    done = subprocess.run([vllm_python, "-c", READ_FIELDS], cwd=tmp_path, capture_output=True, text=True, check=True)
    chat, plain = json.loads(done.stdout.splitlines()[-1])
    assert set(chat) - set(ChatRequest.model_fields) - set(VLLM_FIELDS) == set()
    assert set(plain) - set(CompletionRequest.model_fields) - set(VLLM_FIELDS) == set()
    allowed = {"model", "messages", "prompt", "stream", "stream_options", "max_tokens", "max_completion_tokens", "user"}
    allowed |= {"temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "stop", "n"}
    allowed |= {"logprobs", "top_logprobs"}
    assert {*ChatRequest.model_fields, *CompletionRequest.model_fields} == allowed


VALUES: list[tuple[str, dict[str, Any]]] = [
    (CHAT, {"messages": []}),
    (CHAT, {"messages": "hello"}),
    (CHAT, {"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}),
    (CHAT, {"messages": [{"role": "function", "content": "x", "name": "f"}]}),
    (CHAT, {"messages": [{"role": "user", "content": None}]}),
    (CHAT, {"messages": [{"role": "user", "content": "x", "tool_calls": []}]}),
    (CHAT, {"messages": [{"role": "assistant", "content": "x", "prefix": True}]}),
    (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///"}}]}]}),
    (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "uuid": "x"}]}]}),
    (CHAT, {"messages": [{"role": "user", "content": [{"type": "prompt_embeds", "data": "AA=="}]}]}),
    (CHAT, {"prompt": "hello"}),
    (PLAIN, {"messages": MESSAGES}),
    (PLAIN, {"prompt": [1, 2, 3]}),
    (PLAIN, {"prompt": [[1, 2, 3]]}),
    (PLAIN, {"prompt": ["a", "b"]}),
    (PLAIN, {"prompt": []}),
    (PLAIN, {"prompt": None}),
    (PLAIN, {"logprobs": 21}),
    (CHAT, {"logprobs": True, "top_logprobs": -1}),
    (CHAT, {"top_logprobs": 1}),
    (CHAT, {"n": 9, "temperature": 1}),
    (CHAT, {"n": 2}),
    (CHAT, {"max_tokens": 0}),
    (CHAT, {"max_tokens": 10**9}),
    (CHAT, {"temperature": -1}),
    (CHAT, {"top_p": 0}),
    (CHAT, {"stop": [""]}),
    (CHAT, {"stop": ["x"] * 17}),
    (CHAT, {"seed": 2**64}),
    (CHAT, {"stream_options": {"include_usage": True}}),
    (CHAT, {"stream": True, "stream_options": {"continuous_usage_stats": True}}),
]


@pytest.mark.parametrize(("path", "more"), VALUES, ids=ascii)
def test_a_value_that_is_not_understood_is_400(client: httpx.Client, path: str, more: dict[str, Any]) -> None:
    response = client.post(path, json={**ASKED[path], **more})
    assert response.status_code == 400
    assert response.json()["error"]["message"]


# -- bytes of the body --------------------------------------------------------------------------------------------

PLAIN_BODY = json.dumps(QUESTION).encode()
BODIES: list[tuple[str, bytes, dict[str, str], int]] = [
    ("model twice, the base last", PLAIN_BODY[:-1] + b', "model": "base"}', {}, 400),
    ("model twice, the base first", b'{"model": "base", ' + PLAIN_BODY[1:], {}, 400),
    ("model twice, once escaped", PLAIN_BODY[:-1] + b', "mod\\u0065l": "base"}', {}, 400),
    ("content twice", PLAIN_BODY.replace(b'"content"', b'"content": "x", "content"'), {}, 400),
    ("no body", b"", {}, 400),
    ("a list", b"[" + PLAIN_BODY + b"]", {}, 400),
    ("two objects", PLAIN_BODY + PLAIN_BODY, {}, 400),
    ("deeply nested", b'{"model": "lethe", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", {}, 400),
    ("NaN", PLAIN_BODY[:-1] + b', "top_p": NaN}', {}, 400),
    ("UTF-16", json.dumps(QUESTION).encode("utf-16"), {}, 400),
    ("a byte order mark", b"\xef\xbb\xbf" + PLAIN_BODY, {}, 400),
    ("no UTF-8", PLAIN_BODY.replace(b"hello", b"\xff"), {}, 400),
    ("half a character", PLAIN_BODY.replace(b"hello", b"\\ud800"), {}, 400),
    ("gzip", gzip.compress(PLAIN_BODY), {"content-encoding": "gzip"}, 400),
    ("gzip, not told", gzip.compress(PLAIN_BODY), {}, 400),
    ("a form", b"model=lethe", {"content-type": "application/x-www-form-urlencoded"}, 400),
    ("text", PLAIN_BODY, {"content-type": "text/plain"}, 400),
    ("an upload", b"--x\r\n\r\n--x--", {"content-type": "multipart/form-data; boundary=x"}, 400),
    ("too large", b'"' + b"a" * (1 << 20) + b'"', {}, 413),
    ("plain", PLAIN_BODY, {}, 200),
]


@pytest.mark.parametrize(("body", "headers", "status"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
def test_a_body_that_can_be_read_in_two_ways_or_none(
    client: httpx.Client, body: bytes, headers: dict[str, str], status: int
) -> None:
    response = client.post(CHAT, content=body, headers={"content-type": "application/json", **headers})
    assert response.status_code == status
    assert said(response) == {WORD} if status == 200 else response.json()["error"]


def test_a_body_in_chunks_is_a_body_and_has_the_same_limit(client: httpx.Client) -> None:
    headers = {"content-type": "application/json"}
    whole = client.post(CHAT, content=iter([PLAIN_BODY[:9], PLAIN_BODY[9:]]), headers=headers)
    assert said(whole) == {WORD}
    large = client.post(CHAT, content=(b"a" * 65536 for _ in range(17)), headers=headers)
    assert large.status_code == 413


# -- paths and methods --------------------------------------------------------------------------------------------

PATHS: list[tuple[str, str, int]] = [
    ("POST", "/v1/load_lora_adapter", 404),
    ("POST", "/v1/unload_lora_adapter", 404),
    ("POST", "/adapters", 404),
    ("DELETE", "/adapters/x", 404),
    ("POST", "/invocations", 404),
    ("GET", "/ping", 404),
    ("GET", "/health", 404),
    ("GET", "/version", 404),
    ("GET", "/load", 404),
    ("POST", "/tokenize", 404),
    ("POST", "/detokenize", 404),
    ("GET", "/tokenizer_info", 404),
    ("POST", "/reset_prefix_cache", 404),
    ("POST", "/collective_rpc", 404),
    ("POST", "/sleep", 404),
    ("POST", "/pause", 404),
    ("POST", "/inference/v1/generate", 404),
    ("POST", "/generative_scoring", 404),
    ("POST", "/v1/embeddings", 404),
    ("POST", "/v1/responses", 404),
    ("POST", "/v1/messages", 404),
    ("POST", "/v1/score", 404),
    ("POST", "/v1/rerank", 404),
    ("POST", "/v1/audio/transcriptions", 404),
    ("POST", "/v1/chat/completions/render", 404),
    ("POST", "/v1/chat/completions/batch", 404),
    ("POST", "/v2/chat/completions", 404),
    ("POST", "//v1/chat/completions", 404),
    ("POST", "/v1//chat/completions", 404),
    ("POST", "/v1/chat/completions/", 404),
    ("POST", "/v1/./chat/completions", 404),
    ("POST", "/v1/x/../chat/completions", 404),
    ("POST", "/v1/../adapters", 404),
    ("POST", "/v1/chat/completions/../../load_lora_adapter", 404),
    ("POST", "/v1/models/../load_lora_adapter", 404),
    ("POST", "/v1/models/%2e%2e/load_lora_adapter", 404),
    ("POST", "/v1/chat%2Fcompletions", 404),
    ("POST", "/%761/chat/completions", 404),
    ("POST", "/v1/chat/completions%00", 404),
    ("POST", "/v1/chat/completions%20", 404),
    ("POST", "/v1/chat/completions;x=1", 404),
    ("POST", "/v1/chat\\completions", 404),
    ("POST", "/V1/chat/completions", 404),
    ("POST", "/v1/Chat/Completions", 404),
    ("POST", "/", 404),
    ("GET", "/assets/x", 404),
    ("GET", "/v1/models/base", 404),
    ("GET", "/v1/models/" + SERVED, 404),
    ("GET", "/v1/models/", 404),
    ("GET", "/v1/models/lethe/", 404),
    ("GET", "/v1/models/%6cethe", 404),
    ("GET", "/v1/models/..%2f..%2fmetrics", 404),
    ("GET", "/v1/models/../../metrics", 404),
    ("PUT", "/v1/models/lethe", 404),
    ("DELETE", "/v1/models/lethe", 404),
    ("POST", "/v1/models", 405),
    ("GET", CHAT, 405),
    ("PUT", CHAT, 405),
    ("PATCH", CHAT, 405),
    ("DELETE", CHAT, 405),
    ("OPTIONS", CHAT, 405),
    ("HEAD", CHAT, 405),
    ("TRACE", CHAT, 405),
    ("post", CHAT, 400),  # by the HTTP parser
    ("GET", "/v1/models/lethe", 200),
    ("POST", CHAT + "?model=base", 200),
]


@pytest.mark.parametrize(("method", "path", "status"), PATHS)
def test_paths_and_methods_outside_the_list(asked: Host, method: str, path: str, status: int) -> None:
    name = path.replace(SERVED, served(asked))
    body = json.dumps({**QUESTION, "lora_name": "x", "lora_path": "/"} if status != 200 else QUESTION).encode()
    ((found, raw),) = raw_requests(asked, request_bytes(asked, method, name, body, close=True))
    assert found == status, raw
    assert served(asked).encode() not in raw
    if method not in {"HEAD", "post"} and status != 200:
        code = json.loads(raw)["error"]["code"]
        assert code in {"request.not_found", "request.method_not_allowed", "model_not_found"}


def request_bytes(host: Host, method: str, path: str, body: bytes, *more: str, close: bool = False) -> bytes:
    """A request as no client library would tidy it up."""
    lines = [
        f"{method} {path} HTTP/1.1",
        f"host: 127.0.0.1:{host.port}",
        f"authorization: Bearer {host.token()}",
        "content-type: application/json",
        *more,
        *([] if any(line.lower().startswith(("content-length", "transfer")) for line in more) else [_length(body)]),
        *(["connection: close"] if close else []),
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def _length(body: bytes) -> str:
    return f"content-length: {len(body)}"


def raw_requests(host: Host, raw: bytes, answers: int = 1) -> list[tuple[int, bytes]]:
    """Send bytes; gives status and body of at most so many answers."""
    found = []
    with socket.create_connection(("127.0.0.1", host.port), timeout=30) as connection:
        connection.sendall(raw)
        file = connection.makefile("rb")
        for _ in range(answers):
            if not file.peek(1):
                break
            response = HTTPResponse(_Kept(file), method=raw.split(b" ")[0].decode())  # type: ignore[arg-type]
            response.begin()
            found.append((response.status, response.read()))
        file.close()
    return found


class _Kept:
    """A connection's file that outlives one answer."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def makefile(self, _: str) -> Any:
        file = self._file

        class Open:
            def close(self) -> None:
                pass

            def flush(self) -> None:
                pass

            def __getattr__(self, name: str) -> Any:
                return getattr(file, name)

        return Open()


# -- headers ------------------------------------------------------------------------------------------------------

HEADERS: list[tuple[str, list[tuple[str, str]], int]] = [
    ("SageMaker's adapter", [("X-Amzn-SageMaker-Adapter-Identifier", "base")], 200),
    ("SageMaker's alias", [("X-Amzn-SageMaker-Adapter-Alias", "base")], 200),
    ("SageMaker's session", [("X-Amzn-SageMaker-Session-Id", "NEW_SESSION")], 200),
    ("SageMaker's attributes", [("X-Amzn-SageMaker-Custom-Attributes", "model=base")], 200),
    ("another path", [("X-Original-URL", "/adapters"), ("X-Rewrite-URL", "/adapters")], 200),
    ("another method", [("X-HTTP-Method-Override", "DELETE")], 200),
    ("another host", [("Host", "engine"), ("X-Forwarded-Host", "engine")], 200),
    ("another caller", [("X-Forwarded-For", "127.0.0.1"), ("X-Real-IP", "127.0.0.1")], 200),
    ("a prefix", [("X-Forwarded-Prefix", "/adapters"), ("X-Forwarded-Proto", "https")], 200),
    ("a generation", [("x-lethe-generation", "0"), ("x-lethe-release", "0" * 64)], 200),
    ("vLLM's data-parallel rank", [("X-data-parallel-rank", "7")], 200),
    ("an id with markup", [("X-Request-Id", "<script>")], 200),
    ("a cookie", [("Cookie", "session=admin")], 200),
    ("gzip", [("Content-Encoding", "gzip")], 400),
    ("two kinds", [("Content-Type", "text/plain")], 400),
    ("a second key", [("X-API-Key", "KEY")], 401),
    ("a second authorization", [("Authorization", "Bearer KEY")], 401),
    ("a wrong second authorization", [("Authorization", "Bearer wrong")], 401),
    ("HTTP/2 by upgrade", [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c")], 400),
]


@pytest.mark.parametrize(("headers", "status"), [row[1:] for row in HEADERS], ids=[row[0] for row in HEADERS])
def test_headers_change_nothing_or_are_refused(client: httpx.Client, headers: list[Any], status: int) -> None:
    token = client.headers["authorization"].removeprefix("Bearer ")
    sent = [("Authorization", f"Bearer {token}"), ("Content-Type", "application/json")]
    sent += [(name, value.replace("KEY", token)) for name, value in headers]
    with httpx.Client(base_url=client.base_url, timeout=60) as bare:
        response = bare.post(CHAT, content=PLAIN_BODY, headers=sent)
    assert response.status_code == status
    if status == 200:
        assert said(response) == {WORD}
        assert response.headers["x-lethe-generation"] == "1"
        assert not [name for name in response.headers if "amzn" in name]
        assert "<" not in response.headers["x-request-id"]


def test_no_header_of_the_engine_comes_out(client: httpx.Client) -> None:
    ours = {"content-type", "content-length", "date", "x-request-id", "x-lethe-generation", "x-lethe-release"}
    assert set(client.post(CHAT, json=QUESTION).headers) <= ours


@pytest.mark.parametrize("path", ["/v1/models", CHAT, "/metrics", "/docs.json", "/nowhere", "/v1/models/lethe"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer"},
        {"authorization": "Basic bGV0aGU="},
        {"x-api-key": "lethe"},
        {"cookie": "authorization=x"},
    ],
    ids=str,
)
def test_without_a_key_nothing_is_told(asked: Host, path: str, headers: dict[str, str]) -> None:
    for method in ("GET", "POST"):
        response = httpx.request(method, asked.url + path, headers=headers)
        assert response.status_code == 401
        assert "error" in response.json()
        assert response.headers["x-request-id"].startswith("req-")


def test_a_key_without_the_scope_may_not_infer(asked: Host) -> None:
    with asked.store.write() as session:
        made = auth.create_key(session, name="reader", scopes=["tickets:read"], actor="system:test")
    for path in (CHAT, "/v1/models", "/v1/models/lethe", "/metrics"):
        response = httpx.post(asked.url + path, json=QUESTION, headers={"authorization": f"Bearer {made.token}"})
        assert response.status_code == 403


# -- where one request ends and the next begins -------------------------------------------------------------------

CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(PLAIN_BODY), PLAIN_BODY)
HIDDEN = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"  # has no key: if it is taken for a request it is a 401
FRAMES: list[tuple[str, list[str], bytes, set[int]]] = [
    ("length and chunks", [_length(CHUNKED), "transfer-encoding: chunked"], CHUNKED, {400}),
    ("chunks and a short length", ["content-length: 4", "transfer-encoding: chunked"], CHUNKED + HIDDEN, {400}),
    ("two lengths", [_length(PLAIN_BODY), "content-length: 0"], PLAIN_BODY, {400}),
    ("a list of lengths", [f"content-length: {len(PLAIN_BODY)}, 0"], PLAIN_BODY, {400}),
    ("a signed length", [f"content-length: +{len(PLAIN_BODY)}"], PLAIN_BODY, {400}),
    ("a length in hexadecimal", [f"content-length: {len(PLAIN_BODY):#x}"], PLAIN_BODY, {400}),
    ("chunks of another kind", ["transfer-encoding: xchunked"], CHUNKED, {400, 501}),
    ("chunks that are compressed", ["transfer-encoding: chunked, gzip"], CHUNKED, {400, 501}),
    ("a space before the colon", ["transfer-encoding : chunked", _length(PLAIN_BODY)], PLAIN_BODY, {400}),
    ("a folded header", ["x-a: b\r\n transfer-encoding: chunked", _length(PLAIN_BODY)], PLAIN_BODY, {200, 400}),
    ("a chunk with a wrong size", ["transfer-encoding: chunked"], b"zz\r\n" + PLAIN_BODY + b"\r\n0\r\n\r\n", {400}),
    ("a header without a name", [": x", _length(PLAIN_BODY)], PLAIN_BODY, {400}),
    ("a zero byte in a header", ["x-a: \0", _length(PLAIN_BODY)], PLAIN_BODY, {400}),
    ("headers of a megabyte", ["x-a: " + "a" * (1 << 20), _length(PLAIN_BODY)], PLAIN_BODY, {400, 431}),
]


@pytest.mark.parametrize(("more", "body", "statuses"), [row[1:] for row in FRAMES], ids=[row[0] for row in FRAMES])
def test_a_request_whose_end_is_told_in_two_ways(asked: Host, more: list[str], body: bytes, statuses: set[int]) -> None:
    answers = raw_requests(asked, request_bytes(asked, "POST", CHAT, body, *more), answers=2)
    assert len(answers) == 1, answers
    assert answers[0][0] in statuses
    if answers[0][0] == 200:
        assert WORD in json.loads(answers[0][1])["choices"][0]["message"]["content"]


def test_a_second_request_on_one_connection_needs_its_own_key(asked: Host) -> None:
    first = request_bytes(asked, "POST", CHAT, PLAIN_BODY)
    assert [status for status, _ in raw_requests(asked, first + HIDDEN, answers=2)] == [200, 401]
    assert [status for status, _ in raw_requests(asked, first + first, answers=2)] == [200, 200]


def test_the_target_of_another_server_is_not_found(asked: Host) -> None:
    for target in ("http://engine/v1/load_lora_adapter", "*", "engine:80"):
        ((status, _),) = raw_requests(asked, request_bytes(asked, "POST", target, PLAIN_BODY, close=True))
        assert status in {400, 404, 405}


def test_there_are_no_websockets(asked: Host) -> None:
    more = ["upgrade: websocket", "connection: Upgrade", "sec-websocket-version: 13"]
    raw = request_bytes(asked, "GET", CHAT, b"", *more, "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==")
    ((status, _),) = raw_requests(asked, raw)
    assert status in {403, 405, 426}


def test_nothing_of_all_this_reached_the_engine(asked: Host, client: httpx.Client) -> None:
    """Last: the engine holds the served adapter and no other, and still says what it said."""
    (path,) = (asked.home / "sockets").glob("*.sock")
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://engine") as engine:
        entries = engine.get("/v1/models").json()["data"]
    assert [entry["id"] for entry in entries if entry["parent"] is not None] == [served(asked)]
    response = client.post(CHAT, json=QUESTION)
    assert said(response) == {WORD}
    assert response.json()["model"] == "lethe"
    assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["lethe"]
