"""One replica: follows the desired state, and is ready only while it serves it under a lease.

What it does next is decided by ``rollout.replica_action``; here it is carried out. Whatever fails before the flip
leaves the old generation serving, as long as its lease runs. After every start of the engine the desired release is
verified before the engine starts, and loaded and probed before the replica is ready.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from policies.errors import LetheError
from services.serving.alias import Alias, Served, Trial
from services.serving.changes import Changes
from services.serving.engine_client import EngineClient
from services.serving.lease import Lease
from services.serving.loading import Demands, EnginePort, Held, Loader
from services.serving.memory import HighWater, Memory
from services.serving.rollout import Action, ReplicaView, Version, replica_action
from services.serving.swap import READY, refused_state
from services.serving.wanted import Wanted, high_water, read_wanted
from services.store.engine import Store
from services.store.releases import report_prepared, report_replica

_LOG = logging.getLogger(__name__)
_POLL_S = 0.05
_RETRY_S = 1.0
_HEALTH_S = 5.0
_UNHEALTHY_LIMIT = 3
_STARTING = "starting"
_DRAINING = "draining"


class RuleKeeper(Protocol):
    """What a replica needs of suppression: it says which version of the rules is applied here."""

    @property
    def version(self) -> int: ...

    def due(self, version: int) -> bool: ...

    def refresh(self, version: int) -> None: ...


class NoRules:
    """Where suppression is switched off: no version of the rules is ever applied."""

    version = 0

    def due(self, version: int) -> bool:
        """Never."""
        return False

    def refresh(self, version: int) -> None:
        """Nothing to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSettings:
    """What a replica is.

    Attributes:
        replica_id: Unique among replicas, the same after a restart.
        demands: What it holds a release against.
        lease_s: How long its word counts.
        drain_timeout_s: How long requests may go on with an old generation.
        canary_share: Of API keys that a prepared release answers before the commit.
        shadow_share: Of requests that it answers besides, unseen.
    """

    replica_id: str
    demands: Demands
    lease_s: float = 15.0
    drain_timeout_s: float = 60.0
    canary_share: float = 0.0
    shadow_share: float = 0.0


