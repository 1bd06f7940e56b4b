"""What a metric says: value, sample size, bounds, direction, source, and a score per probe. Holds no text."""

import statistics
from collections.abc import Mapping, Sequence
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
    good = scored(items)
    base = MetricResult(
        name=name,
        mode=mode,
        n=len(good),
        statistic="share",
        undecided=len(items) - len(good),
        direction=direction,
        source=source,
        note=note,
        items=tuple(items),
    )
    if not good:
        return base.model_copy(update={"state": "undecided", "note": note or NONE_SCORED})
    facts = [item.fact for item in good]
    flags = [item.score or 0.0 for item in good]
    found = bounds.share_bounds(facts, flags, seed=bounds.seed_of(name, seed))
    return base.model_copy(
        update={
            "value": sum(flags) / len(flags),
            "facts": len(set(facts)),
            "lower": found.lower,
            "upper": found.upper,
            "bound_method": found.method,
        }
    )


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
    good = scored(items)
    base = MetricResult(
        name=name,
        n=len(good),
        statistic="mean",
        undecided=len(items) - len(good),
        direction=direction,
        source=source,
        note=note,
        parts=dict(parts or {}),
        items=tuple(items),
    )
    if not good:
        return base.model_copy(update={"state": "undecided", "note": note or NONE_SCORED})
    facts = [item.fact for item in good]
    figures = [item.score or 0.0 for item in good]
    update: dict[str, object] = {"value": sum(figures) / len(figures), "facts": len(set(facts))}
    if len(set(facts)) > 1:
        found = bounds.bootstrap_means(facts, [figures], lambda means: means[:, 0], seed=bounds.seed_of(name, seed))
        update |= {"lower": found.lower, "upper": found.upper, "bound_method": found.method}
    return base.model_copy(update=update)


def median(name: str, items: Sequence[Item], *, direction: Direction, source: str, seed: int = 0) -> MetricResult:
    """A metric that is the median of item scores of any size, bounded by a bootstrap over facts."""
    good = scored(items)
    base = MetricResult(
        name=name,
        n=len(good),
        statistic="median",
        undecided=len(items) - len(good),
        direction=direction,
        source=source,
        items=tuple(items),
    )
    if not good:
        return base.model_copy(update={"state": "undecided", "note": NONE_SCORED})
    facts = [item.fact for item in good]
    figures = [item.score or 0.0 for item in good]
    found = bounds.bootstrap_median(facts, figures, seed=bounds.seed_of(name, seed))
    return base.model_copy(
        update={
            "value": statistics.median(figures),
            "facts": len(set(facts)),
            "lower": found.lower,
            "upper": found.upper,
            "bound_method": found.method,
        }
    )


def not_run(
    name: str, why: str, *, source: str, direction: Direction = "none", mode: Mode | None = None
) -> MetricResult:
    """A metric that was not run, and why: it can never pass."""
    return MetricResult(name=name, mode=mode, direction=direction, state="not_run", source=source, note=why)
