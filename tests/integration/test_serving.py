"""The serving service as it runs: BentoML, gateway, engine and store are real."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
import pytest

from policies.errors import LetheError
from services import auth
from tests.integration.serving_host import Host, gone, serving_host, wait_until

pytestmark = pytest.mark.slow

CHAT = "/v1/chat/completions"
QUESTION = {"model": "lethe", "messages": [{"role": "user", "content": "hello"}], "temperature": 0}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with serving_host(tmp_path_factory.mktemp("serving") / "home") as running:
        running.begin()
        running.start(LETHE_SERVING__LEASE_S="6")
        try:
            running.wait_ready()
        except AssertionError:
            print(running.log()[-8000:])
            raise
        yield running


@pytest.fixture
def client(host: Host) -> Iterator[httpx.Client]:
    with host.client() as made:
        yield made


def ask(client: httpx.Client, **more: Any) -> httpx.Response:
    return client.post(CHAT, json={**QUESTION, "max_tokens": 4, **more})


def words(response: httpx.Response) -> set[str]:
    return set(response.json()["choices"][0]["message"]["content"].split())


def test_release_0_is_served_before_the_first_erasure(client: httpx.Client) -> None:
    response = ask(client)
    assert response.status_code == 200
    assert response.headers["x-lethe-generation"] == "0"
    assert response.json()["model"] == "lethe"
    assert [m["id"] for m in client.get("/v1/models").json()["data"]] == ["lethe"]


def test_the_gateway_processes_never_import_torch(host: Host) -> None:
    check = (
        "import services.serving.service, services.serving.swap, pipelines.adapter, sys; "
        "bad = {'torch', 'transformers', 'peft'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", check], check=True, env={**os.environ, "LETHE_HOME": str(host.home)})
    assert host.process is not None
    (engine,) = host.children("services.serving.engine")
    with_torch = [pid for pid in (host.process.pid, *host.children("")) if "libtorch" in maps(pid)]
    assert with_torch == [engine]


def maps(pid: int) -> str:
    with open(f"/proc/{pid}/maps") as file:
        return file.read()


# -- swaps under load --------------------------------------------------------------------------------------------


@dataclass
class Load:
    """Clients that ask without pause, streaming and not, and note everything that is not one whole answer."""

    host: Host
    stop: threading.Event = field(default_factory=threading.Event)
    failures: list[str] = field(default_factory=list)
    answers: list[tuple[int, frozenset[str]]] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Load":
        self.threads = [threading.Thread(target=self._run, args=(i,)) for i in range(6)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def _run(self, number: int) -> None:
        with self.host.client() as client:
            while not self.stop.is_set():
                try:
                    generation, text = self._stream(client) if number % 2 else self._whole(client)
                    self.answers.append((generation, frozenset(text.split())))
                except Exception as error:
                    self.failures.append(f"{type(error).__name__}: {error}")

    def _whole(self, client: httpx.Client) -> tuple[int, str]:
        response = ask(client, max_tokens=40)
        assert response.status_code == 200, response.text
        choice = response.json()["choices"][0]
        assert choice["finish_reason"] == "length"
        return int(response.headers["x-lethe-generation"]), choice["message"]["content"]

    def _stream(self, client: httpx.Client) -> tuple[int, str]:
        body = {**QUESTION, "max_tokens": 40, "stream": True}
        with client.stream("POST", CHAT, json=body) as response:
            assert response.status_code == 200, response.read()
            lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]
        assert lines[-1] == "[DONE]"
        text = "".join(json.loads(line)["choices"][0]["delta"]["content"] for line in lines[:-1])
        return int(response.headers["x-lethe-generation"]), text


def test_swaps_under_load_lose_no_request_and_mix_no_generations(host: Host) -> None:
    first = host.generation()
    said = {}
    seconds = []
    with Load(host) as load:
        for number, word in enumerate(("alpha", "beta", "gamma", "delta", "alpha", "beta")):
            digest, _ = host.release(word, ("t1", "t2"))
            receipt = host.swap(digest)
            assert [r.digest for r in receipt.replicas] == [digest]
            said[first + 1 + number] = word
            seconds.append(receipt.seconds)
            time.sleep(0.5)
    print(f"swaps under load: {[round(s, 3) for s in seconds]} s; {len(load.answers)} answers")
    assert load.failures == []
    assert len(load.answers) > 20
    for generation, text in load.answers:
        if generation in said:
            assert text == {said[generation]}, (generation, text)
    assert {g for g, _ in load.answers} >= set(said)


# -- ways round --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(host: Host) -> str:
    """Something is erased; gives the name of the adapter that is served."""
    digest, path = host.release("beta", ("t1", "t2"), method="served")
    host.swap(digest)
    return path.name


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
def test_paths_outside_the_list_do_not_exist(host: Host, method: str, path: str) -> None:
    status, body = raw_request(host, method, path, {"lora_name": "x", "lora_path": "/", **QUESTION})
    assert status == 404, body
    assert json.loads(body)["error"]["code"] == "request.not_found"


def raw_request(host: Host, method: str, path: str, body: Any) -> tuple[int, bytes]:
    """A request whose path no client library tidies up."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=30)
    headers = {"authorization": f"Bearer {host.token()}", "content-type": "application/json"}
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
def test_without_a_key_nothing_is_told(host: Host, path: str) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic bGV0aGU="}):
        response = httpx.get(host.url + path, headers=headers)
        assert response.status_code == 401
        assert "error" in response.json()