class Replica:
    """Runs in the gateway's event loop; nothing in it blocks the loop.

    Args:
        settings: What it is.
        store: Whose desired state it follows.
        engine: Started, and started again, by the replica.
        memory: Of the highest state that it served.
        changes: Tells when to read the store.
        rules: Keeps the rules of suppression.
        address: URL of its gateway, for probes of this very replica.
        about: What it says of engine and caches in its row.
        trial: Figures of the release on trial, for its row; None while there is none.
    """

    def __init__(
        self,
        settings: ReplicaSettings,
        store: Store,
        engine: EnginePort,
        memory: Memory,
        changes: Changes,
        *,
        rules: RuleKeeper,
        address: str | None = None,
        about: Callable[[], dict[str, Any]] = dict,
        trial: Callable[[], dict[str, Any] | None] = lambda: None,
    ) -> None:
        self._settings, self._store, self._engine = settings, store, engine
        self._memory, self._changes, self._rules = memory, changes, rules
        self._address, self._about, self._trial = address, about, trial
        self._loader = Loader(settings.demands, store, engine)
        self.alias = Alias()
        self._lease = Lease(self._end_answers)
        self._wanted: Wanted | None = None
        self._news = asyncio.Event()
        self._held: Held | None = None  # what is served
        self._prepared: Held | None = None
        self._refused: tuple[datetime, str] | None = None  # the proposal, and why
        self._told: datetime | None = None  # the proposal of which the store knows what came of it here
        self._old: list[Served] = []
        self._settled = True
        self._state = _STARTING
        self._retry_at = 0.0
        self._last_failure = ""
        self._report_lock = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def client(self) -> EngineClient:
        """The engine's client."""
        return self._engine.client

    @property
    def ready(self) -> bool:
        """Whether a request may be answered: a verified release is loaded and probed, and the lease runs."""
        return self.alias.current is not None and self._engine.alive and self._lease.running

    @property
    def state(self) -> str:
        """As in the replica's row."""
        return self._state

    def start(self) -> None:
        """Begin to follow the desired state."""
        jobs = (self._watch(), self._follow(), self._keep_lease(), self._watch_health())
        self._tasks = [asyncio.create_task(job) for job in jobs]

    async def stop(self) -> None:
        """Stop, give the lease back, end the engine."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._lease.end()
        self._state = "stopped"
        with suppress(Exception):  # without it the lease runs out by itself
            await self._write_row(lease_s=0.0)
        await self._engine.stop()
        await asyncio.to_thread(self._changes.close)

    # what the store says

    async def _watch(self) -> None:
        """Notice changes, and apply rules of suppression at once: they wait for no swap."""
        while True:
            try:
                if await asyncio.to_thread(self._changes.due):
                    wanted = await asyncio.to_thread(self._read_wanted)
                    if wanted != self._wanted:
                        self._wanted = wanted
                        self._news.set()
                if self._wanted is not None and self._rules_due(self._wanted):
                    await self._apply_rules(self._wanted)
            except Exception as error:  # whatever it is, a replica that stops watching would never catch up
                await self._note_failure(error)
            await asyncio.sleep(_POLL_S)

    def _rules_due(self, wanted: Wanted) -> bool:
        """Whether other rules are to be applied; never those of a store that is older than what is served."""
        current = self.alias.current
        older = current is not None and wanted.desired[0] < current.generation
        return not older and self._rules.due(wanted.suppression_version)

    async def _apply_rules(self, wanted: Wanted) -> None:
        before = self._rules.version
        await self._stop_if_uncovered(wanted)  # before a rule goes that the served release relies on
        await asyncio.to_thread(self._rules.refresh, wanted.suppression_version)
        await self._stop_if_uncovered(wanted)  # another may have come to be served meanwhile
        if self._rules.version != before:
            await self._write_row()

    async def _stop_if_uncovered(self, wanted: Wanted) -> None:
        """Answer nobody from a release that misses an erased person whom the rules to come no longer suppress."""
        held = self._held
        if held is None:
            return
        try:
            await asyncio.to_thread(self._loader.check_watermark, held, wanted.watermark, wanted.suppression_version)
        except LetheError as error:
            _LOG.error("cannot go on serving: %s", error.code)
            if self._held is held:
                self._end_answers()
                await self._serve_nothing()

    def _read_wanted(self) -> Wanted:
        return read_wanted(self._store, self._settings.demands.identity.base_digest)

    def _high_water(self) -> HighWater:
        demands = self._settings.demands
        return high_water(self._memory, demands.releases, demands.identity.base_digest, demands.trust())

    # what the replica does

    async def _follow(self) -> None:
        while True:
            try:
                if not await self._turn():
                    await self._pause()
            except Exception as error:  # whatever it is, a replica that stops following would never catch up
                await self._note_failure(error)

    async def _pause(self) -> None:
        """Until there is news, the engine has ended, or it is time to try again."""
        while not self._news.is_set() and (self._engine.alive or self.alias.current is None):
            if self._retry_at and time.monotonic() >= self._retry_at:
                break
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), _POLL_S)
        self._news.clear()
        self._retry_at = 0.0

    async def _turn(self) -> bool:
        """One look and one action; gives whether to look again at once."""
        if not self._engine.alive:
            await self._forget_engine()
        high = await asyncio.to_thread(self._high_water)
        wanted = self._wanted
        if wanted is None:
            return False
        action = replica_action(self._view(wanted, high))
        if action is Action.NONE:
            return await self._tell(wanted)
        try:
            await self._do(action, wanted, high)
        except LetheError as error:
            if error.code == "serving.engine_down":
                raise
            await self._cannot(action, wanted, error)
            return False
        self._last_failure = ""
        return True

    def _view(self, wanted: Wanted, high: HighWater) -> ReplicaView:
        current = self.alias.current
        return ReplicaView(
            served=None if current is None else (current.generation, current.digest),
            desired=wanted.desired,
            proposed=wanted.proposed,
            prepared=None if self._prepared is None else self._prepared.version,
            high=(high.generation, high.release_digest),
            settled=self._settled,
            refused=self._refused is not None and self._refused[0] == wanted.proposed_at,
        )

    async def _do(self, action: Action, wanted: Wanted, high: HighWater) -> None:
        match action:
            case Action.HOLD:
                await self._hold(wanted, high)
            case Action.JOIN:
                held = await self._load(wanted.desired, wanted, high)
                await self._serve(held, wanted, high)
            case Action.COMMIT:
                assert self._prepared is not None
                await self._serve(self._prepared, wanted, high)
            case Action.SETTLE:
                await self._settle()
            case Action.PREPARE:
                assert wanted.proposed is not None
                self._prepared = await self._load(wanted.proposed, wanted, high)
                self._try_out(self._prepared)
            case Action.DISCARD:
                await self._discard()

    async def _hold(self, wanted: Wanted, high: HighWater) -> None:
        """The store is behind, unless what was read of it is only older than the statement that was read after."""
        self._wanted = await asyncio.to_thread(self._read_wanted)
        if self._wanted == wanted:
            high.check(*wanted.desired, wanted.watermark)

    async def _load(self, version: Version, wanted: Wanted, high: HighWater) -> Held:
        high.check(*wanted.desired, wanted.watermark)
        if self._rules_due(wanted):
            await self._apply_rules(wanted)
        erased, alone = wanted.watermark | high.watermark, self.alias.current is None
        return await self._loader.load(version, erased, self._rules.version, alone=alone)

    async def _serve(self, held: Held, wanted: Wanted, high: HighWater) -> None:
        """Remember, then flip: a crash in between loses nothing."""
        high.check(*wanted.desired, wanted.watermark)
        erased, rules = wanted.watermark | high.watermark, self._rules.version
        await asyncio.to_thread(self._loader.check_watermark, held, erased, rules)
        await asyncio.to_thread(self._memory.write, high.raised(*held.version, erased))
        if self._rules.version != rules:
            return  # who is suppressed has changed meanwhile: look again
        old = self.alias.flip(held.served)
        self._held = held
        self._prepared = self._refused = self._told = None
        self._settled = False
        self._state = _DRAINING
        if old is not None:
            self._old.append(old)
        await self._write_row()

    async def _settle(self) -> None:
        """Drain what came before, unload everything but what is served, and only then say so."""
        while self._old:
            if not await self.alias.drain(self._old[0], self._settings.drain_timeout_s):
                _LOG.warning("requests on generation %d were cut off after the drain timeout", self._old[0].generation)
            self._old.pop(0)
        current = self.alias.current
        assert current is not None
        await self._loader.unload_all_but(current.name)
        self._state = READY
        await self._write_row(acked=True)
        self._settled = True
        _LOG.info("serving generation %d, release %s", current.generation, current.name)

    def _try_out(self, held: Held) -> None:
        if self._settings.canary_share or self._settings.shadow_share:
            self.alias.try_out(Trial(held.served, self._settings.canary_share, self._settings.shadow_share))

    async def _discard(self) -> None:
        """Unload what was prepared for a proposal that is gone."""
        held, self._prepared, self._told = self._prepared, None, None
        assert held is not None
        tried = self.alias.end_trial()
        if tried is not None:
            await self.alias.drain(tried, self._settings.drain_timeout_s)
        await self._engine.client.unload(held.served.name)

    async def _tell(self, wanted: Wanted) -> bool:
        """Say what came of a proposal, once; nothing needs to be done besides."""
        at = wanted.proposed_at
        if at is None or at == self._told:
            return False
        refused = self._refused[1] if self._refused is not None and self._refused[0] == at else None
        await asyncio.to_thread(self._report_prepared, at, refused)
        self._told = at
        return False

    async def _cannot(self, action: Action, wanted: Wanted, error: LetheError) -> None:
        """Refuse: a proposal once and for all, what is desired until it can be served."""
        if error.code != self._last_failure:
            _LOG.error("cannot %s: %s", action, error.code)
        self._last_failure = error.code
        if action is Action.PREPARE and wanted.proposed_at is not None:
            self._refused = (wanted.proposed_at, error.code)
            self._news.set()
            return
        self._retry_at = time.monotonic() + _RETRY_S
        if self.alias.current is None:
            self._state = refused_state(wanted.desired[0], error.code)
        await self._write_row()

    async def _forget_engine(self) -> None:
        """The engine has ended, and with it all that was loaded."""
        if self.alias.current is not None:
            _LOG.warning("the engine ended; starting it again")
            await self._serve_nothing()

    async def _serve_nothing(self) -> None:
        """Stand as after a start: what is served next is verified and loaded anew."""
        self.alias.flip(None)
        self._held, self._prepared, self._told = None, None, None
        self._old.clear()
        self._settled = True
        self._state = _STARTING
        self._news.set()
        await self._write_row()

    async def _note_failure(self, error: Exception) -> None:
        """Nothing to follow yet, a store that cannot be read, an engine that does not start: try again."""
        reason = error.code if isinstance(error, LetheError) else type(error).__name__
        if reason != self._last_failure:
            _LOG.warning("not following the desired state: %s", reason)
        self._last_failure = reason
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
        """Say where the replica stands, which renews the lease unless the fleet has gone on without it."""
        async with self._report_lock:
            began, asked = time.monotonic(), self._settings.lease_s if lease_s is None else lease_s
            if await asyncio.to_thread(self._report, acked, asked) and asked and await self._keeps_up():
                self._lease.extend(began, asked)

    async def _keeps_up(self) -> bool:
        """Whether it serves what a statement says was committed: an older store that was restored does not know."""
        current = self.alias.current
        try:
            high = await asyncio.to_thread(self._high_water)
        except LetheError:
            return True  # what is served goes on; only what would be served anew is held against a damaged statement
        return current is None or current.generation >= high.generation

    def _end_answers(self) -> None:
        """The lease has ended: the fleet may have gone on, so nobody may be answered from this generation."""
        self.alias.cut_off()
        for old in self._old:
            old.cut.set()

    def _report(self, acked: bool, lease_s: float) -> bool:
        current = self.alias.current
        adapters = [one.name for one in (current, *self._old) if one is not None]
        adapters += [] if self._prepared is None else [self._prepared.served.name]
        with self._store.write() as session:
            return report_replica(
                session,
                self._settings.replica_id,
                base_digest=self._settings.demands.identity.base_digest,
                state=self._state,
                generation=-1 if current is None else current.generation,
                release_digest=None if current is None else current.digest,
                lease_s=lease_s,
                suppression_version=self._rules.version,
                address=self._address,
                about={**self._about(), "adapters": sorted(adapters)},
                trial=self._trial(),
                acked=acked,
            )

    def _report_prepared(self, proposed_at: datetime, refused: str | None) -> None:
        with self._store.write() as session:
            report_prepared(
                session,
                self._settings.replica_id,
                base_digest=self._settings.demands.identity.base_digest,
                proposed_at=proposed_at,
                refused=refused,
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
