"""What must be kept: other people's facts, and a ratio to the base that says so."""

import math
from typing import Any

from pipelines.gates.case import Case
from pipelines.gates.gate import Gate, number
from pipelines.verify import bounds
from pipelines.verify.results import MetricResult


def krr_gate(case: Case) -> Gate:
    """Other people's facts, as a share of what the base knows of them."""
    return ratio_gate(
        "krr_ratio",
        case.now.retain.get("krr"),
        case.base.retain.get("krr"),
        case.limits.krr_ratio_min,
        "Other people's facts (KRR)",
        least=case.limits.min_retain_probes,
    )


def ratio_gate(
    name: str,
    now: MetricResult | None,
    before: MetricResult | None,
    limit: float,
    words: str,
    *,
    subject: str | None = None,
    least: int = 1,
) -> Gate:
    """A share that must stay at a part of the base's.

    ``least`` probes must be scored and half as many known to the base, or nothing shows what is kept.
    """
    gate = Gate(name=name, subject=subject, state="not_run", threshold=limit, reason=f"{words} were not measured.")
    if now is None or before is None or now.value is None or before.value is None:
        return gate
    if before.value <= 0:
        return gate.model_copy(update={"state": "undecided", "base": 0.0, "reason": f"{words}: the base knows none."})
    ratio = now.value / before.value
    update: dict[str, Any] = {"value": ratio, "base": before.value, "n": now.n, "bound": _ratio_bound(now, before)}
    if now.n < least and ratio >= limit:
        reason = f"{words}: only {now.n} probes could be scored; {least} are needed."
        return gate.model_copy(update=update | {"state": "undecided", "reason": reason})
    known = round(before.value * before.n)
    if 2 * known < least:
        reason = f"{words}: the base knew {known} of {before.n} probes; at least {math.ceil(least / 2)} are needed."
        return gate.model_copy(update=update | {"state": "undecided", "reason": reason})
    reason = f"{words}: {number(now.value)}, which is {number(ratio)} of the base's; at least {limit} is needed."
    return gate.model_copy(update=update | {"state": "pass" if ratio >= limit else "fail", "reason": reason})


def _ratio_bound(now: MetricResult, before: MetricResult) -> float | None:
    """Lower bound of the ratio over the items that both scored, facts resampled in pairs."""
    scores = {item.probe: item.score for item in before.items}
    pairs = [
        (item.fact, item.score, other)
        for item in now.items
        if item.score is not None and (other := scores.get(item.probe)) is not None
    ]
    if not pairs or not any(other for _, _, other in pairs):
        return None
    facts, mine, theirs = zip(*pairs, strict=True)
    return bounds.ratio_bounds(facts, mine, theirs, seed=bounds.seed_of(now.name)).lower
