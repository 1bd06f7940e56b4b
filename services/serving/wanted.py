"""What a replica follows: the store's word, and the highest state that it may never fall behind."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipelines.adapter import Trust
from services.serving.memory import HighWater, Memory
from services.serving.rollout import Version
from services.serving.statement import read_statement
from services.store.engine import Store
from services.store.releases import get_desired
from services.store.tables import DesiredState


@dataclass(frozen=True, slots=True)
class Wanted:
    """The store's word.

    Attributes:
        desired: To be served.
        proposed: To be prepared.
        proposed_at: Tells one proposal of a version from the next.
        watermark: Tickets that are erased.
        suppression_version: Of the rules that are to be applied.
    """

    desired: Version
    proposed: Version | None
    proposed_at: datetime | None
    watermark: frozenset[str]
    suppression_version: int


def proposed_of(state: DesiredState) -> Version | None:
    """What is proposed, as a version."""
    if state.proposed_digest is None or state.proposed_generation is None:
        return None
    return state.proposed_generation, state.proposed_digest


def read_wanted(store: Store, base_digest: str) -> Wanted:
    """What the store says now.

    Raises:
        LetheError: ``desired_state.missing``, ``store.*``.
    """
    with store.read() as session:
        state = get_desired(session, base_digest)
        proposed = proposed_of(state)
        return Wanted(
            desired=(state.generation, state.release_digest),
            proposed=proposed,
            proposed_at=None if proposed is None else state.proposed_at,
            watermark=frozenset(state.watermark),
            suppression_version=state.suppression_version,
        )


def high_water(memory: Memory, releases: Path, base_digest: str, trust: Trust) -> HighWater:
    """The highest state that this replica, or the signed statement beside the releases, has seen served.

    Raises:
        LetheError: ``serving.memory_damaged``, ``serving.statement_damaged``.
    """
    high = memory.read()
    stated = read_statement(releases, base_digest, trust)
    if stated is None:
        return high
    if stated.generation < high.generation:
        return high.raised(high.generation, high.release_digest, stated.watermark)
    return high.raised(stated.generation, stated.release_digest, stated.watermark)
