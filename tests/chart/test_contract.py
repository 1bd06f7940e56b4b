"""The rendered pods start our real services: command, arguments, variables, ports and probes, on PostgreSQL.

In the order of an installation: keys, migration, release 0, intake, worker, gateway with its engine, `helm test`, audit
check, and the end of a pod.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from services.store import dialect
from tests.chart.kubelet import ROOT, Node, RunningPod
from tests.chart.rendering import case, one, pods, render
from tests.chart.test_values import merged
from tests.postgres import postgres_server
from tests.tiny_model import make_tiny_base
from tests.vllm_real import EXTRA_ARGS, KV_CACHE_BYTES, LEAN

pytestmark = pytest.mark.slow
VALUES = merged(
    case("minimal"),
    {
        "config": {"base": {"dtype": "float32"}, "serving": {"model_names": ["ours"]}},
        "serving": {"preStopSeconds": 1, "drainSeconds": 300},
        "unlearning": {"gpu": {"count": 0}},
    },
)
OBJECTS = render(VALUES)


def made_keys(home: Path) -> dict[str, bytes]:
    """The keys' Secret, made as the README says: `lethe init` on a safe machine, without the operator's API key."""
    environment = {"PATH": "/usr/bin:/bin", "LETHE_HOME": str(home)}
    command = [sys.executable, "-m", "services.cli", "init"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=300)
    kept = ("kek", "lookup", "digest", "suppression", "trust.json")
    return {f.name: f.read_bytes() for f in (home / "keys").iterdir() if f.name in kept or f.suffix == ".pem"}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    directory = tmp_path_factory.mktemp("node")
    with postgres_server() as url:
        with psycopg.connect(dialect.plain_url(url), autocommit=True) as connection:
            connection.execute("CREATE DATABASE jobs")
        jobs = url.replace("/postgres?", "/jobs?")
        secrets = {
            "lethe-database": {"store-url": url.encode(), "jobs-url": jobs.encode()},
            "lethe-keys": made_keys(tmp_path_factory.mktemp("safe") / "home"),
        }
        node = Node(directory, secrets)
        make_tiny_base(node.claim("erasure-lethe-bases") / "ours")
        yield node


def pod(node: Node, name: str) -> RunningPod:
    """The pod whose owner's name holds a word."""
    (found,) = [p for p in pods(OBJECTS) if f"-{name}" in p.owner["metadata"]["name"]]
    running = RunningPod(node, found, name)
    running.directory.mkdir(parents=True, exist_ok=True)
    return running


@pytest.fixture(scope="module")
def migrated(node: Node) -> Node:
    for _ in range(2):  # an upgrade runs it again
        code, said = pod(node, "migrations").run_to_end()
        assert code == 0, said
    return node


@pytest.fixture(scope="module")
def begun(migrated: Node) -> Node:
    code, said = pod(migrated, "lineage").run_to_end()
    assert code == 0, said
    return migrated


@pytest.fixture(scope="module")
def intake(begun: Node) -> Iterator[RunningPod]:
    yield from started(pod(begun, "intake"), "intake")


@pytest.fixture(scope="module")
def serving(begun: Node) -> Iterator[RunningPod]:
    yield from started(pod(begun, "serving"), "gateway")


def started(running: RunningPod, name: str) -> Iterator[RunningPod]:
    try:
        running.start()
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            running.wait_probe(name, kind)
        yield running
    finally:
        running.kill()


def table(node: Node, query: str) -> list[Any]:
    url = dialect.plain_url(node.secrets["lethe-database"]["store-url"].decode())
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def test_release_0_is_signed_once(begun: Node) -> None:
    assert [row[0] for row in table(begun, "SELECT generation FROM desired_state")] == [0]
    assert len(list(begun.claim("erasure-lethe-releases").glob("u-*"))) == 1


def test_no_api_key_is_made_by_anybody(begun: Node) -> None:
    """An installation's first key is made by a person, not left in the file system of a pod that ended."""
    assert table(begun, "SELECT count(*) FROM api_keys") == [(0,)]


def test_keys_are_for_this_user_alone_and_private_ones_are_not_given_to_serving(
    intake: RunningPod, serving: RunningPod
) -> None:
    keys = intake.path(intake.container("intake"), "/run/lethe/keys")
    assert {oct(file.stat().st_mode & 0o777) for file in keys.iterdir() if file.suffix == ".pem"} == {"0o600"}
    for words in (["audit", "rotate-key", "audit"], ["key", "rotate-kek"]):  # the new key would end with the pod
        code, said = intake.run("intake", ["python", "-m", "services.cli", *words])
        assert code != 0
        assert "keys.copied" in said
    given = serving.path(serving.container("gateway"), "/run/lethe/keys")
    assert {file.name for file in given.iterdir()} == {"trust.json", "suppression"}


def test_intake_passes_its_probes_and_answers_nobody_without_a_key(intake: RunningPod) -> None:
    url = f"http://127.0.0.1:{intake.node.port(8700)}"
    assert httpx.get(f"{url}/v1/tickets", trust_env=False).status_code == 401


