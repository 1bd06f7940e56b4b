"""How long a fleet takes from the verdict to the last replica that serves the new release and has unloaded the old.

``python -m benchmarks.fleet [--replicas 8] [--swaps 10] [--engine transformers|vllm] [--store sqlite|postgresql]``

Every replica has an engine of its own: a child process with a tiny model, so that what is measured is the protocol,
verification, loading and probing, not the model. All of it shares this machine's cores.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from services.serving.engine_process import EngineProcess
from services.serving.launch import Boot, Launch, transformers_command
from services.serving.replica import Replica
from services.serving.swap import SwapReceipt
from services.settings import VllmSettings
from tests.integration.fleet_member import demands_of, make_member
from tests.integration.serving_host import Host, serving_host, wait_until
from tests.tiny_model import WORDS


class Members:
    """The replicas, in one event loop in a thread of its own."""

    def __init__(self, host: Host, engine: str, count: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        settings, demands = host.installation.settings, demands_of(host.installation.settings)
        launch = _launcher(engine, host)
        self.replicas: list[Replica] = []

        async def begin(name: str) -> Replica:
            engine = EngineProcess(launch, host.home / "sockets" / name)
            replica = make_member(settings, host.store, name, engine, demands)
            replica.start()
            return replica

        for number in range(count):
            begun = asyncio.run_coroutine_threadsafe(begin(f"r-{number}"), self._loop)
            self.replicas.append(begun.result())

    def stop(self) -> None:
        for replica in self.replicas:
            asyncio.run_coroutine_threadsafe(replica.stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _launcher(engine: str, host: Host) -> Any:
    base = host.home / "bases" / "tiny"
    if engine == "transformers":
        return lambda socket, boot: transformers_command(base, socket, dtype="float32")
    from services.serving.vllm.command import vllm_command
    from tests.vllm_real import make_vllm_python

    settings = VllmSettings(python=str(make_vllm_python()), kv_cache_bytes=1 << 26, max_model_len=512)

    def launch(socket: Path, boot: Boot | None) -> Launch:
        releases = host.home / "releases"
        made = vllm_command(settings, base=base, dtype="float32", releases=releases, socket=socket, boot=boot)
        return Launch(argv=made.argv, env=made.env)

    return launch


@contextmanager
def running(engine: str, count: int, url: str | None) -> Iterator[Host]:
    """A fleet that serves release 0."""
    os.environ.update({"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"})
    if url is not None:
        os.environ["LETHE_STORE__URL"] = url
    with (
        tempfile.TemporaryDirectory(prefix="lethe-fleet-") as directory,
        serving_host(Path(directory) / "home") as host,
    ):
        host.begin()
        members = Members(host, engine, count)
        try:
            wait_until(lambda: all(replica.state == "ready" for replica in members.replicas), 900, "ready")
            yield host
        finally:
            members.stop()


def measure(host: Host, swaps: int) -> list[SwapReceipt]:
    """Swap after swap; releases are sealed before the clock starts."""
    receipts = []
    for number in range(swaps):
        digest, _ = host.release(WORDS[number % len(WORDS)], ("t1",), method=f"swap {number}")
        receipts.append(host.swap(digest))
    return receipts


def report(receipts: list[SwapReceipt], replicas: int, engine: str, store: str) -> dict[str, Any]:
    seconds = sorted(receipt.seconds for receipt in receipts)
    return {
        "replicas": replicas,
        "engine": engine,
        "store": store,
        "swaps": len(seconds),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "p50_s": round(statistics.median(seconds), 3),
        "max_s": round(seconds[-1], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=8)
    parser.add_argument("--swaps", type=int, default=10)
    parser.add_argument("--engine", choices=["transformers", "vllm"], default="transformers")
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    arguments = parser.parse_args()
    from tests.postgres import postgres_server

    server = postgres_server() if arguments.store == "postgresql" else nullcontext(None)
    with server as url, running(arguments.engine, arguments.replicas, url) as host:
        receipts = measure(host, arguments.swaps)
    # Verifying swaps sys.stdout for a moment, and eight threads that do so may leave another one behind.
    print(json.dumps(report(receipts, arguments.replicas, arguments.engine, arguments.store)), file=sys.__stdout__)


if __name__ == "__main__":
    main()
