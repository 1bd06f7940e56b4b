"""`lethe up`: start the services of one host, restart what dies, leave nothing behind."""

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from policies.errors import LetheError
from services import lifeline

_STOP_S = 15.0
_BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One process to keep running.

    Attributes:
        name: Of its log file.
        argv: Command line.
        ready_url: Answers 200 once the process serves.
        environment: Its own variables, over those that all share.
    """

    name: str
    argv: tuple[str, ...]
    ready_url: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Child:
    program: Program
    process: subprocess.Popen[bytes] | None = None
    failures: int = 0
    started: float = 0.0
    next_start: float = field(default=0.0)


class Supervisor:
    """Keeps programs running in one process group each; a context manager that stops them all.

    Args:
        programs: What to run.
        log_dir: Where each program's output goes.
        environment: Added to ours.
        on_stop: Called once everything has ended.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        log_dir: Path,
        environment: dict[str, str],
        on_stop: Callable[[], None] | None = None,
    ) -> None:
        self._on_stop = on_stop
        self._children = [_Child(program) for program in programs]
        self._log_dir = log_dir
        self._environment = {
            **os.environ,
            **environment,
            lifeline.SUPERVISOR_VARIABLE: lifeline.identity(os.getpid()),
        }

    def __enter__(self) -> "Supervisor":
        self.tick()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def tick(self) -> None:
        """Start what is not running and is due; call it again and again."""
        now = time.monotonic()
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                self._note_death(child, now)
            if child.process is None and now >= child.next_start:
                self._start(child, now)

    def wait_ready(self, timeout_s: float, progress: Callable[[str], None] = lambda _: None) -> None:
        """Wait until every program answers its ready address.

        Raises:
            LetheError: ``up.not_ready``, naming the program and its log.
        """
        deadline = time.monotonic() + timeout_s
        waiting = {child.program.name: child.program for child in self._children}
        while waiting:
            self.tick()
            for name, program in list(waiting.items()):
                if _answers(program.ready_url):
                    del waiting[name]
                    progress(name)
            if time.monotonic() > deadline:
                logs = tuple(f"{name}: see {self.log_path(name)}" for name in waiting)
                raise LetheError("up.not_ready", f"{', '.join(waiting)} not ready after {timeout_s:.0f} s", logs)
            time.sleep(0.1)

    def log_path(self, name: str) -> Path:
        """Where a program's output goes."""
        return self._log_dir / f"{name}.log"

    def pids(self) -> dict[str, int]:
        """The running programs' process ids."""
        return {c.program.name: c.process.pid for c in self._children if c.process is not None}

    def stop(self) -> None:
        """Stop everything: SIGTERM to each, SIGKILL to the group of what is left after the grace period."""
        running = [c.process for c in self._children if c.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + _STOP_S
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
            finally:
                _kill_group(process.pid)
                process.wait()
        for child in self._children:
            child.process = None
        if self._on_stop is not None:
            self._on_stop()

    def _start(self, child: _Child, now: float) -> None:
        self._log_dir.mkdir(parents=True, exist_ok=True)
        with self.log_path(child.program.name).open("ab") as log:
            child.process = subprocess.Popen(
                child.program.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**self._environment, **child.program.environment},
                start_new_session=True,
            )
        child.started = now

    def _note_death(self, child: _Child, now: float) -> None:
        assert child.process is not None
        _kill_group(child.process.pid)  # a killed `bentoml serve` leaves its worker
        child.process = None
        child.failures = 0 if now - child.started > 60 else child.failures + 1
        child.next_start = now + _BACKOFF_S[min(child.failures, len(_BACKOFF_S) - 1)]


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - our own loopback address
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
