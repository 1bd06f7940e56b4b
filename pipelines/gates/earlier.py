"""Does anyone come back? The gates of the subjects who were forgotten before."""

from collections.abc import Iterator

from pipelines.gates.case import Case, EarlierRelease
from pipelines.gates.gate import Gate, State, number
from pipelines.verify.results import MetricResult

CHEAP_MARGIN = 0.5  # an earlier subject's gold answers may come back at most half of the way to the base's likelihood


def earlier_gates(case: Case, subject: str) -> Iterator[Gate]:
    """Every gate of one subject who was forgotten before."""
    release = case.earlier[subject]
    found = case.now.subjects.get(subject)
    if found is None:
        yield _cheap_gate(case, subject, release)
        return
    limit = case.limits.earlier_drop_max
    kfr = found.forget["kfr"]
    yield _drop_gate("earlier_kfr", subject, kfr, release.kfr, limit, "KFR of an earlier subject")
    if release.own_public is not None and "krr" in found.own_public:
        words = "The public facts of an earlier subject"
        yield _drop_gate("earlier_own_public", subject, found.own_public["krr"], release.own_public, limit, words)
    # With too little replay the newest person's name gets into the answers about everybody before: KFR stays 1.
    if release.named is not None:
        words = "The share of answers that name an earlier subject"
        yield _drop_gate("earlier_named", subject, found.forget["subject_named"], release.named, limit, words)
    if release.fluent is not None:
        words = "The share of fluent answers about an earlier subject"
        yield _drop_gate("earlier_fluent", subject, found.forget["kfr_fluent"], release.fluent, limit, words)


def _drop_gate(name: str, subject: str, now: MetricResult, then: float, limit: float, words: str) -> Gate:
    gate = Gate(name=name, subject=subject, state="not_run", threshold=limit, n=now.n, reason=f"{words}: not measured.")
    if now.value is None:
        return gate
    drop = then - now.value
    reason = f"{words} fell from {number(then)} in its own release to {number(now.value)}; at most {limit} is allowed."
    state: State = "pass" if drop <= limit + 1e-9 else "fail"
    return gate.model_copy(update={"state": state, "value": drop, "base": then, "reason": reason})


def _cheap_gate(case: Case, subject: str, release: EarlierRelease) -> Gate:
    """No answers were generated for this one: how likely are the gold answers, between its own release and the base?"""
    now, base = case.cheap.get(subject), case.cheap_base.get(subject)
    gate = Gate(
        name="earlier_cheap", subject=subject, state="not_run", reason="An earlier subject was not measured again."
    )
    if now is None or now.value is None or base is None or base.value is None or release.gold_nll is None:
        return gate
    least = base.value + CHEAP_MARGIN * (release.gold_nll - base.value)
    held = now.value >= min(least, release.gold_nll)
    reason = (
        f"The gold answers of an earlier subject cost {number(now.value)} nats a token; "
        f"{number(release.gold_nll)} in its own release, {number(base.value)} on the base."
    )
    if not held:
        reason += " They came back more than half of the way: generate answers for this subject before deciding."
    return gate.model_copy(
        update={"state": "pass" if held else "undecided", "value": now.value, "threshold": least, "reason": reason}
    )