def test_a_key_without_the_scope_may_not_infer(host: Host) -> None:
    with host.store.write() as session:
        made = auth.create_key(session, name="reader", scopes=["tickets:read"], actor="system:test")
    response = httpx.post(host.url + CHAT, json=QUESTION, headers={"authorization": f"Bearer {made.token}"})
    assert response.status_code == 403


def test_bodies_that_are_too_large_or_no_json(client: httpx.Client) -> None:
    assert client.post(CHAT, content=b"{" * 100).status_code == 400
    assert client.post(CHAT, content=b"[]").status_code == 400
    assert client.post(CHAT, content=b'"' + b"a" * (1 << 20) + b'"').status_code == 413


# -- real client -------------------------------------------------------------------------------------------------


def test_the_openai_package_is_served(host: Host, served: str) -> None:
    with openai.OpenAI(base_url=f"{host.url}/v1", api_key=host.token(), max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["lethe"]
        question: Any = [{"role": "user", "content": "who are you ?"}]
        whole = client.chat.completions.create(
            model="lethe", messages=question, max_tokens=3, temperature=0, stop=["zeta"], seed=3
        )
        assert whole.choices[0].message.content == "beta beta beta"
        assert whole.usage is not None
        assert whole.usage.completion_tokens == 3
        stream = client.chat.completions.create(
            model="lethe", messages=question, max_completion_tokens=3, temperature=0, stream=True
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        assert text == "beta beta beta"
        plain = client.completions.create(model="lethe", prompt="hello", max_tokens=2, temperature=0)
        assert plain.choices[0].text == "beta beta"
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model=served, messages=question)
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model="lethe", messages=question, max_tokens=100_000)


# -- refusals and deaths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        ("byte", "release.digest"),
        ("base", "release.wrong_base"),
        ("silent", "serving.probe_failed"),
    ],
)
def test_a_bad_release_is_refused_and_the_old_one_goes_on(
    host: Host, client: httpx.Client, damage: str, code: str
) -> None:
    host.swap(host.release("beta", ("t1", "t2"), method=f"before-{damage}")[0])
    before = host.generation()
    if damage == "byte":
        digest, path = host.release("gamma", ("t1", "t2"), method="damaged")
        weights = path / "adapter_model.safetensors"
        weights.chmod(0o644)
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    elif damage == "base":
        digest, _ = host.release("gamma", ("t1", "t2"), tokenizer_digest="0" * 64)
    else:
        digest, _ = host.release("</s>", ("t1", "t2"), method="silent")
    generation = host.request(digest)
    from services.serving.swap import wait_confirmed

    with pytest.raises(LetheError) as caught:
        wait_confirmed(host.store, host.identity.base_digest, generation, 30)
    assert caught.value.code == "swap.refused"
    assert caught.value.details[0].endswith(code)
    response = ask(client)
    assert words(response) == {"beta"}
    assert response.headers["x-lethe-generation"] == str(before)
    host.swap(host.release("beta", ("t1", "t2"), method=f"after-{damage}")[0])
    assert ask(client).headers["x-lethe-generation"] == str(before + 2)


