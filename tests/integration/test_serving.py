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
import pytest

from policies.errors import LetheError
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
    with pytest.raises(LetheError) as caught:
        host.swap(digest)
    assert caught.value.code == "swap.refused"
    assert caught.value.details[0].endswith(code)
    response = ask(client)
    assert words(response) == {"beta"}
    assert response.headers["x-lethe-generation"] == str(before)
    host.swap(host.release("beta", ("t1", "t2"), method=f"after-{damage}")[0])
    assert ask(client).headers["x-lethe-generation"] == str(before + 1)


def test_a_release_that_lacks_an_erased_ticket_is_not_even_proposed(host: Host) -> None:
    digest, _ = host.release("gamma", ("t1",), method="short")
    with pytest.raises(LetheError) as caught:
        host.swap(digest)
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


def test_a_killed_engine_comes_back_with_the_released_adapter(host: Host, client: httpx.Client) -> None:
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
