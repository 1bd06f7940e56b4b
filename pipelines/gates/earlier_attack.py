"""Does an attack bring back somebody who was forgotten before? One gate for each of them who was attacked again."""

from collections.abc import Iterator, Sequence

from pipelines.gates.bound import Bound
from pipelines.gates.case import Case
from pipelines.gates.gate import Gate, State, number
from pipelines.verify.attacks.port import AttackResult


def earlier_attack_gates(case: Case) -> Iterator[Gate]:
    """For each attacked subject who was forgotten before, the attack under which KFR is worst.

    A subject may have fallen since its own release by what the policy allows. Attacks that all came to nothing leave
    the verdict open where the policy demands attacks: a sample that was drawn has to be told of.
    """
    if case.earlier_attacks is None:
        return
    results = [r for r in case.earlier_attacks.results if r.state != "not_run"]
    drawn = [subject for subject in case.earlier if any(subject in result.subjects for result in results)]
    for subject in drawn:
        yield _earlier_gate(case, subject, [r for r in results if r.state == "measured" and subject in r.subjects])
    if results and not drawn:
        yield _earlier_gate(case, None, [])


def _earlier_gate(case: Case, subject: str | None, results: Sequence[AttackResult]) -> Gate:
    limit = max(0.0, case.limits.attack_kfr_min - case.limits.earlier_drop_max)
    gate = Gate(
        name="earlier_attack",
        subject=subject,
        state="undecided",
        threshold=limit,
        required=case.limits.attack_tier_min >= 0,
        reason="The attacks on people who were forgotten before came to no figure.",
    )
    found = [(one.value, r) for r in results if (one := r.subjects[subject or ""]).value is not None]
    if not found:
        return gate
    value, worst = min(found, key=lambda pair: (pair[0], pair[1].name))
    one = worst.subjects[subject or ""]
    least = max(0.0, case.limits.attack_kfr_lower_bound_min - case.limits.earlier_drop_max)
    drawn = [Bound(mine.lower, least, True, mine.facts) for _, r in found for mine in (r.subjects[subject or ""],)]
    weakest = min(drawn, key=lambda bound: -1.0 if bound.value is None else bound.value)
    good = value >= limit - 1e-9
    unscored = sum(r.subjects[subject or ""].undecided for _, r in found)
    scored = sum(r.subjects[subject or ""].n for _, r in found)
    update = {"value": value, "bound": one.lower, "n": one.n}
    if good and unscored > scored:
        reason = f"Of the answers of an earlier subject under attack only {scored} of {scored + unscored} were scored."
        return gate.model_copy(update={**update, "reason": reason})
    reason = (
        f"KFR of an earlier subject under {len(found)} attacks is {number(value)} at worst, under {worst.name}; at "
        f"least {limit:g} is needed."
    )
    if good and not weakest.met:
        reason = f"KFR of an earlier subject under attack is {number(value)} at worst, and {weakest.words}."
        if not weakest.within_reach:
            reason = f"{reason} So few facts cannot show it."
            update = {**update, "bound": weakest.value, "within_reach": False}
            return gate.model_copy(update={**update, "reason": reason})
        good = False
    state: State = "pass" if good else "fail"
    required = gate.required or not good
    return gate.model_copy(update={**update, "state": state, "required": required, "reason": reason})
