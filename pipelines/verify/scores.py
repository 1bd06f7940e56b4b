"""Every probe's score under every metric of one subject, in columns, and the figures reckoned from them once more.

A verdict keeps figures and bounds. Whoever doubts one wants the scores that it was made of: ids and figures, no text.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipelines.verify import bounds, results
from pipelines.verify.measurement import Measurement, MeasureSettings, SubjectMeasurement
from pipelines.verify.relative import RATIOS, against_base
from pipelines.verify.results import Item, MetricResult
from policies.canonical import canonical_json, sha256_hex
from policies.errors import LetheError

_CLOSE = 1e-9
_OF = {ratio: key for key, ratio in RATIOS.items()}

Outcome = Literal["same", "differs", "not_reckoned"]
Judged = tuple[Outcome, str]
_DIFFERS: Judged = ("differs", "its scores give another figure")


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
        if len(self.facts) != len(self.probes) or len(set(self.probes)) != len(self.probes):
            raise ValueError("every probe stands once, with one fact")
        for key, column in self.columns.items():
            places = range(len(self.probes))
            at = (places if column.scores else ()) if column.at is None else column.at
            if len(at) != len(column.scores) or len(set(at)) != len(at) or not set(at) <= set(places):
                raise ValueError("every score has a probe of its own")
            one = column.metric
            if key != one.key:
                raise ValueError("a column has its metric's name")
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

    ``seed`` is that of the bounds, ``bounds`` the version of their arithmetic. Probes about others and their facts have
    numbers in the place of ids: this stays for years under the subject's key, which is not theirs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["lethe.scores/1"] = "lethe.scores/1"
    subject: str
    seed: int = Field(ge=0)
    bounds: int
    backends: dict[str, str]
    adapter: Row
    base: Row

    def content(self) -> dict[str, Any]:
        """As JSON, without what is at its default."""
        return {"format": self.format, **self.model_dump(mode="json", exclude_defaults=True)}

    @property
    def digest(self) -> str:
        """SHA-256 of the content, which the report states."""
        return digest_of(json.dumps(self.content()))


def digest_of(text: str | bytes) -> str:
    """SHA-256 of scores as they stand in a file, read by whatever version; blanks and order do not count.

    Raises:
        LetheError: ``verify.bad_scores``.
    """
    try:
        return sha256_hex(canonical_json(json.loads(text)))
    except ValueError as error:
        raise LetheError("verify.bad_scores", "The file does not hold the scores of a verification.") from error


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
        bounds=bounds.VERSION,
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
        retain=_numbered(Table.of(measured.retain)),
    )


def _numbered(table: Table) -> Table:
    """Numbers for ids, in the order of the facts' ids: resampling takes facts in the order of their names."""
    order = {fact: f"{number:06d}" for number, fact in enumerate(sorted(set(table.facts)))}
    probes = tuple(f"{number:06d}" for number in range(len(table.probes)))
    return table.model_copy(update={"probes": probes, "facts": tuple(order[fact] for fact in table.facts)})


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
    """Every figure and bound once more, from the scores alone.

    Bounds of another version of the arithmetic are left out: a figure is then the same by its value alone.
    """
    now, base = _measurement(scores, "adapter"), _measurement(scores, "base")
    again = against_base(_measurement(scores, "adapter", ratios=False), base)
    bounded = scores.bounds == bounds.VERSION
    for model, measured in (("adapter", now), ("base", base)):
        subject, anew = measured.subjects[scores.subject], again.subjects[scores.subject]
        for group, found, over_base in (
            ("forget", subject.forget, anew.forget),
            ("own_public", subject.own_public, anew.own_public),
            ("reference", subject.reference, {}),
            ("retain", measured.retain, again.retain),
        ):
            for one in found.values():
                judged = _ratio(one, over_base, bounded) if one.name in _OF else _judged(one, scores.seed, bounded)
                yield Reckoned(model, group, one, *judged)


def _measurement(scores: Scores, which: Literal["adapter", "base"], *, ratios: bool = True) -> Measurement:
    row = scores.adapter if which == "adapter" else scores.base

    def metrics(table: Table) -> dict[str, MetricResult]:
        return {key: one for key, one in table.metrics().items() if ratios or one.name not in _OF}

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


def _ratio(one: MetricResult, over_base: Mapping[str, MetricResult], bounded: bool) -> Judged:
    if one.value is None:
        return _unmeasured(one)
    of = over_base.get(_OF[one.name])
    if of is not None and of.statistic == "other":
        return "not_reckoned", f"a ratio of {of.name}, which is made of sums over all answers"
    return _compared(one, over_base.get(one.key), bounded)


def _judged(one: MetricResult, seed: int, bounded: bool) -> Judged:
    if one.value is None:
        return _unmeasured(one)
    if one.statistic == "other":
        return "not_reckoned", "made of sums over all answers"
    if not results.scored(one.items):
        return _DIFFERS
    if one.statistic == "median":
        again = results.median(one.name, one.items, direction=one.direction, source="", seed=seed)
    else:
        way = results.share if one.statistic == "share" else results.mean
        again = way(one.name, one.items, direction=one.direction, source="", seed=seed)
    # The two-sided interval of an exposure is its own (pipelines/verify/exposure.py).
    return _compared(one, again, bounded and one.statistic != "exposure")


def _unmeasured(one: MetricResult) -> Judged:
    return _DIFFERS if one.state == "measured" else ("not_reckoned", one.state.replace("_", " "))


def _compared(one: MetricResult, again: MetricResult | None, bounded: bool) -> Judged:
    if again is None:
        return _DIFFERS
    pairs = [(one.value, again.value)]
    if bounded:
        pairs += [(one.lower, again.lower), (one.upper, again.upper)]
    counts = [(one.n, again.n), (one.facts, again.facts), (one.undecided, again.undecided)]
    same = all(a == b for a, b in counts) and all(_near(a, b) for a, b in pairs)
    return ("same", "" if bounded else "its bounds are not compared") if same else _DIFFERS


def _near(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=_CLOSE, abs_tol=_CLOSE)
