"""``bentoml build``: offline, the three services and what they need, and nothing else.

``python -m tests.contract.test_bento`` writes requirements.txt anew from pyproject.toml and constraints.txt.
"""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import httpx
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from services import jobs
from services.installation import create_installation
from services.settings import load_settings
from tests.integration.serving_host import end_tree, wait_until
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements.txt"
HEAD = "# Run-time packages, pinned as in constraints.txt; written by `python -m tests.contract.test_bento`.\n"
SERVICES = (
    "services.intake.service:Intake",
    "services.unlearning.service:Unlearning",
    "services.serving.service:Serving",
)


def runtime_requirements() -> str:
    """Every package that the services need, direct or not, at the version of constraints.txt."""
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [Requirement(text) for text in (*project["dependencies"], *extras["postgres"], *extras["s3"])]
    found: set[tuple[str, tuple[str, ...]]] = set()
    names: set[str] = set()
    while wanted:
        requirement = wanted.pop()
        key = (canonicalize_name(requirement.name), tuple(sorted(requirement.extras)))
        if key in found:
            continue
        found.add(key)
        names.add(key[0])
        wanted += _needs(requirement)
    return HEAD + "".join(f"{name}=={pinned[name]}\n" for name in sorted(names))


def _needs(requirement: Requirement) -> list[Requirement]:
    declared = [Requirement(text) for text in metadata.requires(requirement.name) or []]
    extras = ({"extra": extra} for extra in (*requirement.extras, ""))
    environments = list(extras)
    return [
        needed
        for needed in declared
        if needed.marker is None or any(needed.marker.evaluate(environment) for environment in environments)
    ]


def test_requirements_are_those_of_the_project() -> None:
    assert REQUIREMENTS.read_text() == runtime_requirements()


def test_requirements_hold_no_tool_of_the_developers() -> None:
    names = {line.partition("==")[0] for line in REQUIREMENTS.read_text().splitlines()}
    assert names.isdisjoint({"pytest", "mypy", "ruff", "hypothesis", "import-linter", "openai", "vllm"})


@pytest.fixture(scope="module")
def bento(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built bento. Any attempt to reach the network is refused."""
    home = tmp_path_factory.mktemp("bentoml")
    (home / "offline").mkdir()
    (home / "offline" / "sitecustomize.py").write_text(OFFLINE)
    environment = {
        **os.environ,
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "True",
        "LETHE_HOME": str(home / "lethe"),
        "PYTHONPATH": os.pathsep.join([str(home / "offline"), str(ROOT)]),
    }
    command = [sys.executable, "-m", "bentoml", "build", "--output", "tag", str(ROOT)]
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert built.returncode == 0, built.stderr[-3000:]
    tag = built.stdout.strip().splitlines()[-1].removeprefix("__tag__:")
    return home / "bentos" / tag.replace(":", "/")


OFFLINE = """
import socket
def refuse(self, address, *rest):
    if self.family in (socket.AF_INET, socket.AF_INET6):
        raise OSError("the build reached for the network")
    return original(self, address, *rest)
original = socket.socket.connect
socket.socket.connect = refuse
"""


def test_whatever_reaches_for_the_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(OFFLINE)
    code = "import socket; socket.create_connection(('127.0.0.1', 9))"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "the build reached for the network" in run.stderr


@pytest.mark.slow
def test_the_bento_holds_the_house_and_nothing_else(bento: Path) -> None:
    files = {str(path.relative_to(bento / "src")) for path in (bento / "src").rglob("*") if path.is_file()}
    assert {name.split("/")[0] for name in files} <= {"policies", "pipelines", "services", "bentofile.yaml", "LICENSE"}
    for needed in _needed():
        assert needed in files
    assert not [name for name in files if re.search(r"test|__pycache__|\.sqlite|\.pem|\.lethe", name)]
    described = yaml.safe_load((bento / "bento.yaml").read_text())
    assert described["name"] == "lethe"
    assert described["labels"]["project"] == "lethe"
    requirements = (bento / "env" / "python" / "requirements.txt").read_text()
    assert "torch==" in requirements
    assert not (bento / "env" / "python" / "requirements.lock.txt").exists()


def _needed() -> Iterator[str]:
    for package in ("policies", "pipelines", "services"):
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and path.suffix in {
                ".py",
                ".yaml",
                ".jinja",
                ".css",
                ".html",
                ".mako",
                ".js",
                ".svg",
                ".txt",
            }:
                yield str(path.relative_to(ROOT))


@pytest.mark.slow
@pytest.mark.parametrize("service", SERVICES)
def test_each_service_is_imported_from_the_bento_by_its_path(bento: Path, service: str, tmp_path: Path) -> None:
    module, _, name = service.partition(":")
    code = (
        f"import {module} as module, sys\n"
        f"assert module.__file__.startswith({str(bento)!r}), module.__file__\n"
        f"assert type(module.{name}).__name__ == 'Service', type(module.{name})\n"
        "assert 'torch' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(bento / "src"), "LETHE_HOME": str(tmp_path)}
    command = [sys.executable, "-P", "-W", "ignore", "-c", code]
    run = subprocess.run(command, cwd=bento / "src", env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("service", SERVICES)
def test_each_service_starts_from_the_bento_by_its_path(bento: Path, service: str, tmp_path: Path) -> None:
    """Alive, and with its own store open: what the bento lacks, the service would lack in production."""
    create_installation(load_settings(tmp_path / "home"), also=jobs.migrate)
    port = free_port()
    command = ["-P", "-m", "bentoml", "serve", service, "--host", "127.0.0.1", "--port", str(port)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(bento / "src"),
        "LETHE_HOME": str(tmp_path / "home"),
        "BENTOML_HOME": str(tmp_path / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=bento / "src",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until(lambda: process.poll() is not None or _alive(port), 180, "alive")
        assert process.poll() is None, log.read_text()[-3000:]
    finally:
        end_tree(process)


def _alive(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/livez", timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    REQUIREMENTS.write_text(runtime_requirements())
