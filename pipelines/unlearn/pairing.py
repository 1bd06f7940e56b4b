"""Which answers are preferred to a forgotten one: those to the same question about the same fact, never by position."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pipelines.rows import TrainRow
from pipelines.unlearn.streams import Rows


@dataclass(frozen=True, slots=True)
class Pairs:
    """Forgotten answers and the answers that they are paired with.

    Attributes:
        rejected: The negative rows that have a partner.
        partners: For each of them the places of its partners among the chosen rows.
        unpaired: Negative rows without one: they are left out.
    """

    rejected: Rows
    partners: tuple[tuple[int, ...], ...]
    unpaired: int

    def plan(self, batches: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """For each batch of rejected rows the chosen ones: every partner once before any comes twice."""
        met = [0] * len(self.partners)
        for batch in batches:
            chosen = []
            for key in batch:
                chosen.append(self.partners[key][met[key] % len(self.partners[key])])
                met[key] += 1
            yield chosen


def pair(rejected: Rows, chosen: Rows) -> Pairs:
    """Pair rows by (fact, prompt)."""
    found: dict[tuple[str | None, str, bool], list[int]] = {}
    for place, row in enumerate(chosen.sources):
        found.setdefault(_key(row), []).append(place)
    kept = [place for place, row in enumerate(rejected.sources) if _key(row) in found]
    return Pairs(
        rejected=replace(
            rejected,
            encoded=tuple(rejected.encoded[place] for place in kept),
            sources=tuple(rejected.sources[place] for place in kept),
        ),
        partners=tuple(tuple(found[_key(rejected.sources[place])]) for place in kept),
        unpaired=len(rejected.sources) - len(kept),
    )


def _key(row: TrainRow) -> tuple[str | None, str, bool]:
    return row.fact, row.prompt, row.chat
