"""A fleet for tests: replicas as processes, each beside an engine that outlives it, and a coordinator to kill."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.integration.fleet_coordinator import coordinate
from tests.integration.fleet_member import stall_file
from tests.integration.serving_host import ENVIRONMENT, Host, serving_host, wait_until
from tests.ports import free_port

QUESTION = {"model": "lethe", "messages": [{"role": "user", "content": "hello"}], "temperature": 0, "max_tokens": 2}


@dataclass
class Answer:
    """What a replica said to a question that was put at ``asked`` (monotonic)."""

    asked: float
    generation: int
    words: frozenset[str]


@dataclass
class Fleet:
    """Replicas by name, asked without pause."""

    host: Host
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    engines: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    ended: threading.Event = field(default_factory=threading.Event)
    askers: list[threading.Thread] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.host.home

    def start_engine(self, name: str) -> None:
        socket = self.home / "sockets" / f"engine-{name}.sock"
        command = [sys.executable, "-m", "services.serving.engine", "--base", str(self.home / "bases" / "tiny")]
        self.engines[name] = self._start([*command, "--socket", str(socket), "--stay"], f"engine-{name}")

    def start(self, name: str) -> None:
        socket = self.home / "sockets" / f"engine-{name}.sock"
        port = str(self.ports.setdefault(name, free_port()))
        command = [sys.executable, "-m", "tests.integration.fleet_member", str(self.home), name, str(socket), port]
        self.processes[name] = self._start(command, name)
        if name not in self.answers:
            self.answers[name] = []
            self.askers.append(threading.Thread(target=self._ask, args=(name,)))
            self.askers[-1].start()

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def start_coordinator(self, digest: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "tests.integration.fleet_coordinator", str(self.home)]
        return subprocess.Popen(
            [*command, self.host.identity.base_digest, digest],
            env={**os.environ, **ENVIRONMENT},
            stdout=subprocess.DEVNULL,
        )

    def swap(self, digest: str) -> dict[str, Any]:
        """What a coordinator in this process came to."""
        return coordinate(self.home, self.host.identity.base_digest, digest)

    def stall(self, name: str, point: str) -> None:
        file = stall_file(self.home, name, point)
        file.parent.mkdir(exist_ok=True)
        file.with_suffix(".reached").unlink(missing_ok=True)
        file.touch()

    def wait_stalled(self, name: str, point: str) -> None:
        reached = stall_file(self.home, name, point).with_suffix(".reached")
        wait_until(reached.exists, 30, f"at {point}")

    def go_on(self) -> None:
        for file in (self.home / "stalls").glob("*"):
            file.unlink()

    def generation_of(self, name: str) -> int:
        """What it answers with now; -1 if it does not."""
        return self.answers[name][-1].generation if self.answers[name] else -1

    def stop(self) -> None:
        self.ended.set()
        for asker in self.askers:
            asker.join()
        for process in (*self.processes.values(), *self.engines.values()):
            process.terminate()
        for process in (*self.processes.values(), *self.engines.values()):
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def log(self, name: str) -> str:
        return (self.home / "logs" / f"{name}.log").read_text(errors="replace")

    def _start(self, command: list[str], name: str) -> "subprocess.Popen[bytes]":
        with (self.home / "logs" / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                env={**os.environ, **ENVIRONMENT},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _ask(self, name: str) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{self.ports[name]}", timeout=20) as client:
            while not self.ended.wait(0.05):
                asked = time.monotonic()
                try:
                    response = client.post("/v1/chat/completions", json=QUESTION)
                except httpx.HTTPError:
                    self.answers[name].append(Answer(asked, -1, frozenset()))
                    continue
                if response.status_code != 200:
                    self.answers[name].append(Answer(asked, -1, frozenset()))
                    continue
                text = response.json()["choices"][0]["message"]["content"]
                generation = int(response.headers["x-lethe-generation"])
                self.answers[name].append(Answer(asked, generation, frozenset(text.split())))


@contextmanager
def fleet(home: Path, names: tuple[str, ...]) -> Iterator[Fleet]:
    """A fleet that serves release 0."""
    with serving_host(home) as host:
        host.begin()
        made = Fleet(host)
        try:
            for name in names:
                made.start_engine(name)
                made.start(name)
            wait_until(lambda: all(made.generation_of(n) == 0 for n in names), 300, "serving")
            yield made
        except BaseException:
            for name in names:
                print(name, made.log(name)[-3000:])
            raise
        finally:
            made.stop()