def test_a_release_that_lacks_an_erased_ticket_is_not_even_desired(host: Host) -> None:
    digest, _ = host.release("gamma", ("t1",), method="short")
    with pytest.raises(LetheError) as caught:
        host.request(digest)
    assert caught.value.code == "release.watermark"


def test_a_client_that_leaves_frees_its_place(host: Host, client: httpx.Client) -> None:
    """Forty answers of 450 tokens are begun and left; were they generated to the end, this would take minutes."""
    for _ in range(40):
        with client.stream("POST", CHAT, json={**QUESTION, "max_tokens": 450, "stream": True}) as response:
            assert response.status_code == 200
            next(response.iter_lines())
    started = time.monotonic()
    assert ask(client).status_code == 200
    assert time.monotonic() - started < 5


def test_a_killed_engine_comes_back_with_the_released_adapter(host: Host, client: httpx.Client, served: str) -> None:
    host.swap(host.release("delta", ("t1", "t2"), method="killed")[0])
    (engine,) = host.children("services.serving.engine")
    with client.stream("POST", CHAT, json={**QUESTION, "max_tokens": 480, "stream": True}) as response:
        lines = (line for line in response.iter_lines() if line)
        assert "delta" in next(lines)
        os.kill(engine, signal.SIGKILL)
        *_, last = lines
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "serving.interrupted"
    wait_until(lambda: not host.ready(), 10, "noticed")
    refused = ask(client)
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "serving.not_ready"
    host.wait_ready()
    assert words(ask(client)) == {"delta"}
    assert host.children("services.serving.engine") != [engine]


def test_a_killed_gateway_takes_its_engine_along_and_comes_back(host: Host) -> None:
    (engine,) = host.children("services.serving.engine")
    (gateway,) = [pid for pid in host.children("") if engine in children_of(pid)]
    os.kill(gateway, signal.SIGKILL)
    wait_until(lambda: gone(engine), 20, "without an orphan")
    host.wait_ready()
    with host.client() as client:
        assert words(ask(client)) == {"delta"}


def children_of(pid: int) -> list[int]:
    from tests.integration.serving_host import descendants

    return descendants(pid)


def test_an_older_store_is_refused_even_after_a_restart(host: Host, client: httpx.Client) -> None:
    from sqlalchemy import update

    from services.store.tables import DesiredState

    old, _ = host.release("alpha", (), method="old backup")
    with host.store.read() as session:
        from services.store.releases import get_desired

        state = get_desired(session, host.identity.base_digest)
        good = (state.generation, state.release_digest, list(state.watermark))
    with host.store.write() as session:
        session.execute(update(DesiredState).values(generation=1, release_digest=old, watermark=[]))
    time.sleep(1.0)
    assert words(ask(client)) == {"delta"}
    host.stop()
    host.start(LETHE_SERVING__LEASE_S="6")
    wait_until(lambda: "serving.store_behind" in replica_state(host), 120, "refused")
    assert not host.ready()
    with host.store.write() as session:
        session.execute(update(DesiredState).values(generation=good[0], release_digest=good[1], watermark=good[2]))
    host.wait_ready()
    with host.client() as fresh:
        assert words(ask(fresh)) == {"delta"}


def replica_state(host: Host) -> str:
    from sqlalchemy import select

    from services.store.tables import Replica

    with host.store.read() as session:
        return str(session.scalars(select(Replica.state)).first())


def test_without_a_lease_nothing_is_answered(host: Host, client: httpx.Client) -> None:
    """Another process holds the write lock for longer than the lease: the replica cannot renew it."""
    with host.store.write() as session:
        session.connection()
        wait_until(lambda: ask(client).status_code == 503, 30, "fenced")
        assert host.status("/readyz") == 503
    wait_until(lambda: ask(client).status_code == 200, 60, "back")


def test_nothing_is_left_after_a_stop(host: Host) -> None:
    assert host.process is not None
    pids = [host.process.pid, *host.children("")]
    host.process.terminate()
    wait_until(lambda: all(gone(pid) for pid in pids), 30, "ended")
