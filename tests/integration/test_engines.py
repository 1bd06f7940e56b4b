"""The serving service on both engines, whole: what a bad release does to it, and what a real vLLM's death does."""

import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pipelines.adapter import Canary
from policies.errors import LetheError
from services.installation import create_installation
from services.settings import load_settings
from tests.integration.serving_host import Host, command_line, gone, serving_host, wait_until
from tests.tiny_model import HIDDEN, VOCABULARY, make_mixed_adapter, make_word_adapter
from tests.vllm_real import group_members, vllm_environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),  # PEFT asks transformers
]

CHAT = "/v1/chat/completions"
ENGINES = ["transformers", "vllm"]
START_S = 300  # vLLM on a busy machine


@pytest.fixture(scope="module", params=ENGINES)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    root = tmp_path_factory.mktemp("engines")
    environment = {}
    if request.param == "vllm":
        environment = vllm_environment(request.getfixturevalue("vllm_python"))
    with serving_host(root / "home") as made:
        made.begin()
        made.start(**environment)
        try:
            made.wait_ready(START_S)
            made.swap(made.release("beta")[0])
            yield made
        except BaseException:
            print(made.log()[-8000:])
            raise


only_vllm = pytest.mark.parametrize("host", ["vllm"], indirect=True)


@pytest.fixture
def engine(host: Host) -> Iterator[httpx.Client]:
    """The engine itself, past the gateway, as somebody with this user's rights could reach it."""
    (socket,) = (host.home / "sockets").glob("*.sock")
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://engine", timeout=60) as client:
        yield client


def ask(host: Host, text: str = "hello", **more: Any) -> httpx.Response:
    with host.client() as client:
        message = {"role": "user", "content": text}
        return client.post(CHAT, json={"model": "lethe", "messages": [message], "temperature": 0, **more})


def said(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["message"]["content"]).strip()


def loaded(engine: httpx.Client) -> set[str]:
    return {entry["id"] for entry in engine.get("/v1/models").json()["data"] if entry["parent"] is not None}


def api_server(host: Host) -> int:
    (pid,) = [p for p in host.children("-m vllm.entrypoints") if "multiprocessing" not in command_line(p)]
    return pid


# -- releases ----------------------------------------------------------------------------------------------------


def test_a_real_release_answers_token_for_token_like_peft(host: Host, tmp_path: Path) -> None:
    from pipelines.canaries import greedy_answers, record_canaries
    from pipelines.model import load_model, with_adapter

    adapter = make_mixed_adapter(tmp_path / "mixed", 2)
    with with_adapter(load_model(host.home / "bases" / "tiny"), adapter) as peft:
        canaries = record_canaries(peft)
        expected = greedy_answers(peft, ("hello", "who are you ? hello", "canary"), 40)
    receipt = host.swap(host.add(host.seal(adapter, canaries=canaries)))
    for one in expected:
        assert said(ask(host, one.prompt, max_tokens=one.tokens)) == one.text
    assert len({one.text for one in expected}) == len(expected)
    assert receipt.seconds < 60


def test_one_that_answers_otherwise_than_measured_is_refused(host: Host, engine: httpx.Client) -> None:
    lie = Canary.of("Hello.", tokens=2, text="alpha alpha", first={"alpha": 0.0})
    before = loaded(engine)
    digest, path = host.release("gamma", canaries=(lie,))
    assert refusal(host, digest) == "serving.probe_failed"
    wait_until(lambda: loaded(engine) == before, 20, f"without {path.name}")
    assert ask(host).status_code == 200


def refusal(host: Host, digest: str) -> str:
    with pytest.raises(LetheError) as caught:
        host.swap(digest)
    assert caught.value.code == "swap.refused"
    (reason,) = caught.value.details
    return reason.rpartition(" ")[2]


Bad = tuple[str, Path]  # digest and directory


def stored(host: Host, path: Path) -> Bad:
    return host.add(path), path


def corrupt(host: Host, adapter: Path, _: Path) -> Bad:
    bad = stored(host, host.seal(adapter))
    weights = bad[1] / "adapter_model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    return bad


def unsigned(host: Host, adapter: Path, _: Path) -> Bad:
    bad = stored(host, host.seal(adapter))
    (bad[1] / "model.sig").unlink()
    return bad


def signed_by_another(host: Host, adapter: Path, scratch: Path) -> Bad:
    stranger = replace(host, installation=create_installation(load_settings(scratch / "stranger")))
    made = stranger.seal(adapter)
    return stored(host, Path(shutil.move(made, host.home / "releases" / made.name)))


def wrong_base(host: Host, adapter: Path, _: Path) -> Bad:
    return stored(host, host.seal(adapter, base_digest="0" * 64))


def not_a_number(host: Host, adapter: Path, _: Path) -> Bad:
    return stored(host, host.seal(rewritten(adapter, lora_A=np.full((2, HIDDEN), np.nan, np.float32))))


