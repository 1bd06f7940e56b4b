"""The intake under load: tickets at a fixed rate, whatever the answers take (open loop), on PostgreSQL or SQLite.

``python -m benchmarks.intake [--rate 50] [--seconds 60] [--processes 1] [--sqlite] [--json]``. Latency counts from the
moment at which a request was due, so a service that falls behind cannot hide it. Then the rate is raised until the
service no longer keeps up. In the end every ticket that was accepted is looked for in the store. Several processes are
several replicas of one installation, asked in turn.
"""

import argparse
import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from benchmarks.machine import describe, in_words
from services import jobs
from services.installation import Installation, create_installation
from services.settings import load_settings
from services.store.tables import Ticket
from tests.ports import free_port
from tests.postgres import postgres_server

READY_S = 600.0
SERVE = (
    *("-m", "bentoml", "serve", "services.intake.service:Intake", "--host", "127.0.0.1"),
    *("--timeout-graceful-shutdown", "5"),
)
KEPT_UP = 0.97  # of the rate that was offered
STEP_S = 10.0
TARGET_P99_MS = 50.0


@dataclass(frozen=True)
class Served:
    """An intake that answers, in one process or in several."""

    installation: Installation
    urls: tuple[str, ...]
    token: str


@contextmanager
def serving(home: Path, url: str = "", *, processes: int = 1) -> Iterator[Served]:
    """The intake as it really runs, in a home of its own."""
    home.mkdir(parents=True)
    (home / "lethe.toml").write_text(f'[store]\nurl = "{url}"\n[jobs]\nurl = "{url}"\n', encoding="utf-8")
    installation = create_installation(load_settings(home), also=jobs.migrate)
    with ExitStack() as stack:
        urls = tuple(stack.enter_context(_process(home, number)) for number in range(processes))
        yield Served(installation, urls, installation.operator_key_path.read_text().strip())


