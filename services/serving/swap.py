"""The coordinator's side of a swap: ask for it by compare-and-swap, then wait until every replica has confirmed."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from policies.errors import LetheError
from services.store.engine import Store
from services.store.releases import compare_and_swap, get_desired, live_replicas
from services.store.tables import Replica

READY = "ready"


def refused_state(generation: int, code: str) -> str:
    """How a replica says in its row that it refuses a generation, and why."""
    return f"refused:{generation}:{code}"[:64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """One replica's word: it serves this release and has unloaded the one before."""

    replica_id: str
    digest: str
    acked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapReceipt:
    """A swap that every live replica confirmed.

    Attributes:
        base_digest: Which base.
        generation: Served now.
        digest: Of the release.
        replicas: One confirmation each.
        seconds: From the change of the desired state to the last confirmation.
    """

    base_digest: str
    generation: int
    digest: str
    replicas: tuple[Confirmation, ...]
    seconds: float


def request_swap(
    session: Session, base_digest: str, release_digest: str, expected_generation: int, *, actor: str = "system:swap"
) -> int:
    """Make a release the desired one; gives the new generation.

    Raises:
        LetheError: As ``compare_and_swap``.
    """
    state = compare_and_swap(
        session,
        base_digest,
        expected_generation=expected_generation,
        release_digest=release_digest,
        actor=actor,
    )
    return state.generation


def wait_confirmed(
    store: Store, base_digest: str, generation: int, timeout_s: float, *, min_ready: int = 1, poll_s: float = 0.05
) -> SwapReceipt:
    """Wait until every replica with a lease serves the generation.

    Raises:
        LetheError: ``swap.refused`` as soon as a replica refuses the release, ``swap.timeout``, ``swap.superseded``.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        with store.read() as session:
            state = get_desired(session, base_digest)
            replicas = live_replicas(session, base_digest)
            changed_at, digest, now = state.changed_at, state.release_digest, state.generation
        if now != generation:
            raise LetheError("swap.superseded", f"The desired state is at generation {now} by now.")
        behind = [r for r in replicas if (r.generation, r.release_digest, r.state) != (generation, digest, READY)]
        _raise_refusals(behind, generation)
        confirmed = [r for r in replicas if r.acked_at is not None and r not in behind]
        if not behind and len(confirmed) >= min_ready:
            return _receipt(base_digest, generation, digest, confirmed, changed_at)
        if time.monotonic() > deadline:
            raise LetheError(
                "swap.timeout",
                f"{len(confirmed)} of {len(replicas)} replicas confirmed generation {generation} in time.",
                tuple(f"{r.replica_id}: {r.state}, generation {r.generation}" for r in behind),
            )
        time.sleep(poll_s)


def _raise_refusals(replicas: Sequence[Replica], generation: int) -> None:
    start = refused_state(generation, "")
    refused = tuple(f"{r.replica_id}: {r.state.removeprefix(start)}" for r in replicas if r.state.startswith(start))
    if refused:
        raise LetheError("swap.refused", "A replica refuses the release and keeps serving the one before.", refused)


def _receipt(
    base_digest: str, generation: int, digest: str, replicas: Sequence[Replica], changed_at: datetime
) -> SwapReceipt:
    words = tuple(
        Confirmation(replica_id=r.replica_id, digest=digest, acked_at=r.acked_at)
        for r in replicas
        if r.acked_at is not None
    )
    last = max(word.acked_at for word in words)
    return SwapReceipt(
        base_digest=base_digest,
        generation=generation,
        digest=digest,
        replicas=words,
        seconds=max(0.0, (last - changed_at).total_seconds()),
    )
