"""What the gateway costs: one engine and model, asked directly and through the real serving service, in one run.

    python -m benchmarks.serving [--engine transformers|vllm|stub] [--rounds 5] [--seconds 6] [--clients 16] [--json]

Both ways use the same engine process: directly on its Unix socket under the adapter's name, and over HTTP on loopback
through BentoML, door and gateway under the public name. The two ways take turns in every round, so that what else
happens on the machine falls on both; figures are medians over rounds, with the least and the greatest beside them.

- *CPU per chunk*: processor time (user and system) of the gateway's worker while clients stream, divided by the chunks
  that they received; everything that a request costs is in it. Waiting is not, so other load hardly matters.
- *Time to first token*: from sending to the first chunk with text, one client, the two ways in turn.
- *Throughput*: the engine alone on the first core, gateway and clients on the second; chunks a second through us over
  chunks a second without us. Directly the clients have the second core to themselves.

`--engine stub` is a synthetic source of chunks (benchmarks/stub_engine.py) that isolates the gateway; it is no engine.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks import machine
from services.store.releases import get_release, init_desired
from tests.integration.serving_host import Host, descendants, serving_host
from tests.vllm_real import make_vllm_python, vllm_environment

TARGETS = {"cpu_ms_per_chunk": 0.15, "added_ttft_ms": 5.0}
ENGINES = {"transformers": "services.serving.engine", "vllm": "vllm.entrypoints", "stub": "benchmarks.stub_engine"}
START_S = 300  # vLLM on a small machine
PROMPT = [{"role": "user", "content": "hello who are you ?"}]
PATH = "/v1/chat/completions"


@dataclass(frozen=True)
class Way:
    """One way to the engine."""

    name: str
    session: aiohttp.ClientSession
    model: str

    async def stream(self, tokens: int) -> tuple[float, int]:
        """Seconds to the first chunk with text, and chunks."""
        body = {"model": self.model, "messages": PROMPT, "stream": True, "max_tokens": tokens, "temperature": 0}
        began, first, chunks = time.perf_counter(), 0.0, 0
        async with self.session.post(PATH, json=body) as response:
            assert response.status == 200, (self.name, response.status, await response.text())
            async for data in response.content.iter_any():
                if not first and b'"content": "' in data.replace(b'":"', b'": "'):
                    first = time.perf_counter() - began
                chunks += data.count(b"data: ")
        return first, chunks


@dataclass(frozen=True)
class Round:
    """What one round found."""

    chunks_per_s: dict[str, float]
    cpu_ms_per_chunk: float


async def load(way: Way, clients: int, seconds: float, tokens: int) -> float:
    """Chunks a second that some clients receive; requests that are under way at the end count until then."""
    chunks = 0
    until = time.perf_counter() + seconds

    async def client() -> None:
        nonlocal chunks
        while time.perf_counter() < until:
            chunks += (await way.stream(tokens))[1]

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return chunks / (time.perf_counter() - began)


async def measure(direct: Way, ours: Way, gateway: list[int], args: argparse.Namespace) -> dict[str, Any]:
    """All rounds."""
    for way in (direct, ours):  # connections, caches, the engine's first shapes
        await load(way, args.clients, 1.0, args.tokens)
    rounds = []
    for number in range(args.rounds):
        speed: dict[str, float] = {}
        cost = 0.0
        for way in (direct, ours) if number % 2 else (ours, direct):
            before, began = machine.cpu_seconds(gateway), time.perf_counter()
            speed[way.name] = await load(way, args.clients, args.seconds, args.tokens)
            if way is ours:
                spent = machine.cpu_seconds(gateway) - before
                cost = 1000 * spent / (speed[way.name] * (time.perf_counter() - began))
        rounds.append(Round(speed, cost))
    first: dict[str, list[float]] = {direct.name: [], ours.name: []}
    for _ in range(args.first_tokens):
        for way in (direct, ours):
            first[way.name].append(1000 * (await way.stream(2))[0])
    return _figures(rounds, first)


def _figures(rounds: list[Round], first: dict[str, list[float]]) -> dict[str, Any]:
    direct, ours = first
    return {
        "cpu_ms_per_chunk": _spread([r.cpu_ms_per_chunk for r in rounds]),
        "chunks_per_s_direct": _spread([r.chunks_per_s[direct] for r in rounds]),
        "chunks_per_s_ours": _spread([r.chunks_per_s[ours] for r in rounds]),
        "throughput_ratio": _spread([r.chunks_per_s[ours] / r.chunks_per_s[direct] for r in rounds]),
        "ttft_ms_direct": _spread(first[direct]),
        "ttft_ms_ours": _spread(first[ours]),
        "added_ttft_ms": round(statistics.median(first[ours]) - statistics.median(first[direct]), 2),
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": _short(statistics.median(values)), "min": _short(min(values)), "max": _short(max(values))}


def _short(value: float) -> float:
    return float(f"{value:.3g}")


@contextmanager
def running(engine: str, python: str = "") -> Iterator[tuple[Host, int, list[int]]]:
    """The service with one release that answers without end, and the processes of gateway and engine."""
    with tempfile.TemporaryDirectory(prefix="lethe-bench-") as folder, serving_host(Path(folder) / "home") as host:
        digest, _ = host.release("alpha")
        with host.store.write() as session:
            init_desired(session, get_release(session, digest), actor="system:bench")
        environment = {"LETHE_TELEMETRY__LOG_LEVEL": "warning"}
        if engine == "vllm":
            environment |= vllm_environment(Path(python) if python else make_vllm_python())
        if engine == "stub":
            environment["service"] = "benchmarks.stubbed_service:Serving"
        host.start(**environment)
        try:
            host.wait_ready(START_S if engine == "vllm" else 60)
        except AssertionError:
            print(host.log()[-4000:], file=sys.stderr)
            raise
        gateway = _parent(host.children(ENGINES[engine])[0])
        yield host, gateway, descendants(gateway)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def compare(host: Host, gateway: int, engine: list[int], args: argparse.Namespace) -> dict[str, Any]:
    """Open both ways and measure."""
    cores = sorted(os.sched_getaffinity(0))
    alone = len(cores) > 1 and not args.unpinned
    if alone:
        machine.pin(engine, cores[:1])
        machine.pin([gateway, os.getpid()], cores[1:2])
    (socket,) = (host.home / "sockets").glob("*.sock")
    key = {"authorization": f"Bearer {host.token()}"}
    timeout = aiohttp.ClientTimeout(total=120)
    connector, plain = aiohttp.UnixConnector(str(socket), limit=0), aiohttp.TCPConnector(limit=0)
    async with (
        aiohttp.ClientSession("http://engine", connector=connector, timeout=timeout) as inner,
        aiohttp.ClientSession(host.url, connector=plain, timeout=timeout, headers=key) as outer,
    ):
        async with inner.get("/v1/models") as response:
            names = [entry["id"] for entry in (await response.json())["data"]]
        name = next(name for name in names if name.startswith("u-"))
        found = await measure(Way("direct", inner, name), Way("ours", outer, "lethe"), [gateway], args)
    return {**found, "pinned": alone}


def show(found: dict[str, Any]) -> None:
    """A table for people."""
    print(machine.in_words(found["machine"]))
    print("engine {engine}, {clients} clients, {tokens} tokens an answer, {rounds} rounds".format(**found))
    for name in (
        "cpu_ms_per_chunk",
        "ttft_ms_direct",
        "ttft_ms_ours",
        "chunks_per_s_direct",
        "chunks_per_s_ours",
        "throughput_ratio",
    ):
        value = found[name]
        print(f"  {name:22} {value['median']:>9}   ({value['min']} to {value['max']})")
    print(f"  {'added_ttft_ms':22} {found['added_ttft_ms']:>9}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=sorted(ENGINES), default="transformers")
    parser.add_argument("--vllm-python", default="", help="Python that has vLLM; default: that of `make vllm`")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="of streaming, for each way in each round")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=200, help="of an answer")
    parser.add_argument("--first-tokens", type=int, default=100, help="requests for the time to first token, each way")
    parser.add_argument("--unpinned", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    about = machine.describe()
    with running(args.engine, args.vllm_python) as (host, gateway, engine):
        found = asyncio.run(compare(host, gateway, engine, args))
    found |= {
        "engine": args.engine,
        "clients": args.clients,
        "tokens": args.tokens,
        "rounds": args.rounds,
        "machine": about,
        "targets": TARGETS,
    }
    if args.json:
        print(json.dumps(found))
    else:
        show(found)


if __name__ == "__main__":
    main()