@contextmanager
def _process(home: Path, number: int) -> Iterator[str]:
    """One process of it, and where it answers."""
    port = free_port()
    environment = {**os.environ, "LETHE_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
    with (home / "logs" / f"intake-{number}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *SERVE, "--port", str(port)],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + READY_S
        while not _answers(address):
            assert process.poll() is None, (home / "logs" / f"intake-{number}.log").read_text()[-3000:]
            assert time.monotonic() < deadline, "the intake does not become ready"
            time.sleep(0.2)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz", trust_env=False, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def ticket(number: int) -> dict[str, Any]:
    """A ticket of an invented person."""
    now = datetime.now(UTC).isoformat()
    return {
        "external_id": f"load-{number}",
        "regime": "gdpr",
        "ground": "withdrawn_consent",
        "base": "lethe",
        "subject": [
            {"kind": "name", "value": f"Person Number{number}"},
            {"kind": "email", "value": f"person.{number}@example.org"},
        ],
        "identity": {"method": "email_code", "verified": True, "evidence_ref": f"ev-{number}", "verified_at": now},
    }


@dataclass
class Load:
    """What one stretch of load came to."""

    rate: float
    asked: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    accepted: dict[str, str] = field(default_factory=dict)  # external id -> ticket id
    refused: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def quantile(self, share: float) -> float:
        """Of the latencies, in milliseconds."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")

    @property
    def done_rate(self) -> float:
        """Tickets a second that were accepted."""
        return len(self.accepted) / self.seconds if self.seconds else 0.0


async def offer(served: Served, rate: float, seconds: float, first: int) -> Load:
    """Send tickets at a rate; no request waits for the answer to another."""
    load = Load(rate)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    headers = {"Authorization": f"Bearer {served.token}"}
    async with httpx.AsyncClient(headers=headers, limits=limits, timeout=60, trust_env=False) as client:
        began = time.perf_counter()

        async def one(number: int, due: float) -> None:
            body = ticket(first + number)
            try:
                url = served.urls[number % len(served.urls)]
                answer = await client.post(f"{url}/v1/tickets", json=body)
            except httpx.TransportError as error:
                load.refused[type(error).__name__] = load.refused.get(type(error).__name__, 0) + 1
                return
            if answer.status_code == 201:
                load.accepted[body["external_id"]] = answer.json()["ticket_id"]
                load.latencies_ms.append((time.perf_counter() - due) * 1000)
            else:
                code = answer.json()["error"]["code"]
                load.refused[code] = load.refused.get(code, 0) + 1

        tasks = []
        for number in range(int(rate * seconds)):
            due = began + number / rate
            pause = due - time.perf_counter()
            if pause > 0:
                await asyncio.sleep(pause)
            load.asked += 1
            tasks.append(asyncio.create_task(one(number, due)))
        await asyncio.gather(*tasks)
        load.seconds = time.perf_counter() - began
    return load


def stored(served: Served) -> dict[str, str]:
    """External id to ticket id of everything in the store."""
    store = served.installation.open_store(with_keys=False)
    try:
        with store.read() as session:
            return {row.external_id: row.ticket_id for row in session.scalars(select(Ticket))}
    finally:
        store.close()


def measure(served: Served, rate: float, seconds: float) -> dict[str, Any]:
    """Warm up, the stretch that counts, then faster and faster until it no longer keeps up."""
    number = 0
    gc.collect()
    gc.freeze()  # a pause of the client would count as the service's

    def stretch(at: float, length: float) -> Load:
        nonlocal number
        load = asyncio.run(offer(served, at, length, number))
        number += load.asked
        return load

    loads = [stretch(min(rate, 10.0), 5.0)]
    main = stretch(rate, seconds)
    loads.append(main)
    steps, at = [], rate
    while True:
        at *= 1.5
        load = stretch(at, STEP_S)
        loads.append(load)
        steps.append(
            {"offered": round(at, 1), "accepted": round(load.done_rate, 1), "p99_ms": round(load.quantile(0.99), 1)}
        )
        if load.done_rate < KEPT_UP * at or load.refused:
            break
    kept = stored(served)
    accepted = {name: one for load in loads for name, one in load.accepted.items()}
    return {
        "rate": rate,
        "seconds": seconds,
        "asked": main.asked,
        "accepted": len(main.accepted),
        "p50_ms": round(main.quantile(0.5), 1),
        "p99_ms": round(main.quantile(0.99), 1),
        "target_p99_ms": TARGET_P99_MS,
        "saturation_per_s": max([round(main.done_rate, 1), *(step["accepted"] for step in steps)]),
        "steps": steps,
        "refused": {code: count for load in loads for code, count in load.refused.items()},
        "lost": sum(kept.get(name) != one for name, one in accepted.items()),
        "tickets": len(kept),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rate", type=float, default=50.0)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--processes", type=int, default=1)
    options.add_argument("--sqlite", action="store_true")
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    machine = describe()
    place = nullcontext("") if given.sqlite else postgres_server(durable=True)
    if given.sqlite and given.processes > 1:
        options.error("SQLite is for one process")
    with (
        tempfile.TemporaryDirectory() as scratch,
        place as url,
        serving(Path(scratch) / "home", url, processes=given.processes) as served,
    ):
        about = {"store": "sqlite" if given.sqlite else "postgresql", "processes": given.processes}
        found = {**about, **measure(served, given.rate, given.seconds)}
    if given.json:
        print(json.dumps({**found, "machine": machine}))
        return
    print(in_words(machine))
    where = f"{found['store']}, processes: {found['processes']}"
    print(f"{where}: {found['asked']} tickets at {given.rate:g}/s, open loop: {found['accepted']} accepted")
    print(f"p50 {found['p50_ms']} ms, p99 {found['p99_ms']} ms (target: below {TARGET_P99_MS:g} ms)")
    print(f"most accepted: {found['saturation_per_s']}/s; lost: {found['lost']} of {found['tickets']}")
    for step in found["steps"]:
        print(f"  offered {step['offered']}/s: accepted {step['accepted']}/s, p99 {step['p99_ms']} ms")


if __name__ == "__main__":
    main()
