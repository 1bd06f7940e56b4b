"""``lethe release push`` and ``fetch`` over S3's protocol, against moto's server."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from pipelines.adapter import FILES, verify_release
from services import keys
from tests.integration.serving_host import wait_until
from tests.ports import free_port
from tests.unit.pipelines.adapter_material import Material, make_adapter, make_material

pytestmark = pytest.mark.slow
URL = "s3://lethe-releases/production"


@dataclass
class Bucket:
    """An S3 server with one bucket, and how our command reaches it."""

    port: int

    @property
    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("LETHE_", "AWS_"))}
        given = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}", "AWS_DEFAULT_REGION": "us-east-1"}
        return {**clean, **given, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "NO_PROXY": "*"}

    def lethe(self, home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
        environment = {**self.environment, "LETHE_HOME": str(home)}
        command = [sys.executable, "-m", "services.cli", "release", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)

    def do(self, code: str) -> None:
        program = f"import boto3; s3 = boto3.client('s3'); {code}"
        subprocess.run([sys.executable, "-c", program], env=self.environment, check=True, timeout=300)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    made = Bucket(free_port())
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(made.port)]
    with (tmp_path_factory.mktemp("moto") / "log").open("wb") as log:
        server = subprocess.Popen(command, env=made.environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: _answers(made.port), 180, "the S3 server")
        made.do("s3.create_bucket(Bucket='lethe-releases')")
        yield made
    finally:
        server.terminate()
        server.wait(30)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/moto-api/", timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def host(tmp_path: Path) -> Material:
    material = make_material(tmp_path / "host")
    material.release0()
    material.seal(make_adapter(tmp_path / "adapter"))
    return material


def bare(directory: Path, like: Material) -> Path:
    """A host that is set up anew: it has the public keys, and nothing else."""
    (directory / "releases").mkdir(parents=True)
    (directory / "keys").mkdir()
    trust = keys.trust_path(like.home)
    (directory / "keys" / trust.name).write_bytes(trust.read_bytes())
    return directory


def test_a_host_that_is_set_up_anew_gets_every_release(bucket: Bucket, host: Material, tmp_path: Path) -> None:
    names = sorted(path.name for path in host.releases.glob("u-*"))
    sent = bucket.lethe(host.home, "push", URL)
    assert sent.returncode == 0, sent.stderr
    assert all(name in sent.stdout for name in names)
    assert bucket.lethe(host.home, "push", URL).stdout == "releases: none; statements: none\n"
    anew = bare(tmp_path / "anew", host)
    got = bucket.lethe(anew, "fetch", URL)
    assert got.returncode == 0, got.stderr
    for name in names:
        assert verify_release(anew / "releases" / name, host.trust).name == name
        assert all(
            (anew / "releases" / name / f).read_bytes() == (host.releases / name / f).read_bytes() for f in FILES
        )
    card = f"{URL.partition('lethe-releases/')[2]}/{names[0]}/card.json"
    bucket.do(f"s3.put_object(Bucket='lethe-releases', Key='{card}', Body=b'{{}}')")
    refused = bucket.lethe(bare(tmp_path / "third", host), "fetch", URL)
    assert refused.returncode == 2
    assert "[artefacts.refused]" in refused.stderr
    assert [path.name for path in (tmp_path / "third" / "releases").iterdir()] == names[1:]


def test_a_bucket_that_nobody_reaches_is_said_so(host: Material) -> None:
    nobody = Bucket(free_port())
    told = nobody.lethe(host.home, "push", URL)
    assert told.returncode == 2
    assert "[artefacts.unreachable]" in told.stderr
