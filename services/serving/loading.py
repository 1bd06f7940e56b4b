"""How a release comes into the engine: verified by this very host, loaded beside what is served, probed."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sqlalchemy import select

from pipelines.adapter import BaseIdentity, Release, Trust, release_name, verify_release
from pipelines.adapter.verify import MAX_RANK
from policies.errors import LetheError
from policies.thresholds import Thresholds
from services.serving.alias import Served
from services.serving.engine_client import EngineClient
from services.serving.rollout import Version
from services.store.engine import Store
from services.store.releases import get_release
from services.store.tables import Suppression


class EnginePort(Protocol):
    """What a replica needs of an engine, whichever it is."""

    @property
    def client(self) -> EngineClient: ...

    @property
    def alive(self) -> bool: ...

    async def start(self, boot: tuple[str, Path] | None = None) -> None:
        """Start it; ``boot`` is a verified release (name, directory) that it may load at once."""

    async def stop(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What a release is held against.

    Attributes:
        identity: The base that runs here.
        base_shapes: Of the base's linear weights.
        releases: Where release directories and statements lie.
        trust_path: Public keys; read again at every verification, so that a rotation needs no restart.
        floor: Thresholds that no pack can lower.
        max_rank: The engine's limit.
        canary_tolerance: Difference of a canary's log-probability that is let pass, beside fp32.
    """

    identity: BaseIdentity
    base_shapes: Mapping[str, tuple[int, int]]
    releases: Path
    trust_path: Path
    floor: Thresholds
    max_rank: int = MAX_RANK
    canary_tolerance: float = 0.25

    def trust(self) -> Trust:
        """The keys that count now."""
        return Trust.from_file(self.trust_path)


@dataclass(frozen=True, slots=True)
class Held:
    """A release that is loaded and probed."""

    served: Served
    watermark: frozenset[str]

    @property
    def version(self) -> Version:
        """Its generation and digest."""
        return self.served.generation, self.served.digest


class Loader:
    """Brings releases into one engine."""

    def __init__(self, demands: Demands, store: Store, engine: EnginePort) -> None:
        self._demands, self._store, self._engine = demands, store, engine

    async def load(self, version: Version, erased: frozenset[str], rules_version: int, *, alone: bool) -> Held:
        """Verify a release, start the engine with it if that does not run, load it, and probe it.

        Args:
            version: The generation that it is loaded for, and its digest.
            erased: Tickets that it must carry, unless they are suppressed here.
            rules_version: Of the rules of suppression that are applied here.
            alone: Nothing else is served: whatever the engine still holds goes first.

        Raises:
            LetheError: ``release.*``, ``serving.*``: nothing new is loaded.
        """
        release = await asyncio.to_thread(self._verify, version[1], erased, rules_version)
        path = release.path.absolute()
        if not self._engine.alive:
            await self._engine.start((release.name, path))
        client = self._engine.client
        if alone:
            await self.unload_all_but(release.name)
        try:
            if (await client.adapters()).get(release.name) != str(path):
                await client.load(release.name, path)
            await client.probe(
                release.name,
                release.card.canaries,
                dtype=self._demands.identity.dtype,
                tolerance=self._demands.canary_tolerance,
            )
        except LetheError:
            with suppress(LetheError):
                await client.unload(release.name)
            raise
        return Held(Served(version[0], release.name, release.digest), release.watermark)

    async def unload_all_but(self, name: str) -> None:
        """Unload every other adapter, and see to it that they are gone.

        Raises:
            LetheError: ``serving.unload_failed``, ``serving.engine_down``.
        """
        client = self._engine.client
        for other in (await client.adapters()).keys() - {name}:
            await client.unload(other)

    def check_watermark(self, held: Held, erased: frozenset[str], rules_version: int) -> None:
        """Refuse a release that misses a ticket which is not suppressed here. Blocking.

        Raises:
            LetheError: ``release.watermark``.
        """
        if self._unsuppressed(erased - held.watermark, rules_version):
            raise LetheError("release.watermark", "The adapter does not carry every closed ticket.")

    def _verify(self, digest: str, erased: frozenset[str], rules_version: int) -> Release:
        with self._store.read() as session:
            stored = get_release(session, digest)
        own = self._demands.releases / release_name(digest)
        missing = erased - frozenset(stored.watermark)
        return verify_release(
            own if own.is_dir() else Path(stored.path),
            self._demands.trust(),
            base=self._demands.identity,
            floor=self._demands.floor,
            required_watermark=(erased - missing) | self._unsuppressed(missing, rules_version),
            expected_digest=digest,
            base_shapes=self._demands.base_shapes,
            max_rank=self._demands.max_rank,
        )

    def _unsuppressed(self, tickets: frozenset[str], rules_version: int) -> frozenset[str]:
        """Those of the tickets that no rule which is applied here suppresses."""
        if not tickets:
            return tickets
        query = select(Suppression.ticket_id).where(
            Suppression.base_digest == self._demands.identity.base_digest,
            Suppression.lifted_at.is_(None),
            Suppression.version <= rules_version,
        )
        with self._store.read() as session:
            return tickets - frozenset(session.scalars(query))
