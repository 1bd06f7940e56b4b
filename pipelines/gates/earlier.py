"""Does anyone come back? The gates of the subjects who were forgotten before."""

from collections.abc import Iterator

from pipelines.gates.case import Case
from pipelines.gates.gate import Gate, State, number
from pipelines.verify.results import MetricResult


def earlier_gates(case: Case, subject: str) -> Iterator[Gate]:
    """Every gate of one subject who was forgotten before."""
    release = case.earlier[subject]
    found = case.now.subjects.get(subject)
    if found is None:
        reason = "An earlier subject was not measured again."
        yield Gate(name="earlier_kfr", subject=subject, state="not_run", reason=reason)
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
