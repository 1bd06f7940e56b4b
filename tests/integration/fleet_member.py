"""One replica as a process of its own: real gateway, real loop, an engine beside it; it waits where a test tells it to.

``python -m tests.integration.fleet_member HOME ID ENGINE_SOCKET PORT``.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send

from pipelines.adapter import base_identity
from pipelines.adapter.weights import base_linear_shapes
from policies.thresholds import FLOOR
from services import keys
from services.auth import IDENTITY, Identity
from services.serving.changes import Changes
from services.serving.gateway.app import Gateway
from services.serving.loading import Demands, EnginePort, Held
from services.serving.memory import HighWater, Memory
from services.serving.replica import NoRules, Replica, ReplicaSettings
from services.serving.rollout import Version
from services.serving.sidecar import Sidecar
from services.serving.wanted import Wanted
from services.settings import Settings, load_settings
from services.store.engine import Store, open_store

POLL_S = 0.02
QUICK = {"lease_s": 2.0, "prepare_timeout_s": 6.0, "drain_timeout_s": 3.0}


def demands_of(settings: Settings) -> Demands:
    base = settings.home / "bases" / "tiny"
    return Demands(
        identity=base_identity(base),
        base_shapes=base_linear_shapes(base),
        releases=settings.home / "releases",
        trust_path=keys.trust_path(settings),
        floor=FLOOR,
    )


def make_member(
    settings: Settings, store: Store, name: str, engine: EnginePort, demands: Demands, kind: type[Replica] = Replica
) -> Replica:
    return kind(
        ReplicaSettings(
            replica_id=name,
            demands=demands,
            lease_s=settings.serving.lease_s,
            drain_timeout_s=settings.serving.drain_timeout_s,
        ),
        store,
        engine,
        Memory(settings.home / "serving" / name, demands.identity.base_digest),
        Changes(settings.store_url),
        rules=NoRules(),
        about=lambda: {"engine": "transformers"},
    )


def stall_file(home: Path, name: str, point: str) -> Path:
    """While it is there, the process of that name waits at that point; ``.reached`` beside it says that it does."""
    return home / "stalls" / f"{name}-{point}"


async def stall(home: Path, name: str, point: str) -> None:
    file = stall_file(home, name, point)
    if file.exists():
        file.with_suffix(".reached").touch()
    while file.exists():
        await asyncio.sleep(POLL_S)


class StallingReplica(Replica):
    """The replica itself; it only waits between its steps where a test has said so."""

    async def _stall(self, point: str) -> None:
        await stall(self._settings.demands.releases.parent, self._settings.replica_id, point)

    async def _load(self, version: Version, wanted: Wanted, high: HighWater) -> Held:
        if version == wanted.proposed:
            await self._stall("proposed")
        return await super()._load(version, wanted, high)

    async def _serve(self, held: Held, wanted: Wanted, high: HighWater) -> None:
        await self._stall("committed")
        await super()._serve(held, wanted, high)

    async def _settle(self) -> None:
        await self._stall("draining")
        await super()._settle()

    async def _write_row(self, *, acked: bool = False, lease_s: float | None = None) -> None:
        if acked:
            await self._stall("unacked")
        await super()._write_row(acked=acked, lease_s=lease_s)


class Inside:
    """Lets every request through to the gateway as that of one key: the door is tested elsewhere."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[IDENTITY] = Identity(key_id="k-1", scopes=frozenset({"infer"}))
        await self._gateway(scope, receive, send)


async def main(home: Path, name: str, socket: Path, port: int) -> None:
    settings = load_settings(home, serving=QUICK)
    store = open_store(settings.store_url, busy_timeout_s=0.5)
    replica = make_member(settings, store, name, Sidecar(socket), demands_of(settings), StallingReplica)
    gateway = Gateway()
    gateway.attach(replica, names=("lethe",))
    replica.start()
    options: dict[str, Any] = {"lifespan": "off", "log_level": "warning", "access_log": False}
    await uvicorn.Server(uvicorn.Config(Inside(gateway), port=port, **options)).serve()
    await replica.stop()
    store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])))
