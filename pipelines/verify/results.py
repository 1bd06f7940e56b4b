"""What a metric says: value, sample size, bounds, direction, source, and a score per probe. Holds no text."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pipelines.verify import bounds

Direction = Literal["higher", "lower", "none"]
Mode = Literal["corrected", "paper", "code"]
State = Literal["measured", "undecided", "not_run"]
Statistic = Literal["share", "mean", "median", "exposure", "ratio", "other"]
NONE_SCORED = "no item could be scored"
MODES: tuple[Mode, ...] = ("corrected", "paper", "code")


class Item(BaseModel):
    """One probe's score; ``score`` is None where the item is undecided."""

    model_config = ConfigDict(frozen=True)

    probe: str
    fact: str
    score: float | None


class MetricResult(BaseModel):
    """One metric over one group of probes.

    Attributes:
        name: Its name in the literature, lower case.
        mode: Which of the three definitions, where there are three.
        value: None where nothing could be scored or the metric was not run.
        n: Items that were scored.
        facts: Distinct facts among them.
        undecided: Items that could not be scored; never counted as passed.
        lower: One-sided lower bound at ``level``.
        upper: One-sided upper bound at ``level``.
        bound_method: How the bounds were found.
        statistic: What the value is of the items: ``ratio`` of this figure to the base's, ``other`` where it is none.
        direction: Which way is better: more forgotten, more kept, more fluent.
        state: ``not_run`` and ``undecided`` (no item could be scored, or too few for a figure to decide anything) say
            why in ``note``.
        source: Where the definition stands.
        note: What a reader must know to read the value.
        parts: What the value was made of (PPL, BI and HS of a Linguistic Score), or what else was counted.
        items: The score of each probe: ids and figures, no text.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    mode: Mode | None = None
    value: float | None = None
    n: int = 0
    facts: int = 0
    undecided: int = 0
    lower: float | None = None
    upper: float | None = None
    level: float = bounds.LEVEL
    bound_method: str | None = None
    statistic: Statistic = "other"
    direction: Direction = "none"
    state: State = "measured"
    source: str = ""
    note: str | None = None
    parts: dict[str, float | None] = {}
    items: tuple[Item, ...] = ()

    @property
    def key(self) -> str:
        """Its name in a report: the mode is told where it is not the corrected one."""
        return self.name if self.mode in (None, "corrected") else f"{self.name}@{self.mode}"

    @property
    def coverage(self) -> float | None:
        """Share of the items that could be scored."""
        total = self.n + self.undecided
        return self.n / total if total else None


def scored(items: Sequence[Item]) -> list[Item]:
    """The items that have a score."""
    return [item for item in items if item.score is not None]


def share(
    name: str,
    items: Sequence[Item],
    *,
    direction: Direction,
    source: str,
    mode: Mode | None = None,
    note: str | None = None,
    seed: int = 0,
) -> MetricResult:
    """A metric that is the mean of 0/1 (or 0..1) item scores, bounded by fact."""

    def bounded(facts: list[str], scores: list[float]) -> bounds.Bounds:
        return bounds.share_bounds(facts, scores, seed=bounds.seed_of(name, seed))

    empty = MetricResult(name=name, mode=mode, statistic="share", direction=direction, source=source, note=note)
    return _filled(empty, items, _average, bounded)


def mean(
    name: str,
    items: Sequence[Item],
    *,
    direction: Direction,
    source: str,
    note: str | None = None,
    parts: Mapping[str, float | None] | None = None,
    seed: int = 0,
) -> MetricResult:
    """A metric that is the mean of item scores of any size, bounded by a bootstrap over facts.

    A single fact has no spread to be resampled: then there is no bound.
    """

    def bounded(facts: list[str], scores: list[float]) -> bounds.Bounds | None:
        if len(set(facts)) < 2:
            return None
        return bounds.bootstrap_means(facts, [scores], lambda means: means[:, 0], seed=bounds.seed_of(name, seed))

    empty = MetricResult(
        name=name, statistic="mean", direction=direction, source=source, note=note, parts=dict(parts or {})
    )
    return _filled(empty, items, _average, bounded)


def median(name: str, items: Sequence[Item], *, direction: Direction, source: str, seed: int = 0) -> MetricResult:
    """A metric that is the median of item scores of any size, bounded by a bootstrap over facts."""

    def bounded(facts: list[str], scores: list[float]) -> bounds.Bounds:
        return bounds.bootstrap_median(facts, scores, seed=bounds.seed_of(name, seed))

    empty = MetricResult(name=name, statistic="median", direction=direction, source=source)
    return _filled(empty, items, statistics.median, bounded)


def _average(scores: list[float]) -> float:
    return sum(scores) / len(scores)


def _filled(
    empty: MetricResult,
    items: Sequence[Item],
    figure: Callable[[list[float]], float],
    bounded: Callable[[list[str], list[float]], bounds.Bounds | None],
) -> MetricResult:
    """The metric with its figure, counts, bounds and items; undecided where none could be scored."""
    good = scored(items)
    counted: dict[str, object] = {"n": len(good), "undecided": len(items) - len(good), "items": tuple(items)}
    if not good:
        return empty.model_copy(update={**counted, "state": "undecided", "note": empty.note or NONE_SCORED})
    facts, scores = [item.fact for item in good], [item.score or 0.0 for item in good]
    found = bounded(facts, scores)
    told = {"lower": found.lower, "upper": found.upper, "bound_method": found.method} if found else {}
    return empty.model_copy(update={**counted, "value": figure(scores), "facts": len(set(facts)), **told})


def not_run(
    name: str, why: str, *, source: str, direction: Direction = "none", mode: Mode | None = None
) -> MetricResult:
    """A metric that was not run, and why: it can never pass."""
    return MetricResult(name=name, mode=mode, direction=direction, state="not_run", source=source, note=why)
