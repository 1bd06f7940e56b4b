"""Swaps under load: through us on either engine, and by vLLM's own ways of changing an adapter, in one table.

    python -m benchmarks.swaps --engine transformers|vllm [--swaps 100] [--clients 16] [--json]

Half of the clients stream. Two adapters answer every prompt differently, and an answer counts as right only if it is,
word for word, what transformers and PEFT say greedily with the adapter of one generation, through us with that of the
generation named in the header. Everything else is *mixed*: an answer that changed its adapter half way, or one computed
from what another adapter had left in the prefix cache (prompts are longer than a cache block and share their start).
Anything but a whole answer with status 200 is *failed*.

vLLM's own ways are asked past gateway and guard: unload and load under one name, from a new directory each time or from
the same one with new files, and ``load_inplace``.
"""

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks import machine
from services.serving.launch import Launch
from services.serving.vllm.command import INSIDE, MODULE
from tests.contract.engine_process import running
from tests.integration.serving_host import Host, serving_host
from tests.tiny_model import make_mixed_adapter, make_tiny_base
from tests.vllm_real import EXTRA_ARGS, KV_CACHE_BYTES, LEAN, make_vllm_python, vllm_environment

PATH = "/v1/chat/completions"
SEEDS = (1, 2)
TOKENS = 16
LEAST_PAUSE_S = 0.2  # between swaps; every swap also waits until answers have come since the one before
PROMPTS = tuple("who are you ? canary " * 28 + word for word in ("hello", "alpha", "beta zeta", "gamma ? hello"))

Texts = dict[int, dict[str, str]]  # seed -> prompt -> answer
Swap = Callable[[int], Awaitable[None]]  # to the adapter of this seed


@dataclass
class Load:
    """Clients that ask without pause.

    Attributes:
        session: Whom they ask.
        model: Under which name.
        expected: The right answers.
        seed_of: The adapter that answers of a generation must come from; None where there are no generations.
    """

    session: aiohttp.ClientSession
    model: str
    expected: Texts
    seed_of: dict[str, int] | None = None
    seconds: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    mixed: int = 0
    stop: bool = False

    async def client(self, number: int) -> None:
        """One client, until it is told to stop."""
        turn = number
        while not self.stop:
            prompt = PROMPTS[turn % len(PROMPTS)]
            turn += 1
            began = time.perf_counter()
            try:
                generation, text = await self._ask(prompt, stream=number % 2 == 0)
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                self.failed[str(error)[:60] or type(error).__name__] += 1
                await asyncio.sleep(0.05)
                continue
            self.seconds.append(time.perf_counter() - began)
            self.mixed += not self._right(prompt, generation, text)

    def _right(self, prompt: str, generation: str, text: str) -> bool:
        seeds = SEEDS if self.seed_of is None else (self.seed_of[generation],)
        return any(self.expected[seed][prompt] == text for seed in seeds)

    async def _ask(self, prompt: str, *, stream: bool) -> tuple[str, str]:
        message = {"role": "user", "content": prompt}
        body = {"model": self.model, "messages": [message], "max_tokens": TOKENS, "temperature": 0, "stream": stream}
        async with self.session.post(PATH, json=body) as response:
            raw = (await response.read()).decode()
            if response.status != 200:
                raise ValueError(f"status {response.status}")
            generation = response.headers.get("x-lethe-generation", "")
        if not stream:
            return generation, json.loads(raw)["choices"][0]["message"]["content"].strip()
        events = [line.removeprefix("data: ") for line in raw.splitlines() if line]
        if events[-1] != "[DONE]":
            raise ValueError("a stream without its end")
        choices = [choice for event in events[:-1] for choice in _choices(event)]
        return generation, "".join(choice["delta"].get("content") or "" for choice in choices).strip()


def _choices(event: str) -> list[dict[str, Any]]:
    body = json.loads(event)
    if "error" in body:
        raise ValueError("an error inside a stream")
    found: list[dict[str, Any]] = body["choices"]
    return found


@dataclass(frozen=True)
class Row:
    """One way of swapping."""

    way: str
    swaps: int
    survived: bool
    requests: int
    failed: int
    mixed: int
    p50_ms: float
    p99_ms: float
    swap_p50_ms: float
    swap_max_ms: float
    failures: dict[str, int]


