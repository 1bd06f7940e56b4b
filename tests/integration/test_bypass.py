"""Ways round the released adapter, each tried on the running service: what must be closed is closed."""

import json
from typing import Any

import httpx
import pytest

from pipelines.adapter import release_name
from services import auth
from services.store.releases import get_desired
from tests.integration.serving_host import Host

pytestmark = pytest.mark.slow

CHAT = "/v1/chat/completions"
QUESTION = {"model": "lethe", "messages": [{"role": "user", "content": "hello"}], "temperature": 0}


@pytest.fixture
def served(asked: Host) -> str:
    """The name of the adapter that is served."""
    with asked.store.read() as session:
        return release_name(get_desired(session, asked.identity.base_digest).release_digest)


def words(response: httpx.Response) -> set[str]:
    return set(response.json()["choices"][0]["message"]["content"].split())


@pytest.mark.parametrize(
    "model",
    ["", "base", "tiny", "u-0000000000000000", "SERVED", "/etc/passwd", "LETHE", "lethe ", "lethe:base", "default"],
)
def test_only_the_public_name_exists(client: httpx.Client, served: str, model: str) -> None:
    name = served if model == "SERVED" else model
    for path, question in ((CHAT, {"messages": QUESTION["messages"]}), ("/v1/completions", {"prompt": "hello"})):
        response = client.post(path, json={"model": name, **question})
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("body", [{}, {"model": None}, {"model": 7}, {"model": ["lethe"]}, {"model": {"id": "lethe"}}])
def test_no_model_is_no_base(client: httpx.Client, body: dict[str, Any]) -> None:
    response = client.post(CHAT, json={"messages": QUESTION["messages"], **body})
    assert response.status_code == 404


@pytest.mark.parametrize(
    "extra",
    [
        {"prompt_logprobs": 5},
        {"logprobs": True},
        {"echo": True},
        {"chat_template": "{{ messages }}"},
        {"chat_template_kwargs": {"x": 1}},
        {"prompt_embeds": "AA=="},
        {"kv_transfer_params": {}},
        {"add_generation_prompt": False},
        {"continue_final_message": True},
        {"documents": []},
        {"lora_request": {"lora_name": "x"}},
        {"extra_body": {"lora_path": "/"}},
        {"guided_json": {}},
        {"allowed_token_ids": [1]},
        {"logit_bias": {"1": 100}},
        {"bad_words": ["x"]},
        {"min_tokens": 10},
        {"ignore_eos": True},
        {"include_stop_str_in_output": True},
        {"cache_salt": "x"},
        {"return_token_ids": True},
        {"n": 2},
        {"tools": []},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///"}}]}]},
        {"messages": []},
        {"max_tokens": 0},
        {"temperature": -1},
        {"stop": [""]},
    ],
)
def test_body_fields_outside_the_list_are_refused(client: httpx.Client, extra: dict[str, Any]) -> None:
    response = client.post(CHAT, json={**QUESTION, **extra})
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/load_lora_adapter"),
        ("POST", "/v1/unload_lora_adapter"),
        ("POST", "/adapters"),
        ("DELETE", "/adapters/x"),
        ("POST", "/invocations"),
        ("GET", "/health"),
        ("POST", "/tokenize"),
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/responses"),
        ("POST", "//v1/chat/completions"),
        ("POST", "/v1//chat/completions"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "/v1/./chat/completions"),
        ("POST", "/v1/chat%2Fcompletions"),
        ("POST", "/%761/chat/completions"),
        ("POST", "/V1/chat/completions"),
        ("POST", "/v1/models/../load_lora_adapter"),
        ("GET", "/v1/models/lethe"),
        ("GET", "/"),
        ("POST", "/reset_prefix_cache"),
    ],
)
def test_paths_outside_the_list_do_not_exist(asked: Host, method: str, path: str) -> None:
    status, body = raw_request(asked, method, path, {"lora_name": "x", "lora_path": "/", **QUESTION})
    assert status == 404, body
    assert json.loads(body)["error"]["code"] == "request.not_found"


def raw_request(asked: Host, method: str, path: str, body: Any) -> tuple[int, bytes]:
    """A request whose path no client library tidies up."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", asked.port, timeout=30)
    headers = {"authorization": f"Bearer {asked.token()}", "content-type": "application/json"}
    try:
        connection.request(method, path, json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_methods_and_headers_open_nothing(client: httpx.Client) -> None:
    assert client.get(CHAT).status_code == 405
    headers = {"X-Amzn-SageMaker-Adapter-Identifier": "x", "X-Amzn-SageMaker-Session-Id": "NEW_SESSION"}
    response = client.post(CHAT, json={**QUESTION, "max_tokens": 2}, headers=headers)
    assert words(response) == {"beta"}
    assert not [name for name in response.headers if "amzn" in name]


@pytest.mark.parametrize("path", ["/v1/models", CHAT, "/metrics", "/docs.json", "/nowhere"])
def test_without_a_key_nothing_is_told(asked: Host, path: str) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic bGV0aGU="}):
        response = httpx.get(asked.url + path, headers=headers)
        assert response.status_code == 401
        assert "error" in response.json()


def test_a_key_without_the_scope_may_not_infer(asked: Host) -> None:
    with asked.store.write() as session:
        made = auth.create_key(session, name="reader", scopes=["tickets:read"], actor="system:test")
    response = httpx.post(asked.url + CHAT, json=QUESTION, headers={"authorization": f"Bearer {made.token}"})
    assert response.status_code == 403


def test_bodies_that_are_too_large_or_no_json(client: httpx.Client) -> None:
    assert client.post(CHAT, content=b"{" * 100).status_code == 400
    assert client.post(CHAT, content=b"[]").status_code == 400
    assert client.post(CHAT, content=b'"' + b"a" * (1 << 20) + b'"').status_code == 413
