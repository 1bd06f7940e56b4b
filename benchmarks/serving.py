"""What the gateway costs: one engine and model, asked directly and through the real serving service, in one run.

    python -m benchmarks.serving [--engine transformers|vllm|stub] [--rounds 5] [--seconds 6] [--clients 16] [--json]

Both ways use the same engine process: directly on its Unix socket under the adapter's name, and over HTTP on loopback
through BentoML, door and gateway under the public name. The two ways take turns in every round, so that what else
happens on the machine falls on both; figures are medians over rounds, with the least and the greatest beside them.

- *CPU per chunk*: processor time (user and system) of the gateway's worker while clients stream, less what it uses in
  the same time while they ask the engine directly (it watches store, lease and engine), divided by the chunks that
  they received: everything that a request costs is in it. *all*: with the watching, which weighs the more the slower
  the engine is; *idle*: the watching alone, in hundredths of a core. Waiting is in none of them.
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks import machine
from services.store.releases import get_release, init_desired
from tests.integration.serving_host import Host, descendants, serving_host
from tests.vllm_real import make_vllm_python, vllm_environment

TARGETS = {"cpu_ms_per_chunk": "≤ 0.15", "added_ttft_ms": "≤ 5"}
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
class Turn:
    """One way's turn in a round: what the clients received, and what the gateway's worker used meanwhile."""

    seconds: float
    chunks: int
    cpu_s: float

    @property
    def rate(self) -> float:
        """Chunks a second."""
        return self.chunks / self.seconds


@dataclass(frozen=True)
class Round:
    """Both turns."""

    direct: Turn
    ours: Turn

    @property
    def idle(self) -> float:
        """Share of a core that the gateway uses while nobody asks it."""
        return self.direct.cpu_s / self.direct.seconds

    def cpu_ms(self, *, idle: bool) -> float:
        """Processor time of a chunk, with or without what the gateway uses anyway."""
        spent = self.ours.cpu_s - (0.0 if idle else self.idle * self.ours.seconds)
        return 1000 * spent / self.ours.chunks


async def load(way: Way, clients: int, seconds: float, tokens: int, gateway: Sequence[int] = ()) -> Turn:
    """Some clients that ask again and again; requests that are under way at the end count until then."""
    chunks = 0
    before, began = machine.cpu_seconds(gateway), time.perf_counter()

    async def client() -> None:
        nonlocal chunks
        while time.perf_counter() < began + seconds:
            chunks += (await way.stream(tokens))[1]

    await asyncio.gather(*(client() for _ in range(clients)))
    return Turn(time.perf_counter() - began, chunks, machine.cpu_seconds(gateway) - before)


async def measure(direct: Way, ours: Way, gateway: Sequence[int], args: argparse.Namespace) -> dict[str, Any]:
    """All rounds."""
    for way in (direct, ours):  # connections, caches, the engine's first shapes
        await load(way, args.clients, 1.0, args.tokens)
    rounds = []
    for number in range(args.rounds):
        turns = {}
        for way in (direct, ours) if number % 2 else (ours, direct):
            turns[way.name] = await load(way, args.clients, args.seconds, args.tokens, gateway)
        rounds.append(Round(turns[direct.name], turns[ours.name]))
    first: dict[str, list[float]] = {direct.name: [], ours.name: []}
    for _ in range(args.first_tokens):
        for way in (direct, ours):
            first[way.name].append(1000 * (await way.stream(2))[0])
    return _figures(rounds, first[direct.name], first[ours.name])


def _figures(rounds: Sequence[Round], direct: Sequence[float], ours: Sequence[float]) -> dict[str, Any]:
    return {
        "cpu_ms_per_chunk": _spread([r.cpu_ms(idle=False) for r in rounds]),
        "cpu_ms_per_chunk_all": _spread([r.cpu_ms(idle=True) for r in rounds]),
        "cpu_percent_idle": _spread([100 * r.idle for r in rounds]),
        "ttft_ms_direct": _spread(direct),
        "ttft_ms_ours": _spread(ours),
        "added_ttft_ms": _short(statistics.median(ours) - statistics.median(direct)),
        "chunks_per_s_direct": _spread([r.direct.rate for r in rounds]),
        "chunks_per_s_ours": _spread([r.ours.rate for r in rounds]),
        "throughput_ratio": _spread([r.ours.rate / r.direct.rate for r in rounds]),
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
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
    about = "engine {engine}, {clients} clients, {tokens} tokens an answer, {rounds} rounds".format(**found)
    print(about + (", engine on one core, gateway and clients on another" if found["pinned"] else ", not pinned"))
    if found["engine"] == "stub":
        print("SYNTHETIC chunks, no engine: for the cost of the gateway alone")
    for name, value in found.items():
        target = f"   target {TARGETS[name]}" if name in TARGETS else ""
        if isinstance(value, dict) and "median" in value:
            print(f"  {name:22} {value['median']:>8}   ({value['min']} to {value['max']}){target}")
        elif name in TARGETS:
            print(f"  {name:22} {value:>8}{target}")


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
