"""What the chart brings or meets beside the services: the object store's Jobs, and the database for trying out.

The Jobs' own commands run on loopback, against moto's S3 server and a PostgreSQL server with a password.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pipelines.adapter import verify_release
from services import keys
from tests.chart.kubelet import Node, RunningPod
from tests.chart.rendering import Object, case, one, pods, render
from tests.chart.test_values import merged
from tests.integration.test_object_store import Bucket, bucket  # noqa: F401 (a fixture)
from tests.ports import free_port
from tests.postgres import Server, binary
from tests.unit.pipelines.adapter_material import make_adapter, make_material

pytestmark = pytest.mark.slow
PASSWORD = "Tryout1"


def pod(node: Node, objects: list[Object], name: str) -> RunningPod:
    (found,) = [p for p in pods(objects) if f"-{name}" in p.owner["metadata"]["name"]]
    running = RunningPod(node, found, name)
    running.directory.mkdir(parents=True, exist_ok=True)
    return running


def test_releases_are_pushed_by_one_cluster_and_fetched_by_another(tmp_path: Path, bucket: Bucket) -> None:  # noqa: F811
    host = make_material(tmp_path / "host")
    host.release0()
    host.seal(make_adapter(tmp_path / "adapter"))
    names = {path.name for path in host.releases.glob("u-*")}
    change: dict[str, Any] = {
        "objectStore": {
            "url": "s3://lethe-releases/cluster",
            "endpoint": f"http://127.0.0.1:{bucket.port}",
            "region": "us-east-1",
            "existingSecret": "objects",
            "fetch": {"enabled": True},
        },
        "networkPolicy": {"objectStoreTo": [{"ipBlock": {"cidr": "127.0.0.1/32"}}]},
    }
    objects = render(merged(case("minimal"), change))
    secrets = {
        "objects": {"access-key-id": b"test", "secret-access-key": b"test"},
        "lethe-keys": {"trust.json": keys.trust_path(host.home).read_bytes()},
    }
    ours, theirs = Node(tmp_path / "ours", secrets), Node(tmp_path / "theirs", secrets)
    shutil.copytree(host.releases, ours.claim("erasure-lethe-releases"), dirs_exist_ok=True)
    code, said = pod(ours, objects, "push").run_to_end()
    assert code == 0, said
    code, said = pod(theirs, objects, "fetch").run_to_end()
    assert code == 0, said
    fetched = theirs.claim("erasure-lethe-releases")
    assert {path.name for path in fetched.iterdir()} == names
    assert {verify_release(fetched / name, host.trust).name for name in names} == names


@pytest.fixture
def server(tmp_path: Path) -> Iterator[int]:
    """The port of a server as the image's entry point leaves it: a user with a password, a database of that name."""
    user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    directory = Path(tempfile.mkdtemp(prefix="lethe-pg-", dir="/tmp"))
    password = directory / "password"
    password.write_text(PASSWORD)
    if os.geteuid() == 0:
        shutil.chown(directory, user)
        shutil.chown(password, user)
    made, port, data = Server(directory, user), free_port(), str(directory / "data")
    try:
        made.run("initdb", "-D", data, "-A", "scram-sha-256", "-U", "lethe", f"--pwfile={password}", "--no-sync")
        options = f"-c listen_addresses=127.0.0.1 -p {port} -k {directory} -c fsync=off"
        made.run("pg_ctl", "start", "-w", "-s", "-D", data, "-l", str(directory / "log"), "-o", options)
        with psycopg.connect(address(port, "postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE lethe")
        yield port
        made.run("pg_ctl", "stop", "-w", "-s", "-D", data, "-m", "immediate")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def address(port: int, database: str) -> str:
    return f"postgresql://lethe:{PASSWORD}@127.0.0.1:{port}/{database}"


def migration(node: Node, port: int) -> RunningPod:
    """The try-out's migration; there are no names here, so that the server's is replaced by its address."""
    running = pod(node, render(case("tryout")), "migrations")
    for variable in running.pod.spec["containers"][0]["env"]:
        if "value" in variable:
            variable["value"] = variable["value"].replace("@erasure-lethe-postgresql:5432", f"@127.0.0.1:{port}")
    return running


def test_the_database_for_trying_out_is_migrated_once_it_is_there(tmp_path: Path, server: int) -> None:
    node = Node(tmp_path, {"lethe-tryout": {"password": PASSWORD.encode()}})
    objects = render(case("tryout"))
    code, said = migration(node, free_port()).run_to_end()
    assert code != 0, "while nobody listens the Job fails, and is tried again"
    assert "[store.unreachable]" in said
    container = one(objects, "StatefulSet", "-postgresql")["spec"]["template"]["spec"]["containers"][0]
    program, *arguments = container["readinessProbe"]["exec"]["command"]
    asked = [str(Path(binary("initdb")).with_name(program)), *arguments]
    assert subprocess.run(asked, env={"PGPORT": str(server)}, check=False, capture_output=True).returncode == 0
    with psycopg.connect(address(server, "lethe"), autocommit=True) as connection:
        connection.execute(one(objects, "ConfigMap", "-postgresql")["data"]["jobs.sql"])
    for _ in range(2):
        code, said = migration(node, server).run_to_end()
        assert code == 0, said
    for database, table in (("lethe", "public.desired_state"), ("lethe_jobs", "dbos.workflow_status")):
        with psycopg.connect(address(server, database)) as connection:
            assert connection.execute("SELECT to_regclass(%s)", (table,)).fetchone() != (None,)
