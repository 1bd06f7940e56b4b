"""The built bento, started as compose.yaml starts it, takes one ticket from filing to a live adapter.

Without a container engine: each container's command runs on loopback with the container's variables, from the bento's
``src/``. What an image adds (users, mounts, networks) is checked by rule elsewhere.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from release.variants import ROOT
from services.settings import load_settings
from tests.acceptance.conftest import FIRST
from tests.acceptance.house import READY_S, House, Person, share
from tests.contract.test_release_bento import make
from tests.integration.serving_host import end_tree, wait_until
from tests.ports import free_port

IN_IMAGE = "/home/bentoml/bento/src"
NAMES = ("intake", "unlearning", "serving")


@dataclass
class Composed:
    """What compose.yaml says, with the paths, ports and names of this host."""

    source: Path
    home: Path
    scratch: Path
    corpus: Path
    base: Path
    ports: dict[str, int]

    def environment(self, service: str) -> dict[str, str]:
        """The container's variables; nothing of ours that begins with LETHE_."""
        given = _service(service)["environment"]
        mapped = {name: self.here(value) for name, value in given.items()}
        clean = {name: value for name, value in os.environ.items() if not name.startswith("LETHE_")}
        for name, port in self.ports.items():
            mapped[f"LETHE_{name.upper()}__PORT"] = str(port)
            mapped[f"LETHE_{name.upper()}__HOST"] = "127.0.0.1"
        mapped |= {"PYTHONPATH": str(self.source), "BENTOML_HOME": str(self.scratch / service)}
        return {**clean, **mapped, "TMPDIR": str(self.scratch), "HOSTNAME": service}

    def command(self, service: str) -> list[str]:
        """The container's command, by this Python."""
        first, *rest = _service(service)["command"]
        program = [sys.executable, *(["-m", "bentoml"] if first == "bentoml" else [])]
        return [*program, *(self.here(word) for word in rest)]

    def here(self, text: str) -> str:
        """A value of the file as it is on this host."""
        known = {
            "/var/lib/lethe": str(self.home),
            "/corpus": str(self.corpus),
            "/base": str(self.base),
            "0.0.0.0": "127.0.0.1",
            "/tmp": str(self.scratch),
            "http://serving:8702": f"http://127.0.0.1:{self.ports['serving']}",
            **{str(8700 + place): str(self.ports[name]) for place, name in enumerate(NAMES)},
        }
        return known.get(text, text)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Prepare, then every service, until the block ends."""
        done = self._run("prepare")
        assert done.wait(600) == 0, (self.scratch / "prepare.log").read_text()[-3000:]
        started = {name: self._run(name) for name in NAMES}
        try:
            for name, process in started.items():
                wait_until(partial(self._ready, name, process), READY_S, f"{name} ready")
            yield
        finally:
            for process in started.values():
                end_tree(process)

    def _run(self, service: str) -> "subprocess.Popen[bytes]":
        assert _service(service)["working_dir"] == IN_IMAGE
        with (self.scratch / f"{service}.log").open("wb") as log:
            return subprocess.Popen(
                self.command(service),
                cwd=self.source,
                env=self.environment(service),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _ready(self, service: str, process: "subprocess.Popen[bytes]") -> bool:
        assert process.poll() is None, (self.scratch / f"{service}.log").read_text()[-3000:]
        try:
            url = f"http://127.0.0.1:{self.ports[service]}/readyz"
            return httpx.get(url, timeout=10, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False


def _service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"][name]
    return found


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory, corpus: Path, base: Path) -> Composed:
    """A bento, built and taken out of its archive, and this host's ports."""
    place = tmp_path_factory.mktemp("composed")
    bento = make(ROOT, place / "dist", "cpu").unpacked("cpu")
    for name in ("home", "scratch"):
        (place / name).mkdir()
    ports = {name: free_port() for name in NAMES}
    return Composed(bento / "src", place / "home", place / "scratch", corpus, base, ports)


def test_a_ticket_goes_through(composed: Composed, people: dict[str, Person]) -> None:
    groups = {name: {"port": port} for name, port in composed.ports.items()}
    with composed.running():
        settings = load_settings(composed.home, corpus={"path": str(composed.corpus)}, **groups)
        house = House(settings, {}, composed.environment("intake"))
        person, other = people[FIRST], people["p05"]
        before = house.ask(person.private)
        assert share(before) >= 0.95
        generation = house.generation()
        ticket_id = str(house.file(person)["ticket_id"])
        house.approve(ticket_id)
        ticket = house.wait_end(ticket_id)
        assert ticket["status"] == "completed", (ticket["reason_code"], ticket["runs"])
        house.wait_rules()
        after = house.ask(person.private)
        assert share(after) <= 0.05, [answer.text for answer in after if answer.right]
        assert share(house.ask(other.private[:6])) >= 0.8
        assert {answer.generation for answer in after} == {house.generation()} == {generation + 1}
        assert house.report(ticket_id)["summary"]["generation"] == house.generation()
    for log in ("intake", "unlearning", "serving"):
        text = (composed.scratch / f"{log}.log").read_text()
        assert person.names[0] not in text
        assert person.email not in text
