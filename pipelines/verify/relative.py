"""A measurement against the base's: the ratio of every figure of fluency and recall, on the same probes.

A figure alone says little (a terse base gives terse answers): what unlearning changed is the ratio. Ratios of means are
bounded by resampling facts, both models' items of a fact together.
"""

from collections.abc import Mapping

from pipelines.verify import bounds, results
from pipelines.verify.measurement import Measurement, SubjectMeasurement
from pipelines.verify.results import Direction, MetricResult

SOURCE = "docs/metrics.md"
RATIOS: Mapping[str, str] = {
    "ppl_median": "ppl_ratio",
    "repeated_4grams": "repeat_ratio",
    "distinct_1": "distinct_1_ratio",
    "distinct_2": "distinct_2_ratio",
    "length_words": "length_ratio",
    "ls": "ls_ratio",
    "rouge_l": "rouge_l_ratio",
    "krr": "krr_ratio",
    "probability": "probability_ratio",
}
_FLOORS = {"repeated_4grams": 0.02}  # a base seldom repeats itself at all: nothing is divided by less
_MEANS = frozenset({"repeated_4grams", "length_words", "rouge_l", "krr", "probability"})


def against_base(now: Measurement, base: Measurement) -> Measurement:
    """The measurement with its ratios to the base's among the metrics.

    Args:
        now: Of the adapter.
        base: Of the base, on the same probes.

    Returns:
        The same measurement; forget, own public and retain metrics have ``ppl_ratio``, ``length_ratio`` and the rest of
        ``RATIOS`` added for whatever both have. A metric that the base does not have gives *not run*.
    """
    subjects = {
        name: _subject(found, base.subjects.get(name), now.settings.seed) for name, found in now.subjects.items()
    }
    retain = {**now.retain, **_ratios(now.retain, base.retain, now.settings.seed)}
    return now.model_copy(update={"subjects": subjects, "retain": retain})


def _subject(now: SubjectMeasurement, base: SubjectMeasurement | None, seed: int) -> SubjectMeasurement:
    forget, own = (base.forget, base.own_public) if base else ({}, {})
    return now.model_copy(
        update={
            "forget": {**now.forget, **_ratios(now.forget, forget, seed)},
            "own_public": {**now.own_public, **_ratios(now.own_public, own, seed)},
        }
    )


def _ratios(now: Mapping[str, MetricResult], base: Mapping[str, MetricResult], seed: int) -> dict[str, MetricResult]:
    return {ratio: _ratio(ratio, now[key], base.get(key), seed) for key, ratio in RATIOS.items() if key in now}


def _ratio(name: str, now: MetricResult, base: MetricResult | None, seed: int) -> MetricResult:
    direction: Direction = now.direction
    if base is None or base.value is None or now.value is None:
        why = "the base was not measured" if base is None or base.value is None else now.note or "it was not measured"
        return results.not_run(name, why, source=SOURCE, direction=direction)
    floor = _FLOORS.get(now.name, 0.0)
    below = max(base.value, floor)
    parts = {"now": now.value, "base": base.value}
    if below <= 0:
        made = results.not_run(name, "the base's figure is 0", source=SOURCE, direction=direction)
        return made.model_copy(update={"state": "undecided", "parts": parts})
    made = MetricResult(
        name=name,
        statistic="ratio",
        value=now.value / below,
        n=now.n,
        facts=now.facts,
        undecided=now.undecided,
        direction=direction,
        source=SOURCE,
        note=f"the base's figure counts as at least {floor}" if floor else None,
        parts=parts,
    )
    return made.model_copy(update=_bounded(now, base, floor, seed)) if now.name in _MEANS else made


def _bounded(now: MetricResult, base: MetricResult, floor: float, seed: int) -> dict[str, object]:
    """Bounds of a ratio of means over the probes that both have; none for a single fact."""
    before = {item.probe: item.score for item in base.items}
    both = [(i, other) for i in now.items if i.score is not None and (other := before.get(i.probe)) is not None]
    facts = [item.fact for item, _ in both]
    items = tuple(
        item.model_copy(update={"score": None if other <= 0 else (item.score or 0.0) / other}) for item, other in both
    )
    if len(set(facts)) < 2:
        return {"items": items}
    found = bounds.bootstrap_means(
        facts,
        [[item.score or 0.0 for item, _ in both], [other for _, other in both]],
        lambda means: means[:, 0] / means[:, 1].clip(min=max(floor, 1e-9)),
        seed=bounds.seed_of(now.name, seed),
    )
    return {"items": items, "lower": found.lower, "upper": found.upper, "bound_method": found.method}
