"""Starts real engine processes for tests, and talks to them over their Unix sockets."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx

from services.serving.launch import Boot, Launch, transformers_command
from services.serving.vllm.command import vllm_command
from services.settings import VllmSettings
from tests.vllm_real import EXTRA_ARGS, KV_CACHE_BYTES, LEAN

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}


@dataclass
class EngineProcess:
    process: "subprocess.Popen[bytes]"
    client: httpx.Client
    socket: Path

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.client.post(path, json=body)

    def chat(self, model: str, text: str = "hello", **more: Any) -> httpx.Response:
        return self.post("/v1/chat/completions", model=model, messages=[{"role": "user", "content": text}], **more)

    def models(self) -> set[str]:
        """Adapters by name; what has no parent is the base."""
        return {entry["id"] for entry in self.client.get("/v1/models").json()["data"] if entry["parent"] is not None}


@contextmanager
def transformers_engine(base: Path, socket: Path, *more: str) -> Iterator[EngineProcess]:
    launch = transformers_command(base, socket, dtype="float32")
    with running(Launch(argv=(*launch.argv, *more), env=ENVIRONMENT), socket) as engine:
        yield engine


@contextmanager
def vllm_engine(
    python: Path, base: Path, socket: Path, *, releases: Path, boot: Boot | None = None, log: Path
) -> Iterator[EngineProcess]:
    settings = VllmSettings(python=str(python), kv_cache_bytes=KV_CACHE_BYTES, extra_args=EXTRA_ARGS)
    launch = vllm_command(settings, base=base, dtype="float32", releases=releases, socket=socket, boot=boot)
    launch = Launch(argv=launch.argv, env={**launch.env, **LEAN})
    with log.open("wb") as stream, running(launch, socket, stream) as engine:
        yield engine


@contextmanager
def running(launch: Launch, socket: Path, log: IO[bytes] | None = None) -> Iterator[EngineProcess]:
    process = subprocess.Popen(launch.argv, stdin=subprocess.PIPE, env=dict(launch.env), stdout=log, stderr=log)
    client = httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://engine", timeout=60)
    try:
        wait_healthy(client, socket, process)
        yield EngineProcess(process, client, socket)
    finally:
        client.close()
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_healthy(client: httpx.Client, socket: Path, process: "subprocess.Popen[bytes]", limit_s: float = 300) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        assert process.poll() is None, "the engine ended before it was healthy"
        if _listens(socket) and client.get("/health").status_code == 200:
            return
        time.sleep(0.1)
    raise AssertionError("the engine did not become healthy")


def _listens(path: Path) -> bool:
    """httpx leaks its socket when a connection fails; vLLM's file is there long before anybody listens."""
    import socket

    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