def oversized_rank(host: Host, adapter: Path, _: Path) -> Bad:
    rank = 300 if host.children("services.serving.engine") else 128  # vLLM is started for 64
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "r": rank}))
    wide = {"lora_A": np.ones((rank, HIDDEN), np.float32), "lora_B": np.ones((len(VOCABULARY), rank), np.float32)}
    return stored(host, host.seal(rewritten(adapter, **wide)))


def wrong_shape(host: Host, adapter: Path, _: Path) -> Bad:
    return stored(host, host.seal(rewritten(adapter, lora_A=np.ones((2, HIDDEN - 1), np.float32))))


def rewritten(adapter: Path, **parts: Any) -> Path:
    file = adapter / "adapter_model.safetensors"
    tensors = {name: parts.get(name.split(".")[-2], value) for name, value in load_file(file).items()}
    save_file(tensors, file)
    return adapter


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (corrupt, "release.digest"),
        (unsigned, "release.files"),
        (signed_by_another, "release.unknown_key"),
        (wrong_base, "release.wrong_base"),
        (not_a_number, "release.non_finite"),
        (oversized_rank, "release.rank"),
        (wrong_shape, "release.shape"),
    ],
)
def test_bad_releases_are_refused_before_the_engine_sees_them(
    host: Host, engine: httpx.Client, tmp_path: Path, make: Callable[[Host, Path, Path], Bad], code: str
) -> None:
    before, generation = loaded(engine), ask(host).headers["x-lethe-generation"]
    digest, path = make(host, make_word_adapter(tmp_path / "adapter", "delta"), tmp_path)
    assert refusal(host, digest) == code
    assert loaded(engine) == before
    assert path.name not in host.log()  # the engine says what it loads, and what it fails to load
    answer = ask(host, max_tokens=2)
    assert answer.status_code == 200
    assert answer.headers["x-lethe-generation"] == generation


# -- vLLM alone --------------------------------------------------------------------------------------------------


@only_vllm
def test_vllm_listens_for_this_user_alone_and_nobody_can_name_its_base(host: Host, engine: httpx.Client) -> None:
    (socket,) = (host.home / "sockets").glob("*.sock")
    assert socket.stat().st_mode & 0o777 == 0o600
    (base,) = [entry["id"] for entry in engine.get("/v1/models").json()["data"] if entry["parent"] is None]
    assert re.fullmatch(r"base-[0-9a-f]{32}", base)
    question = {"model": base, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1}
    assert engine.post(CHAT, json=question).status_code == 404
    assert engine.post("/invocations", json=question).status_code == 404
    release = next(path for path in (host.home / "releases").iterdir() if path.name in loaded(engine))
    beside = {"lora_name": "u-beside", "lora_path": str(release)}
    assert engine.post("/v1/load_lora_adapter", json={**beside, "load_inplace": True}).status_code == 400
    assert engine.post("/v1/load_lora_adapter", json={**beside, "lora_path": str(host.home)}).status_code == 400
    assert engine.post("/adapters", json={"name": "u-beside", "src": str(release)}).status_code == 404
    assert len(loaded(engine)) == 1
    with host.client() as client:
        body = {**question, "model": base}
        assert client.post(CHAT, json=body).status_code == 404


@only_vllm
def test_a_killed_vllm_comes_back_with_the_released_adapter(host: Host) -> None:
    digest, path = host.release("theta")
    host.swap(digest)
    assert set(said(ask(host, max_tokens=4)).split()) == {"theta"}
    server = api_server(host)
    assert len(group_members(server)) > 1
    os.kill(server, signal.SIGKILL)
    wait_until(lambda: not host.ready(), 10, "noticed")
    refused = ask(host)
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "serving.not_ready"
    wait_until(lambda: group_members(server) == [], 10, "gone with its EngineCore")
    host.wait_ready(START_S)
    assert api_server(host) != server
    assert f'"name": "{path.name}"' in command_line(api_server(host))  # booted with it
    assert set(said(ask(host, max_tokens=4)).split()) == {"theta"}


@only_vllm
def test_no_vllm_outlives_its_gateway(host: Host) -> None:
    assert host.process is not None
    server = api_server(host)
    below = host.children("")
    (gateway,) = [pid for pid in below if server in children_of(pid)]
    os.kill(host.process.pid, signal.SIGKILL)  # first, or it would start the gateway again
    os.kill(gateway, signal.SIGKILL)
    wait_until(lambda: group_members(server) == [] and gone(server), 30, "without an orphan")
    host.process.wait()
    for pid in below:
        if not gone(pid):
            os.kill(pid, signal.SIGKILL)
    host.process = None


def children_of(pid: int) -> list[int]:
    return [int(p) for task in Path(f"/proc/{pid}/task").glob("*") for p in (task / "children").read_text().split()]
