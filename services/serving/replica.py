"""One replica: follows the desired state, and is ready only while it serves it under a lease.

Prepare (verify, load beside, probe) → remember → flip → drain → unload → acknowledge. Whatever fails before the flip
leaves the old generation serving. After every start of the engine the same steps run before the replica is ready.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipelines.adapter import BaseIdentity, Release, Trust, release_name, verify_release
from policies.errors import LetheError
from policies.thresholds import Thresholds
from services.serving.alias import Alias, Served
from services.serving.changes import Changes
from services.serving.engine_client import EngineClient
from services.serving.memory import Memory
from services.serving.swap import READY, refused_state
from services.store.engine import Store
from services.store.releases import get_desired, get_release, report_replica

_LOG = logging.getLogger(__name__)
_POLL_S = 0.1
_RETRY_S = 1.0
_HEALTH_S = 5.0
_UNHEALTHY_LIMIT = 3
_DRAINING = "draining"


class EnginePort(Protocol):
    """What a replica needs of an engine, whichever it is."""

    @property
    def client(self) -> EngineClient: ...

    @property
    def alive(self) -> bool: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSettings:
    """What a replica is and what it demands.

    Attributes:
        replica_id: Unique among replicas, the same after a restart.
        identity: The base that it runs.
        base_shapes: Of the base's linear weights.
        releases: Where release directories lie.
        trust_path: Public keys; read again at every verification, so that a rotation needs no restart.
        floor: Thresholds that no pack can lower.
        lease_s: How long its word counts.
        drain_timeout_s: How long requests may go on with an old generation.
    """

    replica_id: str
    identity: BaseIdentity
    base_shapes: Mapping[str, tuple[int, int]]
    releases: Path
    trust_path: Path
    floor: Thresholds
    lease_s: float = 15.0
    drain_timeout_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Desired:
    """A row of the desired state, with the path of its release."""

    generation: int
    digest: str
    watermark: frozenset[str]
    path: Path


class Replica:
    """Runs in the gateway's event loop; nothing in it blocks the loop."""

    def __init__(
        self, settings: ReplicaSettings, store: Store, engine: EnginePort, memory: Memory, changes: Changes
    ) -> None:
        self._settings, self._store, self._engine = settings, store, engine
        self._memory, self._changes = memory, changes
        self.alias = Alias()
        self._lease_end = 0.0
        self._state = "starting"
        self._engine_started = False
        self._refused_generation = -1
        self._retry_at = 0.0
        self._last_failure = ""
        self._old: list[Served] = []
        self._report_lock = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def client(self) -> EngineClient:
        """The engine's client."""
        return self._engine.client

    @property
    def ready(self) -> bool:
        """Whether a request may be answered: a verified release is loaded and probed, and the lease runs."""
        return self.alias.current is not None and self._engine.alive and time.monotonic() < self._lease_end

    @property
    def state(self) -> str:
        """As in the replica's row."""
        return self._state

    def start(self) -> None:
        """Begin to follow the desired state."""
        self._tasks = [asyncio.create_task(job) for job in (self._follow(), self._keep_lease(), self._watch_health())]

    async def stop(self) -> None:
        """Stop, give the lease back, end the engine."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._lease_end = 0.0
        self._state = "stopped"
        with suppress(Exception):  # without it the lease runs out by itself
            await self._write_row(lease_s=0.0)
        await self._engine.stop()
        self._changes.close()

    # following

    async def _follow(self) -> None:
        while True:
            try:
                await self._turn()
            except Exception as error:  # whatever it is, a replica that stops following would never catch up
                await self._note_failure(error)
            await asyncio.sleep(_POLL_S)

    async def _turn(self) -> None:
        if not self._engine.alive:
            await self._restart_engine()
        retry = self._retry_at and time.monotonic() >= self._retry_at
        if not await asyncio.to_thread(self._changes.due) and not retry:
            return
        self._retry_at = 0.0
        desired = await asyncio.to_thread(self._read_desired)
        current = self.alias.current
        if current is not None and (current.generation, current.digest) == (desired.generation, desired.digest):
            if self._state == _DRAINING:  # an earlier attempt failed in the middle
                await self._settle(current)
            return
        if desired.generation == self._refused_generation and current is not None:
            return  # said once; only another generation is tried
        await self._swap(desired)

    async def _restart_engine(self) -> None:
        if self._engine_started:
            _LOG.warning("the engine ended; starting it again")
        self._engine_started = True
        self.alias.flip(None)
        self._old.clear()
        self._state = "starting"
        self._retry_at = time.monotonic()
        await self._engine.start()

    async def _swap(self, desired: Desired) -> None:
        high = await asyncio.to_thread(self._memory.read)
        try:
            high.check(desired.generation, desired.digest, desired.watermark)
            release = await asyncio.to_thread(self._verify, desired, high.watermark)
            await self._load_and_probe(release)
        except LetheError as error:
            if error.code == "serving.engine_down":
                raise
            await self._refuse(desired, error)
            return
        raised = high.raised(desired.generation, desired.digest, desired.watermark)
        await asyncio.to_thread(self._memory.write, raised)  # before it is served: a crash in between loses nothing
        served = Served(desired.generation, release.name, release.digest)
        old = self.alias.flip(served)
        if old is not None:
            self._old.append(old)
        self._state = _DRAINING
        await self._write_row()
        await self._settle(served)

    async def _settle(self, served: Served) -> None:
        """Drain what came before, unload everything but what is served, and only then say so."""
        while self._old:
            await self._drain(self._old[0], served)
            self._old.pop(0)
        client = self._engine.client
        for other in (await client.adapters()).keys() - {served.name}:
            await client.unload(other)
        self._state = READY
        await self._write_row(acked=True)
        _LOG.info("serving generation %d, release %s", served.generation, served.name)

    async def _drain(self, old: Served, served: Served) -> None:
        if old.name == served.name:
            return  # another generation of the same release: nothing is unloaded
        if not await self.alias.drain(old, self._settings.drain_timeout_s):
            _LOG.warning("requests on generation %d were cut off after the drain timeout", old.generation)

    def _read_desired(self) -> Desired:
        with self._store.read() as session:
            state = get_desired(session, self._settings.identity.base_digest)
            release = get_release(session, state.release_digest)
            own = self._settings.releases / release_name(state.release_digest)
            return Desired(
                generation=state.generation,
                digest=state.release_digest,
                watermark=frozenset(state.watermark),
                path=own if own.is_dir() else Path(release.path),
            )

    def _verify(self, desired: Desired, remembered: frozenset[str]) -> Release:
        return verify_release(
            desired.path,
            Trust.from_file(self._settings.trust_path),
            base=self._settings.identity,
            floor=self._settings.floor,
            required_watermark=desired.watermark | remembered,
            expected_digest=desired.digest,
            base_shapes=self._settings.base_shapes,
        )

    async def _load_and_probe(self, release: Release) -> None:
        client = self._engine.client
        loaded = await client.adapters()
        if release.name not in loaded:
            await client.load(release.name, release.path.absolute())
        try:
            await client.probe(release.name)
        except LetheError:
            current = self.alias.current
            if current is None or current.name != release.name:
                await client.unload(release.name)
            raise

    async def _refuse(self, desired: Desired, error: LetheError) -> None:
        _LOG.error("generation %d refused: %s", desired.generation, error.code)
        self._refused_generation = desired.generation
        self._state = refused_state(desired.generation, error.code)
        if self.alias.current is None:
            self._retry_at = time.monotonic() + _RETRY_S  # not ready: the cause may be mended from outside
        await self._write_row()

    async def _note_failure(self, error: Exception) -> None:
        """Nothing to follow yet, a store that cannot be read, an engine that does not start: try again."""
        reason = error.code if isinstance(error, LetheError) else type(error).__name__
        if reason != self._last_failure:
            _LOG.warning("not following the desired state: %s", reason)
        self._last_failure = reason
        self._retry_at = time.monotonic() + _RETRY_S
        await asyncio.sleep(_RETRY_S)

    # lease and health

    async def _keep_lease(self) -> None:
        while True:
            try:
                await self._write_row()
            except Exception as error:  # the lease runs out by itself if this goes on
                _LOG.warning("the lease was not renewed: %s", type(error).__name__)
            await asyncio.sleep(self._settings.lease_s / 3)

    async def _write_row(self, *, acked: bool = False, lease_s: float | None = None) -> None:
        """Renew the lease by saying where the replica stands; the lease starts when the writing began."""
        async with self._report_lock:
            started = time.monotonic()
            await asyncio.to_thread(self._report, acked, self._settings.lease_s if lease_s is None else lease_s)
            if lease_s is None:
                self._lease_end = started + self._settings.lease_s

    def _report(self, acked: bool, lease_s: float) -> None:
        current = self.alias.current
        with self._store.write() as session:
            report_replica(
                session,
                self._settings.replica_id,
                base_digest=self._settings.identity.base_digest,
                state=self._state,
                generation=-1 if current is None else current.generation,
                release_digest=None if current is None else current.digest,
                lease_s=lease_s,
                acked=acked,
            )

    async def _watch_health(self) -> None:
        """An engine that lives but does not answer is ended; following starts it again."""
        misses = 0
        while True:
            await asyncio.sleep(_HEALTH_S)
            if not self._engine.alive or self.alias.current is None:
                misses = 0
                continue
            try:
                misses = 0 if await self._engine.client.healthy() else misses + 1
            except LetheError:
                continue
            if misses >= _UNHEALTHY_LIMIT:
                _LOG.error("the engine does not answer; ending it")
                misses = 0
                await self._engine.stop()
