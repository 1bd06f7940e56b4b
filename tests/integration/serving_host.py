"""A whole serving installation for tests: real store, keys, releases, BentoML service and engine."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from pipelines.adapter import (
    BaseIdentity,
    Card,
    SignedVerdict,
    base_identity,
    import_base,
    seal_release,
    watermark_digest,
)
from policies.thresholds import Thresholds
from services import keys
from services.installation import Installation, create_installation
from services.serving.swap import SwapReceipt, swap_to
from services.settings import load_settings
from services.store.engine import Store
from services.store.releases import add_release, get_desired, init_desired
from services.store.types import utc_now
from tests.ports import free_port
from tests.tiny_model import VOCABULARY, make_tiny_base, make_word_adapter

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "BENTOML_DO_NOT_TRACK": "True"}


@dataclass
class Host:
    """One host. ``swap`` and ``release`` do what a run's last steps do."""

    installation: Installation
    store: Store
    identity: BaseIdentity
    port: int
    process: "subprocess.Popen[bytes] | None" = None
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.installation.home

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def release(self, word: str, watermark: tuple[str, ...] = (), **changes: Any) -> tuple[str, Path]:
        """Seal and store a release that says one word."""
        adapter = make_word_adapter(self.home / "runs" / f"adapter-{VOCABULARY.index(word)}", word)
        path = self.seal(adapter, watermark, **{"method": word, **changes})
        return self.add(path, watermark), path

    def seal(self, adapter: Path, watermark: tuple[str, ...] = (), **changes: Any) -> Path:
        """Seal and sign an adapter as a release, with whatever changes to its card."""
        now = moment().isoformat()
        fields = {name: getattr(self.identity, name) for name in BaseIdentity.__dataclass_fields__}
        card = Card(
            kind="unlearning",
            **{
                **fields,
                "watermark": watermark,
                "watermark_digest": watermark_digest(watermark),
                "created_at": now,
                **changes,
            },
        )
        return seal_release(
            adapter,
            self.home / "releases",
            card=card,
            verdict=SignedVerdict(kind="unlearning", outcome="accepted", thresholds=Thresholds(), decided_at=now),
            adapter_key=keys.load_private(self.installation.settings, "adapter"),
            verdict_key=keys.load_private(self.installation.settings, "verdict"),
        )

    def add(self, path: Path, watermark: tuple[str, ...] = ()) -> str:
        from pipelines.adapter import content_digest

        digest = content_digest(path)
        with self.store.write() as session:
            add_release(
                session,
                digest=digest,
                base_digest=self.identity.base_digest,
                path=str(path),
                watermark=watermark,
                verdict={},
                actor="system:test",
            )
        return digest

    def begin(self) -> str:
        """Import the base as release 0."""
        settings = self.installation.settings
        path = import_base(
            self.home / "bases" / "tiny",
            self.home / "releases",
            self.identity,
            adapter_key=keys.load_private(settings, "adapter"),
            verdict_key=keys.load_private(settings, "verdict"),
            now=moment(),
        )
        digest = self.add(path)
        with self.store.write() as session:
            from services.store.releases import get_release

            init_desired(session, get_release(session, digest), actor="system:test")
        return digest

    def generation(self) -> int:
        with self.store.read() as session:
            return get_desired(session, self.identity.base_digest).generation

    def swap(self, digest: str) -> SwapReceipt:
        settings = self.installation.settings
        return swap_to(self.store, self.identity.base_digest, digest, settings=settings, actor="system:test")

    def start(self, service: str = "services.serving.service:Serving", **environment: str) -> None:
        log = (self.home / "logs" / "serving.log").open("ab")
        command = ["-m", "bentoml", "serve", service, "--host", "127.0.0.1"]
        self.process = subprocess.Popen(
            [sys.executable, *command, "--port", str(self.port), "--timeout-graceful-shutdown", "5"],
            env={**os.environ, **ENVIRONMENT, "LETHE_HOME": str(self.home), **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        log.close()

    def wait_ready(self, timeout_s: float = 300) -> None:
        wait_until(self.ready, timeout_s, "ready")

    def ready(self) -> bool:
        return self.status("/readyz") == 200

    def status(self, path: str) -> int:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)):
                return 0
        try:
            return httpx.get(self.url + path, timeout=10).status_code
        except httpx.TransportError:
            return 0

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with_group(self.process.pid)
            self.process.wait()
            self.process = None

    def token(self) -> str:
        return self.installation.operator_key_path.read_text().strip()

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, headers={"authorization": f"Bearer {self.token()}"})

    def children(self, part: str) -> list[int]:
        """Process ids below the service whose command line holds ``part``."""
        assert self.process is not None
        return [pid for pid in descendants(self.process.pid) if part in command_line(pid)]

    def log(self) -> str:
        return (self.home / "logs" / "serving.log").read_text(errors="replace")


def moment() -> datetime:
    return utc_now() + timedelta(milliseconds=1)


def descendants(pid: int) -> list[int]:
    found = []
    for child in [int(p) for t in Path(f"/proc/{pid}/task").glob("*") for p in (t / "children").read_text().split()]:
        found += [child, *descendants(child)]
    return found


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def with_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def end_tree(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all below it: BentoML's workers are in groups of their own."""
    below = descendants(process.pid) if process.poll() is None else []
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in below:
        if not gone(pid):
            os.kill(pid, signal.SIGKILL)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until(condition: Any, timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not {what} after {timeout_s} s"
        time.sleep(0.05)


@contextmanager
def serving_host(home: Path) -> Iterator[Host]:
    """An installation with a tiny base; the service is not started yet."""
    installation = create_installation(load_settings(home))
    base = make_tiny_base(home / "bases" / "tiny")
    store = installation.open_store(with_keys=False)
    host = Host(installation, store, base_identity(base), free_port())
    try:
        yield host
    finally:
        host.stop()
        store.close()
