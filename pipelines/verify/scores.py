"""Every probe's score under every metric of one subject, in columns, and the figures reckoned from them once more.

A verdict keeps figures and bounds. Whoever doubts one wants the scores that it was made of: ids and figures, no text.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from pipelines.verify import bounds, results
from pipelines.verify.measurement import Measurement, MeasureSettings, SubjectMeasurement
from pipelines.verify.relative import RATIOS, against_base
from pipelines.verify.results import Item, MetricResult
from policies.canonical import canonical_json, sha256_hex
from policies.errors import LetheError

OF_SUMS = frozenset({"ls", "distinct_1", "distinct_2"})  # made of sums over all answers: no mean of their scores
MEDIANS = frozenset({"ppl_median"})
_CLOSE = 1e-9

Outcome = Literal["same", "differs", "not_reckoned"]


class Column(BaseModel):
    """One metric and the score of each probe: None where it is undecided.

    ``at`` has the places of its probes in the table, where the metric does not hold all of them in order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: MetricResult
    scores: tuple[float | None, ...] = ()
    at: tuple[int, ...] | None = None


class Table(BaseModel):
    """The metrics of one group of probes; ``facts`` are those of the probes, one each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    probes: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()
    columns: dict[str, Column] = {}

    @model_validator(mode="after")
    def _fits(self) -> "Table":
        if len(self.facts) != len(self.probes):
            raise ValueError("every probe has one fact")
        for column in self.columns.values():
            places = range(len(self.probes))
            at = (places if column.scores else ()) if column.at is None else column.at
            if len(at) != len(column.scores) or len(set(at)) != len(at) or not set(at) <= set(places):
                raise ValueError("every score has a probe of its own")
            one = column.metric
            figures = (one.value, one.lower, one.upper, *one.parts.values(), *column.scores)
            if not all(figure is None or math.isfinite(figure) for figure in figures):
                raise ValueError("a figure is a number")
        return self

    @classmethod
    def of(cls, metrics: Mapping[str, MetricResult]) -> "Table":
        """In columns; a metric without scores of its own keeps its figures."""
        fact_of = {item.probe: item.fact for one in metrics.values() for item in one.items}
        place = {probe: number for number, probe in enumerate(fact_of)}
        whole = tuple(range(len(place)))

        def column(one: MetricResult) -> Column:
            at = tuple(place[item.probe] for item in one.items)
            return Column(
                metric=one.model_copy(update={"items": ()}),
                scores=tuple(item.score for item in one.items),
                at=None if at in ((), whole) else at,
            )

        columns = {key: column(one) for key, one in metrics.items()}
        return cls(probes=tuple(fact_of), facts=tuple(fact_of.values()), columns=columns)

    def metrics(self) -> dict[str, MetricResult]:
        """The metrics with their items, as they were measured."""
        return {
            key: column.metric.model_copy(update={"items": self._items(column)}) for key, column in self.columns.items()
        }

    def _items(self, column: Column) -> tuple[Item, ...]:
        places = range(len(self.probes)) if column.at is None else column.at
        pairs = zip(places, column.scores, strict=True) if column.scores else ()
        return tuple(Item(probe=self.probes[n], fact=self.facts[n], score=score) for n, score in pairs)


class Row(BaseModel):
    """What was measured on one model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    forget: Table
    own_public: Table
    reference: Table
    retain: Table


class Scores(BaseModel):
    """The scores behind one subject's part of a verdict: of the adapter, and of its base on the same probes.

    ``seed`` is that of the bounds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["lethe.scores/1"] = "lethe.scores/1"
    subject: str
    seed: int
    backends: dict[str, str]
    adapter: Row
    base: Row

    def content(self) -> dict[str, Any]:
        """As JSON, without what is at its default."""
        return {"format": self.format, **self.model_dump(mode="json", exclude_defaults=True)}

    @property
    def digest(self) -> str:
        """SHA-256 of the content, which the report states."""
        return sha256_hex(canonical_json(self.content()))


class Reckoned(NamedTuple):
    """Whether a metric's figure and bounds follow from its scores; ``not_reckoned`` says why in ``why``."""

    model: str
    group: str
    metric: MetricResult
    outcome: Outcome
    why: str = ""


def scores_of(now: Measurement, base: Measurement, subject: str) -> Scores:
    """The scores of one subject, and those of the probes about others.

    Raises:
        KeyError: The subject was not measured.
    """
    return Scores(
        subject=subject,
        seed=now.settings.seed,
        backends=dict(now.backends),
        adapter=_row(now, subject),
        base=_row(base, subject),
    )


