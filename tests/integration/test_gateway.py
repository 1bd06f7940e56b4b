"""Limits of the gateway on the running service; the engine is stopped in mid-air where it has to be slow."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import pytest

from services import auth
from tests.integration.serving_host import Host, serving_host, wait_until

pytestmark = pytest.mark.slow

CHAT = "/v1/chat/completions"
QUESTION: dict[str, Any] = {"model": "lethe", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
LIMITS = {
    "LETHE_SERVING__REQUEST_TIMEOUT_S": "4",
    "LETHE_SERVING__BODY_TIMEOUT_S": "1",
    "LETHE_SERVING__MAX_CONCURRENCY": "2",
    "LETHE_SERVING__MAX_WAITING": "1",
    "LETHE_SERVING__RATE_PER_MINUTE": "12",
}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with serving_host(tmp_path_factory.mktemp("limits") / "home") as running:
        running.begin()
        running.start(**LIMITS)
        running.wait_ready()
        yield running


@pytest.fixture
def token(host: Host) -> str:
    """A key of the test's own: rates are counted for each."""
    with host.store.write() as session:
        return auth.create_key(session, name="limits", scopes=["infer"], actor="system:test").token


@pytest.fixture
def client(host: Host, token: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=host.url, timeout=60, headers={"authorization": f"Bearer {token}"}) as made:
        yield made


@contextmanager
def stopped_engine(host: Host) -> Iterator[None]:
    """It takes requests and does nothing, for less time than a replica needs to give it up."""
    (engine,) = host.children("services.serving.engine")
    os.kill(engine, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(engine, signal.SIGCONT)


def test_an_answer_that_takes_too_long_is_504_and_leaves_nothing_behind(host: Host, client: httpx.Client) -> None:
    with client.stream("POST", CHAT, json={**QUESTION, "max_tokens": 480, "stream": True}) as response:
        lines = response.iter_lines()
        next(lines)
        with stopped_engine(host):
            late = client.post(CHAT, json=QUESTION)
            *_, last = (line for line in lines if line)
    assert late.status_code == 504
    assert late.json()["error"]["code"] == "serving.timeout"
    assert (
        '"serving.timeout"' in last or last == "data: [DONE]"
    )  # the engine may have said it all before it was stopped
    assert client.post(CHAT, json=QUESTION).status_code == 200


def test_more_than_the_gateway_takes_on_is_429(host: Host, token: str) -> None:
    answers: list[httpx.Response] = []

    def ask() -> None:
        answers.append(httpx.post(host.url + CHAT, json=QUESTION, headers=headers, timeout=60))

    headers = {"authorization": f"Bearer {token}"}
    with stopped_engine(host):
        threads = [threading.Thread(target=ask) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(answer.status_code for answer in answers) == [429, 429, 504, 504, 504]
    for answer in answers:
        if answer.status_code == 429:
            assert answer.json()["error"]["code"] == "serving.busy"
            assert answer.headers["retry-after"] == "1"
    assert httpx.post(host.url + CHAT, json=QUESTION, headers=headers, timeout=60).status_code == 200


def test_a_key_that_asks_too_often_is_429_and_another_is_not(host: Host, client: httpx.Client) -> None:
    statuses: list[int] = []
    while 429 not in statuses and len(statuses) < 40:
        response = client.post(CHAT, json={**QUESTION, "max_tokens": 1})
        statuses.append(response.status_code)
    assert set(statuses) == {200, 429}
    assert response.json()["error"]["code"] == "serving.rate_limited"
    assert 1 <= int(response.headers["retry-after"]) <= 5
    assert response.headers["x-ratelimit-limit-requests"] == "12"
    assert response.headers["x-ratelimit-remaining-requests"] == "0"
    key = client.headers["authorization"].removeprefix("Bearer ")
    with openai.OpenAI(base_url=f"{host.url}/v1", api_key=key, max_retries=0) as asking:

        def ask() -> None:
            while True:
                asking.chat.completions.create(**QUESTION)

        with pytest.raises(openai.RateLimitError):
            ask()
    assert client.get("/v1/models").status_code == 200
    with host.client() as other:
        assert other.post(CHAT, json=QUESTION).headers["x-ratelimit-remaining-requests"] == "11"


def test_a_body_that_comes_too_slowly_is_408_and_the_connection_ends(host: Host, token: str) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", host.port), timeout=30) as connection:
        connection.sendall(f"{head}content-length: 100\r\n\r\n{{".encode())
        raw = b"".join(iter(lambda: connection.recv(65536), b""))
    assert raw.startswith(b"HTTP/1.1 408")
    assert b'"request.too_slow"' in raw


def test_a_client_that_leaves_before_its_answer_frees_its_turn(host: Host, client: httpx.Client) -> None:
    key = client.headers["authorization"]
    body = b'{"model": "lethe", "messages": [{"role": "user", "content": "hello"}]}'
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: {key}\r\ncontent-type: application/json\r\n"
    with stopped_engine(host):
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", host.port), timeout=30) as connection:
                connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        # While the three are still there this one is refused at once; then it waits for the engine.
        wait_until(lambda: client.post(CHAT, json=QUESTION).status_code == 504, 30, "a free turn")
    wait_until(lambda: client.post(CHAT, json=QUESTION).status_code == 200, 30, "answered")