def test_the_worker_passes_its_probes(begun: Node) -> None:
    running_lease = "SELECT count(*) FROM worker_leases WHERE role = 'unlearning' AND lease_until > now()"
    for running in started(pod(begun, "unlearning"), "unlearning"):
        assert table(begun, running_lease) == [(1,)]
        page = metrics(running, "unlearning", 8701)
        assert 'lethe_gate_rejections_total{lethe_threshold="kfr"} 0.0' in page, "its first rejection is an increase"
        running.stop()
        assert table(begun, running_lease) == [(0,)], "let go of; the reaper of an intake deletes the row"


def metrics(running: RunningPod, container: str, port: int) -> str:
    """What Prometheus reads there, with a key that the chart's README makes."""
    words = ["python", "-m", "services.cli", "key", "create", "--name", "prometheus", "--scope", "ops:read"]
    code, key = running.run(container, words)
    assert code == 0, key
    headers = {"authorization": f"Bearer {key.split()[-1]}"}
    return httpx.get(f"http://127.0.0.1:{running.node.port(port)}/metrics", headers=headers, trust_env=False).text


def test_what_keda_asks_is_what_waits_for_the_worker(migrated: Node) -> None:
    query = one(render(case("ha")), "ScaledObject")["spec"]["triggers"][0]["metadata"]["query"]
    assert table(migrated, query) == [(0,)]


def asked(intake: RunningPod) -> httpx.Response:
    """A question to whoever serves, with a key that the command of the notes makes."""
    words = ["python", "-m", "services.cli", "key", "create", "--name", "x", "--scope", "infer"]
    code, key = intake.run("intake", words)
    assert code == 0, key
    return httpx.post(
        f"http://127.0.0.1:{intake.node.port(8702)}/v1/chat/completions",
        json={"model": "ours", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4},
        headers={"authorization": f"Bearer {key.split()[-1]}"},
        timeout=60,
        trust_env=False,
    )


def test_serving_answers_from_release_0_at_the_address_of_its_pod(intake: RunningPod, serving: RunningPod) -> None:
    engine = serving.container("engine")
    socket = serving.path(engine, "/run/lethe/sockets") / "engine.sock"
    assert oct(socket.stat().st_mode & 0o777) == "0o600"
    address = f"http://127.0.0.1:{serving.node.port(8702)}"
    assert table(serving.node, "SELECT address, state, generation FROM replicas") == [(address, "ready", 0)]
    answer = asked(intake)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-lethe-generation"] == "0"


def test_helm_test_passes(intake: RunningPod, serving: RunningPod) -> None:
    test = pod(intake.node, "test")
    test.pod.spec["containers"][0]["args"] = ["http://127.0.0.1:8700", "http://127.0.0.1:8702"]  # no names here
    code, said = test.run_to_end()
    assert code == 0, said
    assert said.count("as it should be") == 4


def test_a_gateway_that_ends_lets_go_of_its_lease_and_ends_before_its_engine(serving: RunningPod) -> None:
    socket = serving.path(serving.container("engine"), "/run/lethe/sockets") / "engine.sock"
    serving.stop()
    assert {name: process.returncode for name, process in serving.processes.items()}["engine"] == 0
    assert not socket.exists()
    assert table(serving.node, "SELECT count(*) FROM replicas WHERE lease_until > now()") == [(0,)]


def test_a_real_vllm_beside_its_gateway_answers_from_release_0(
    intake: RunningPod, begun: Node, vllm_python: Path
) -> None:
    """Its image's `python3` is that of the environment which `make vllm` makes."""
    change: dict[str, Any] = {
        "config": {"serving": {"engine": "vllm", "vllm": {"kv_cache_bytes": KV_CACHE_BYTES}}},
        "serving": {"engine": {"env": [{"name": name, "value": value} for name, value in LEAN.items()]}},
    }
    change["config"]["serving"]["vllm"]["extra_args"] = list(EXTRA_ARGS)
    (found,) = [p for p in pods(render(merged(VALUES, change))) if p.name.endswith("-serving")]
    running = RunningPod(begun, found, "vllm")
    home = running.directory / "volumes" / "home"
    home.mkdir(parents=True)
    claim = begun.claim("erasure-lethe-releases")
    shutil.move(claim, home / "releases")  # the guard follows links, and a cluster's mounts are none
    claim.symlink_to(home / "releases")
    programs = begun.directory / "vllm-image"
    programs.mkdir()
    (programs / "python3").write_text(f'#!/bin/sh\nexec {vllm_python} "$@"\n')
    (programs / "python3").chmod(0o755)
    begun.programs["vllm/vllm-openai"] = programs
    for pod_of_vllm in started(running, "gateway"):
        socket = pod_of_vllm.path(pod_of_vllm.container("engine"), "/run/lethe/sockets") / "engine.sock"
        assert oct(socket.stat().st_mode & 0o077) == "0o0"
        answer = asked(intake)
        assert answer.status_code == 200, answer.text


def test_the_audit_check_ends_well_and_not_when_the_chain_is_broken(begun: Node) -> None:
    code, said = pod(begun, "audit").run_to_end()
    assert code == 0, said
    assert "The log is right." in said
    url = dialect.plain_url(begun.secrets["lethe-database"]["store-url"].decode())
    with psycopg.connect(url) as connection:
        connection.execute(
            "UPDATE audit_entries SET kind = 'ticket.closed' WHERE seq = (SELECT min(seq) + 1 FROM audit_entries)"
        )
    code, said = pod(begun, "audit").run_to_end()
    assert code != 0
    assert "NOT RIGHT" in said or "audit." in said