async def measure(way: str, load: Load, swap: Swap, *, swaps: int, clients: int) -> Row:
    """Swap back and forth while the clients ask."""
    tasks = [asyncio.create_task(load.client(number)) for number in range(clients)]
    took: list[float] = []
    survived = True
    await _answers(load, clients)
    for number in range(swaps):
        began = time.perf_counter()
        try:
            await swap(SEEDS[(number + 1) % 2])
        except aiohttp.ClientError:  # there is nobody any more
            survived = False
            break
        took.append(time.perf_counter() - began)
        await asyncio.sleep(LEAST_PAUSE_S)
        await _answers(load, clients // 2)
    load.stop = True
    await asyncio.gather(*tasks)
    done, took = len(took), took or [0.0]
    lasted = sorted(load.seconds)
    return Row(
        way=way,
        swaps=done,
        survived=survived,
        requests=len(lasted) + load.failed.total(),
        failed=load.failed.total(),
        mixed=load.mixed,
        p50_ms=round(statistics.median(lasted) * 1000, 1),
        p99_ms=round(lasted[int(len(lasted) * 0.99)] * 1000, 1),
        swap_p50_ms=round(statistics.median(took) * 1000, 1),
        swap_max_ms=round(max(took) * 1000, 1),
        failures=dict(load.failed),
    )


async def _answers(load: Load, more: int) -> None:
    """Wait for some more answers, right or wrong."""
    until = len(load.seconds) + load.failed.total() + more
    while len(load.seconds) + load.failed.total() < until:
        await asyncio.sleep(0.02)


# -- through us --------------------------------------------------------------------------------------------------


async def through_us(host: Host, engine: str, expected: Texts, adapters: Path, *, swaps: int, clients: int) -> Row:
    """Signed releases, the store's desired state, and whatever a replica does."""
    releases = []
    for number in range(swaps + 1):
        path = host.seal(adapters / str(SEEDS[number % 2]), method=f"swap {number}")
        releases.append(host.add(path))
    receipt = await asyncio.to_thread(host.swap, releases[0])
    seed_of = {str(receipt.generation + number): SEEDS[number % 2] for number in range(swaps + 1)}
    waiting = iter(releases[1:])

    async def swap(_: int) -> None:
        await asyncio.to_thread(host.swap, next(waiting))

    headers = {"authorization": f"Bearer {host.token()}"}
    async with aiohttp.ClientSession(host.url, headers=headers, timeout=aiohttp.ClientTimeout(120)) as session:
        load = Load(session, "lethe", expected, seed_of)
        return await measure(f"Lethe, {engine}", load, swap, swaps=swaps, clients=clients)


# -- vLLM's own ways ---------------------------------------------------------------------------------------------


@contextmanager
def bare_vllm(python: Path, root: Path) -> Iterator[Path]:
    """vLLM as its documentation starts it for changing adapters, on a Unix socket."""
    socket = root / "bare.sock"
    socket.unlink(missing_ok=True)
    arguments = (
        *("--model", str(root / "base"), "--served-model-name=base", f"--uds={socket}", "--dtype=float32"),
        *("--enable-lora", "--max-loras=2", "--max-cpu-loras=4", "--max-lora-rank=64", "--generation-config=vllm"),
        *("--disable-uvicorn-access-log", f"--kv-cache-memory-bytes={KV_CACHE_BYTES}", *EXTRA_ARGS),
    )
    environment = {**LEAN, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "VLLM_NO_USAGE_STATS": "1"}
    environment |= {"HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"}
    launcher = str(INSIDE / "lethe_launch.py")  # for its end; nothing else of ours is in it
    launch = Launch(argv=(str(python), "-P", launcher, MODULE, *arguments), env=environment)
    with (root / "bare.log").open("wb") as log, running(launch, socket, log):
        yield socket


@dataclass
class Own:
    """One of vLLM's own ways, under one name for ever."""

    session: aiohttp.ClientSession
    name: str
    adapters: Path
    scratch: Path
    inplace: bool
    new_directory: bool
    count: int = 0

    async def load(self, seed: int, *, first: bool = False) -> None:
        """Make the name mean the adapter of another seed."""
        body = {"lora_name": self.name, "lora_path": str(self._directory(seed))}
        if self.inplace and not first:
            await self._post("/v1/load_lora_adapter", {**body, "load_inplace": True})
            return
        if not first:
            await self._post("/v1/unload_lora_adapter", {"lora_name": self.name})
        await self._post("/v1/load_lora_adapter", body)

    def _directory(self, seed: int) -> Path:
        self.count += 1
        target = self.scratch / (f"{self.name}-{self.count}" if self.new_directory else self.name)
        draft = target.with_suffix(".new")
        shutil.copytree(self.adapters / str(seed), draft)
        if target.exists():
            shutil.rmtree(target)
        draft.rename(target)
        return target

    async def _post(self, path: str, body: dict[str, Any]) -> None:
        async with self.session.post(path, json=body) as response:
            response.raise_for_status()


WAYS = (
    ("vLLM, unload + load, new directory", "new", False, True),
    ("vLLM, unload + load, same directory", "same", False, False),
    ("vLLM, load_inplace, new directory", "inplace", True, True),
)


async def vllm_alone(
    socket: Path, expected: Texts, root: Path, way: tuple[str, str, bool, bool], *, swaps: int, clients: int
) -> Row:
    """One way of its own."""
    title, name, inplace, new_directory = way
    connector = aiohttp.UnixConnector(str(socket), limit=0)
    timeout = aiohttp.ClientTimeout(120)
    async with aiohttp.ClientSession("http://engine", connector=connector, timeout=timeout) as session:
        own = Own(session, name, root / "adapters", root / "scratch", inplace, new_directory)
        await own.load(SEEDS[0], first=True)
        return await measure(title, Load(session, name, expected), own.load, swaps=swaps, clients=clients)


# -- all together ------------------------------------------------------------------------------------------------


def expected_texts(base: Path, adapters: Path) -> Texts:
    """What transformers and PEFT say with each adapter, asked in a process that ends."""
    code = (
        "import json, sys; from pathlib import Path; from benchmarks.swaps import recorded; "
        "print(json.dumps(recorded(Path(sys.argv[1]), Path(sys.argv[2]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(base), str(adapters)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    done.check_returncode()
    found = {int(seed): texts for seed, texts in json.loads(done.stdout).items()}
    assert all(found[1][prompt] != found[2][prompt] for prompt in PROMPTS)
    return found


def recorded(base: Path, adapters: Path) -> Texts:
    from pipelines.canaries import greedy_answers
    from pipelines.model import load_model, with_adapter

    loaded = load_model(base)
    found = {}
    for seed in SEEDS:
        with with_adapter(loaded, adapters / str(seed)) as adapted:
            texts = {one.prompt: one.text for one in greedy_answers(adapted, PROMPTS, TOKENS) if one.tokens == TOKENS}
        assert texts.keys() == set(PROMPTS), "a near tie: choose another prompt or seed"
        found[seed] = texts
    return found


def run(engine: str, *, swaps: int, clients: int) -> list[Row]:
    """Every row of the table, on one machine, one after the other."""
    with tempfile.TemporaryDirectory(prefix="swaps-") as scratch:
        root = Path(scratch)
        (root / "scratch").mkdir()
        make_tiny_base(root / "base")
        for seed in SEEDS:
            make_mixed_adapter(root / "adapters" / str(seed), seed)
        expected = expected_texts(root / "base", root / "adapters")
        environment = {}
        if engine == "vllm":
            python = make_vllm_python()
            environment = vllm_environment(python)
        with serving_host(root / "home") as host:
            host.begin()
            host.start(**environment)
            host.wait_ready()
            ours = through_us(host, engine, expected, root / "adapters", swaps=swaps, clients=clients)
            rows = [asyncio.run(ours)]
        for way in WAYS if engine == "vllm" else ():  # a new server each: not every way leaves it alive
            with bare_vllm(python, root) as socket:
                rows.append(asyncio.run(vllm_alone(socket, expected, root, way, swaps=swaps, clients=clients)))
        return rows


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = [
        "| way | swaps | engine | requests | failed | mixed | p50 | p99 | swap p50 | swap max |",
        "|" + "---|" * 10,
    ]
    for row in rows:
        engine = "lives" if row.survived else "died"
        counts = f"{row.swaps} | {engine} | {row.requests} | {row.failed} | {row.mixed}"
        times = (row.p50_ms, row.p99_ms, row.swap_p50_ms, row.swap_max_ms)
        lines.append(f"| {row.way} | {counts} | {' | '.join(f'{value} ms' for value in times)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["transformers", "vllm"], default="transformers")
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    on = machine.describe()
    rows = run(args.engine, swaps=args.swaps, clients=args.clients)
    if args.json:
        print(json.dumps({"machine": on, "rows": [asdict(row) for row in rows]}))
        return
    print(f"{args.clients} clients, half of them streaming; {machine.in_words(on)}\n\n{table(rows)}")
    for row in rows:
        if row.failures:
            print(f"\n{row.way}: {row.failures}")


if __name__ == "__main__":
    main()
