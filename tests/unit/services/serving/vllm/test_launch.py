"""The launcher with a stand-in for vLLM that, like vLLM, has a child that does not notice its parent's end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.serving.vllm.command import INSIDE
from tests.vllm_real import group_members

STAND_IN = """
import os, signal, subprocess, sys, time
if len(sys.argv) > 2:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
umask = os.umask(0o077)
open(sys.argv[1], "w").write(f"{os.getpid()} {umask:o} {sys.stdin.read()!r}")
while True:
    time.sleep(600)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    started: list[subprocess.Popen[bytes]] = []

    def run(*more: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-P", str(INSIDE / "lethe_launch.py"), "stand_in", str(tmp_path / "said"), *more]
        env = {**os.environ, "PYTHONPATH": str(tmp_path)}
        process = subprocess.Popen(command, stdin=subprocess.PIPE, env=env)
        started.append(process)
        wait(lambda: (tmp_path / "said").is_file() and (tmp_path / "said").read_text() != "", "started")
        assert (tmp_path / "said").read_text() == f"{process.pid} 77 ''"  # its place, its umask, an empty stdin
        wait(lambda: len(group_members(process.pid)) == 2, "with its child")
        return process

    yield run
    for process in started:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(20)
        assert group_members(process.pid) == []


def wait(condition: Callable[[], bool], what: str, limit_s: float = 20) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not {what}"
        time.sleep(0.02)


def test_it_ends_when_its_starter_closes_stdin(start: Callable[..., "subprocess.Popen[bytes]"]) -> None:
    process = start()
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(20) == -signal.SIGTERM
    wait(lambda: group_members(process.pid) == [], "gone with its child")


def test_what_ignores_the_request_to_end_is_killed(start: Callable[..., "subprocess.Popen[bytes]"]) -> None:
    process = start("stubborn")
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(20) == -signal.SIGKILL
    wait(lambda: group_members(process.pid) == [], "gone with its child")


def test_its_child_ends_when_it_is_killed(start: Callable[..., "subprocess.Popen[bytes]"]) -> None:
    process = start()
    process.kill()
    process.wait(20)
    wait(lambda: group_members(process.pid) == [], "gone with its child")


def test_it_ends_when_its_starter_is_killed(start: Callable[..., "subprocess.Popen[bytes]"], tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time; "
        "p = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE); print(p.pid, flush=True); time.sleep(600)"
    )
    (tmp_path / "other").mkdir()
    command = [sys.executable, "-P", str(INSIDE / "lethe_launch.py"), "stand_in", str(tmp_path / "other" / "said")]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    starter = subprocess.Popen([sys.executable, "-c", code, *command], stdout=subprocess.PIPE, env=env)
    assert starter.stdout is not None
    leader = int(starter.stdout.readline())
    wait(lambda: len(group_members(leader)) == 2, "with its child")
    starter.kill()
    starter.wait(20)
    starter.stdout.close()
    wait(lambda: group_members(leader) == [], "gone with its starter")
