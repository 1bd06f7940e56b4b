"""Starts a real engine process for tests, and talks to it over its Unix socket."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}


@dataclass
class EngineProcess:
    process: "subprocess.Popen[bytes]"
    client: httpx.Client

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.client.post(path, json=body)

    def chat(self, model: str, text: str = "hello", **more: Any) -> httpx.Response:
        return self.post("/v1/chat/completions", model=model, messages=[{"role": "user", "content": text}], **more)

    def models(self) -> set[str]:
        return {entry["id"] for entry in self.client.get("/v1/models").json()["data"]}


@contextmanager
def transformers_engine(base: Path, socket: Path, *more: str) -> Iterator[EngineProcess]:
    command = [sys.executable, "-m", "services.serving.engine", "--base", str(base), "--socket", str(socket), *more]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env=ENVIRONMENT)
    client = httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://engine", timeout=60)
    try:
        wait_healthy(client, socket, process)
        yield EngineProcess(process, client)
    finally:
        client.close()
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_healthy(client: httpx.Client, socket: Path, process: "subprocess.Popen[bytes]", limit_s: float = 120) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        assert process.poll() is None, "the engine ended before it was healthy"
        # httpx leaks its socket when a connection fails, so the file must be there first; it appears with the listener.
        if socket.exists() and client.get("/health").status_code == 200:
            return
        time.sleep(0.1)
    raise AssertionError("the engine did not become healthy")