def _row(measured: Measurement, subject: str) -> Row:
    found = measured.subjects[subject]
    return Row(
        forget=Table.of(found.forget),
        own_public=Table.of(found.own_public),
        reference=Table.of(found.reference),
        retain=Table.of(measured.retain),
    )


def parse_scores(text: str | bytes) -> Scores:
    """Scores from a file.

    Raises:
        LetheError: ``verify.bad_scores``.
    """
    try:
        return Scores.model_validate_json(text)
    except ValidationError as error:
        raise LetheError("verify.bad_scores", "The file does not hold the scores of a verification.") from error


def reckon(scores: Scores) -> Iterator[Reckoned]:
    """Every figure and bound once more, from the scores alone."""
    now, base = _measurement(scores, "adapter"), _measurement(scores, "base")
    again = against_base(_measurement(scores, "adapter", ratios=False), base)
    for model, measured in (("adapter", now), ("base", base)):
        subject, anew = measured.subjects[scores.subject], again.subjects[scores.subject]
        for group, found, ratios in (
            ("forget", subject.forget, anew.forget),
            ("own_public", subject.own_public, anew.own_public),
            ("reference", subject.reference, {}),
            ("retain", measured.retain, again.retain),
        ):
            for one in found.values():
                yield Reckoned(model, group, one, *_judged(one, ratios, scores.seed))


def _measurement(scores: Scores, which: Literal["adapter", "base"], *, ratios: bool = True) -> Measurement:
    row = scores.adapter if which == "adapter" else scores.base

    def metrics(table: Table) -> dict[str, MetricResult]:
        return {key: one for key, one in table.metrics().items() if ratios or one.name not in RATIOS.values()}

    subject = SubjectMeasurement(
        forget=metrics(row.forget), own_public=metrics(row.own_public), reference=metrics(row.reference)
    )
    return Measurement(
        which=which,
        backends=scores.backends,
        settings=MeasureSettings(seed=scores.seed),
        subjects={scores.subject: subject},
        retain=metrics(row.retain),
    )


def _judged(one: MetricResult, ratios: Mapping[str, MetricResult], seed: int) -> tuple[Outcome, str]:
    if one.value is None:
        return "not_reckoned", one.state.replace("_", " ")
    if one.name in RATIOS.values():
        return _compared(one, [ratios[one.key]] if one.key in ratios else [])
    if one.name in OF_SUMS:
        return "not_reckoned", "made of sums over all answers"
    if not one.items:
        return "not_reckoned", "has no scores of its own"
    if one.name in MEDIANS:
        return _compared(one, [_median(one, seed)])
    if one.name.startswith(("gen_ex", "rel_ex")):  # their two-sided interval: pipelines/verify/exposure.py
        alone = one.model_copy(update={"lower": None, "upper": None})
        return _compared(alone, [results.mean(one.name, one.items, direction="none", source="")], bounded=False)
    ways: tuple[Callable[..., MetricResult], ...] = (results.share, results.mean)
    scored = [item.score for item in one.items if item.score is not None]
    if any(not 0 <= score <= 1 for score in scored):
        ways = (results.mean,)
    return _compared(one, [way(one.name, one.items, direction=one.direction, source="", seed=seed) for way in ways])


def _median(one: MetricResult, seed: int) -> MetricResult:
    good = results.scored(one.items)
    values, facts = [item.score or 0.0 for item in good], [item.fact for item in good]
    found = bounds.bootstrap_median(facts, values, seed=bounds.seed_of(one.name, seed))
    middle = sorted(values)
    half = len(middle) // 2
    value = middle[half] if len(middle) % 2 else (middle[half - 1] + middle[half]) / 2
    return one.model_copy(update={"value": value, "n": len(good), "lower": found.lower, "upper": found.upper})


def _compared(one: MetricResult, again: list[MetricResult], *, bounded: bool = True) -> tuple[Outcome, str]:
    def same(other: MetricResult) -> bool:
        pairs = [(one.value, other.value)]
        if bounded:
            pairs += [(one.lower, other.lower), (one.upper, other.upper)]
        return one.n == other.n and all(_near(a, b) for a, b in pairs)

    return ("same", "") if any(same(other) for other in again) else ("differs", "its scores give another figure")


def _near(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=_CLOSE, abs_tol=_CLOSE)
