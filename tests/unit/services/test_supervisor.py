"""Real processes: what dies is restarted, what is left behind ends itself."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from policies.errors import LetheError
from services import lifeline
from services.supervisor import Program, Supervisor
from tests.ports import free_port

# Answers 200 on its port; `hold` makes it watch its parent and its supervisor, as our services do.
SERVER = """
import http.server, os, sys
from services import lifeline
lifeline.hold()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def wait_for(condition: object, timeout_s: float = 10.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "condition not reached in time"
        time.sleep(0.05)


def program(port: int) -> Program:
    argv = (sys.executable, "-c", SERVER, str(port))
    return Program(name="server", argv=argv, ready_url=f"http://127.0.0.1:{port}/")


def test_a_killed_program_is_started_again(tmp_path: Path) -> None:
    with Supervisor([program(free_port())], tmp_path, {}) as supervisor:
        supervisor.wait_ready(20)
        first = supervisor.pids()["server"]
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: lifeline.start_time(first) is None)
        supervisor.wait_ready(20)
        assert supervisor.pids()["server"] != first


def test_stop_leaves_nothing(tmp_path: Path) -> None:
    supervisor = Supervisor([program(free_port())], tmp_path, {})
    supervisor.tick()
    supervisor.wait_ready(20)
    (pid,) = supervisor.pids().values()
    supervisor.stop()
    assert lifeline.start_time(pid) is None


def test_not_ready_names_the_log(tmp_path: Path) -> None:
    dead = Program(name="dead", argv=(sys.executable, "-c", "raise SystemExit(3)"), ready_url="http://127.0.0.1:9/")
    with Supervisor([dead], tmp_path, {}) as supervisor, pytest.raises(LetheError) as caught:
        supervisor.wait_ready(1.0)
    assert caught.value.code == "up.not_ready"
    assert "dead.log" in caught.value.details[0]


def test_a_killed_supervisor_takes_its_programs_along(tmp_path: Path) -> None:
    port, pid_file = free_port(), tmp_path / "pid"
    script = (
        "import sys, time; from pathlib import Path\n"
        "from tests.unit.services.test_supervisor import program\n"
        "from services.supervisor import Supervisor\n"
        f"s = Supervisor([program({port})], Path({str(tmp_path)!r}), {{}}); s.tick(); s.wait_ready(20)\n"
        f"Path({str(pid_file)!r}).write_text(str(s.pids()['server'])); time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    wait_for(lambda: pid_file.exists() and pid_file.read_text() != "", 20)
    pid = int(pid_file.read_text())
    process.kill()
    process.wait()
    wait_for(lambda: lifeline.start_time(pid) is None)


def test_identity_tells_a_reused_pid_apart() -> None:
    own = lifeline.identity(os.getpid())
    assert lifeline.alive(own)
    assert not lifeline.alive(f"{os.getpid()}:1")
