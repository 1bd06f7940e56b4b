"""What the door's short memory of keys saves for each request: ``python -m benchmarks.door``.

The same door, app and store, once as it is and once forgetting every key at once; in turns, so that both see the same
machine. Processor time, not wall time: the look-up runs in a thread beside the loop.
"""

import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from services import auth
from services.installation import create_installation
from services.serving.gateway.door import Door, Known
from services.settings import load_settings
from services.store.engine import Store

ROUNDS, REQUESTS = 6, 300


class Forgetful(Known):
    """Remembers nobody."""

    def put(self, token: str, identity: auth.Identity, *, asked_at: float) -> None:
        """Nothing."""


async def _app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def _requests(door: Door, token: str) -> float:
    """Milliseconds of processor time for each request."""
    statuses: list[int] = []

    async def send(message: Any) -> None:
        statuses.append(message["status"])

    async def receive() -> Any:
        return {"type": "http.request"}

    path = b"/v1/chat/completions"
    scope = {"type": "http", "method": "POST", "path": path.decode(), "raw_path": path}
    began = time.process_time()
    for _ in range(REQUESTS):
        await door({**scope, "headers": [(b"authorization", f"Bearer {token}".encode())]}, receive, send)
    spent = time.process_time() - began
    if set(statuses) != {200}:
        raise RuntimeError(statuses)
    return 1000 * spent / REQUESTS


def measure(store: Store, token: str) -> dict[str, float]:
    """Both doors in turns; the best round of each, and how many times as much the forgetful one takes."""
    found: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(ROUNDS):
        for name in found:
            door = Door(_app, open_store=lambda: store)
            if name == "without":
                door._known = Forgetful()
            found[name].append(asyncio.run(_requests(door, token)))
    best = {f"{name}_ms": round(min(times), 4) for name, times in found.items()}
    return {**best, "ratio": round(best["without_ms"] / best["with_ms"], 1)}


def main() -> None:
    """Print one JSON object."""
    with tempfile.TemporaryDirectory() as scratch:
        installation = create_installation(load_settings(Path(scratch) / "home"))
        store = installation.open_store(with_keys=False)
        token = installation.operator_key_path.read_text().strip()
        print(json.dumps(measure(store, token)))
        store.close()


if __name__ == "__main__":
    main()
