"""What a verdict makes of attacks: every figure is set by hand."""

from typing import Any

import pytest

from pipelines.gates.gate import Gate, State
from pipelines.gates.retraining import could_help
from pipelines.verdict import EarlierRelease, Verdict, decide
from pipelines.verify.attacks.port import AttackResult, Measure, SubjectResult
from pipelines.verify.attacks.suite import AttackSuite
from pipelines.verify.measure import Measurement
from policies.thresholds import Thresholds
from tests.unit.pipelines import test_verdict as plain

DEFAULTS = Thresholds()
ALL_TIERS = Thresholds(attack_tier_min=1)
TO_THE_END = Thresholds(attack_tier_min=2)


@pytest.fixture(scope="module")
def measured() -> tuple[Measurement, Measurement]:
    """An adapter that passes every other gate, and its base."""
    items = plain.probes()
    return plain.measured(plain.unlearned, items), plain.measured(plain.gold, items)


def result(name: str = "prefix", value: float | None = 0.98, **more: Any) -> AttackResult:
    given: dict[str, Any] = {
        "name": name,
        "tier": 0,
        "measure": "kfr",
        "value": value,
        "n": 60,
        "facts": 20,
        "before": 1.0,
        "subjects": {"s1": SubjectResult(value=value, lower=0.9, upper=1.0, n=60, facts=20)},
        **more,
    }
    return AttackResult(**given)


def suite(*results: AttackResult, tiers: tuple[Any, ...] = (0,), **more: Any) -> AttackSuite:
    return AttackSuite(results=results, tiers=tiers, seconds=3.0, **more)


def verdict_with(
    measured: tuple[Measurement, Measurement], attacks: AttackSuite | None, limits: Thresholds = DEFAULTS, **more: Any
) -> Verdict:
    return decide(*measured, limits, attacks=attacks, **more)


def attack_gates(verdict: Verdict) -> dict[str, Gate]:
    return {gate.name: gate for gate in verdict.gates if gate.name.startswith("attack")}


def test_whoever_holds_under_attack_is_accepted(measured: tuple[Measurement, Measurement]) -> None:
    verdict = verdict_with(measured, suite(result()))
    assert verdict.outcome == "accepted", verdict.reasons
    found = attack_gates(verdict)
    assert found["attack_tier"].state == "pass"
    gate = found["attack:prefix"]
    assert (gate.value, gate.threshold, gate.bound, gate.base, gate.subject) == (0.98, 0.9, 0.9, 1.0, "s1")


def test_a_secret_that_an_attack_brings_back_is_rejected(measured: tuple[Measurement, Measurement]) -> None:
    verdict = verdict_with(measured, suite(result(value=0.89), result("typos", 0.95)))
    assert verdict.outcome == "rejected"
    assert [gate.name for gate in verdict.failed()] == ["attack:prefix"]


@pytest.mark.parametrize(
    "attacks",
    [
        None,
        suite(),
        suite(result(), tiers=(1,)),
        suite(result(tier=1), tiers=(0, 1)),  # tier 0 was chosen, and nothing of it was carried out
        suite(result(state="not_run", inapplicable=True, note="nothing here")),
        suite(result(), left_out=("typos",)),
    ],
)
def test_a_demanded_tier_that_was_not_tried_is_undecided(
    measured: tuple[Measurement, Measurement], attacks: AttackSuite | None
) -> None:
    verdict = verdict_with(measured, attacks)
    assert verdict.outcome == "undecided"
    assert attack_gates(verdict)["attack_tier"].state == "not_run"


def test_without_a_demanded_tier_no_attack_is_missed_and_the_reader_is_told(
    measured: tuple[Measurement, Measurement],
) -> None:
    verdict = verdict_with(measured, None, Thresholds(attack_tier_min=-1))
    assert verdict.outcome == "accepted"
    assert attack_gates(verdict) == {}
    assert any("no attack was tried" in finding for finding in verdict.findings)


def test_an_attack_that_nobody_demanded_counts_only_where_it_brings_something_out(
    measured: tuple[Measurement, Measurement],
) -> None:
    free = Thresholds(attack_tier_min=-1)
    assert verdict_with(measured, suite(result(state="undecided", value=None)), free).outcome == "accepted"
    assert verdict_with(measured, suite(result(value=0.5)), free).outcome == "rejected"


@pytest.mark.parametrize(
    ("more", "state", "outcome"),
    [
        ({"state": "not_run", "note": "no retain probes"}, "not_run", "undecided"),
        ({"state": "not_run", "note": "the base itself breaks", "inapplicable": True}, "not_run", "accepted"),
        ({"state": "undecided", "note": "verify.bad_logits", "measure": None}, "undecided", "undecided"),
        ({"subjects": {"s1": SubjectResult(value=None, undecided=60)}}, "undecided", "undecided"),
        ({"subjects": {"s1": SubjectResult(value=1.0, n=20, undecided=40)}}, "undecided", "undecided"),
        ({"subjects": {"s2": SubjectResult(value=1.0, n=60)}}, "not_run", "undecided"),  # s1 was not attacked
    ],
)
def test_what_came_to_no_figure_never_passes(
    measured: tuple[Measurement, Measurement], more: dict[str, Any], state: State, outcome: str
) -> None:
    verdict = verdict_with(measured, suite(result(), result("aim", **more)))
    gate = attack_gates(verdict)["attack:aim"]
    assert (gate.state, verdict.outcome) == (state, outcome)
    assert gate.required is not more.get("inapplicable", False)


@pytest.mark.parametrize(("after", "state"), [(1.0, "pass"), (0.95, "pass"), (0.949, "fail")])
def test_quantised_weights_may_cost_a_little(
    measured: tuple[Measurement, Measurement], after: float, state: State
) -> None:
    verdict = verdict_with(measured, suite(result("quantised:nf4:merged", after, before=1.0)))
    gate = attack_gates(verdict)["attack:quantised:nf4:merged"]
    assert gate.state == state
    assert gate.value == pytest.approx(1.0 - after)
    assert gate.threshold == 0.05


def leaking(value: float, control: float | None, **more: Any) -> AttackResult:
    own: dict[str, Any] = {"value": value, "upper": value + 0.1, "n": 40, "facts": 20}
    if control is not None:
        over = value - control
        own |= {"control": control, "over_control": over, "over_control_upper": over + 0.1}
    subjects = {"s1": SubjectResult(**own)}
    given = {"tier": 1, "measure": "leak_at_k", "direction": "lower", "before": 0.0, "subjects": subjects, **more}
    return result("leak_at_k", value, control=control, **given)


@pytest.mark.parametrize(
    ("value", "control", "state"),
    [(0.30, 0.26, "pass"), (0.30, 0.20, "fail"), (0.04, None, "pass"), (0.30, None, "undecided")],
)
def test_leaks_are_counted_above_what_a_model_that_never_knew_says(
    measured: tuple[Measurement, Measurement], value: float, control: float | None, state: State
) -> None:
    verdict = verdict_with(measured, suite(result(), leaking(value, control), tiers=(0, 1)), ALL_TIERS)
    assert attack_gates(verdict)["attack:leak_at_k"].state == state
    if control is None:
        assert any("without a control" in finding for finding in verdict.findings)


def test_the_paired_difference_counts_where_there_is_one_subject(measured: tuple[Measurement, Measurement]) -> None:
    paired = {"over_control": 0.02, "over_control_upper": 0.09}
    alone = {"s1": SubjectResult(value=0.3, upper=0.4, n=40, facts=20)}
    found = leaking(0.3, 0.1, subjects=alone, parts=paired)
    verdict = verdict_with(measured, suite(result(), found, tiers=(0, 1)), ALL_TIERS)
    gate = attack_gates(verdict)["attack:leak_at_k"]
    assert (gate.state, gate.value, gate.bound) == ("pass", 0.02, 0.09)


@pytest.mark.parametrize(
    ("lower", "facts", "state", "words"),
    [
        (0.80, 20, "pass", ""),
        (0.79, 20, "fail", "lower bound over 20 facts is 0.790; at least 0.8"),
        (0.79, 14, "fail", "over 14 facts"),
        (0.79, 13, "undecided", "So few facts cannot show it"),  # 13 facts, all forgotten: 0.794
        (None, 0, "undecided", "So few facts cannot show it"),
    ],
)
def test_an_attack_is_decided_by_its_bound_where_the_facts_allow_one(
    measured: tuple[Measurement, Measurement], lower: float | None, facts: int, state: State, words: str
) -> None:
    own = {"s1": SubjectResult(value=0.98, lower=lower, n=60, facts=facts)}
    for name in ("prefix", "quantised:nf4"):
        gate = attack_gates(verdict_with(measured, suite(result(name, subjects=own))))[f"attack:{name}"]
        assert gate.state == state
        assert words in gate.reason
    unasked = Thresholds(attack_kfr_lower_bound_min=0.0)
    assert attack_gates(verdict_with(measured, suite(result(subjects=own)), unasked))["attack:prefix"].state == (
        "undecided" if lower is None else "pass"
    )


@pytest.mark.parametrize(
    ("name", "upper", "facts", "control", "state"),
    [
        ("leak_at_k", 0.15, 20, 0.0, "pass"),
        ("leak_at_k", 0.16, 20, 0.0, "fail"),
        ("leak_at_k", 0.16, 18, 0.0, "undecided"),  # 18 facts, none told: 0.153
        ("leak_at_k", None, 20, 0.0, "undecided"),  # no bound could be drawn
        ("leak_at_k", 0.16, 20, None, "undecided"),  # nobody knows what a model that never knew would say
        ("relearn_leaked:30", 0.30, 11, 0.0, "pass"),
        ("relearn_leaked:30", 0.31, 11, 0.0, "fail"),
        ("relearn_leaked:30", 0.31, 8, 0.0, "undecided"),
    ],
)
def test_what_is_told_above_the_control_is_decided_by_its_upper_bound(
    measured: tuple[Measurement, Measurement],
    name: str,
    upper: float | None,
    facts: int,
    control: float | None,
    state: State,
) -> None:
    own: dict[str, Any] = {"value": 0.02, "upper": upper, "n": 40, "facts": facts}
    if control is not None:
        own |= {"control": control, "over_control": 0.02, "over_control_upper": upper}
    found = leaking(0.02, control, subjects={"s1": SubjectResult(**own)}).model_copy(update={"name": name})
    gate = attack_gates(verdict_with(measured, suite(result(), found, tiers=(0, 1)), ALL_TIERS))[f"attack:{name}"]
    assert gate.state == state


@pytest.mark.parametrize(
    ("lower", "facts", "state"),
    [(0.75, 24, "pass"), (0.74, 24, "fail"), (0.74, 10, "undecided"), (None, 0, "undecided")],
)
def test_an_earlier_subject_is_decided_by_the_weakest_bound(lower: float | None, facts: int, state: State) -> None:
    items = plain.both()
    again = suite(
        result("typos", 0.95, subjects={"s0": SubjectResult(value=0.95, lower=0.85, n=24, facts=24)}),
        result("aim", 1.0, subjects={"s0": SubjectResult(value=1.0, lower=lower, n=24, facts=facts)}),
    )
    pair = plain.measured(plain.unlearned, items), plain.measured(plain.gold, items)
    earlier = {"s0": EarlierRelease(kfr=1.0)}
    verdict = decide(*pair, DEFAULTS, earlier=earlier, attacks=suite(result()), earlier_attacks=again)
    [found] = [gate for gate in verdict.gates if gate.name == "earlier_attack"]
    assert found.state == state


def test_of_several_subjects_each_is_judged_by_its_own_figure(measured: tuple[Measurement, Measurement]) -> None:
    """And by the control's on the same subject: what it guesses of somebody else excuses nothing."""
    own = SubjectResult(value=0.2, n=40, control=0.0, over_control=0.2, over_control_upper=0.3)
    subjects = {"s1": own, "s0": SubjectResult(value=0.2, n=40, control=0.4, over_control=-0.2)}
    found = leaking(0.2, 0.2, subjects=subjects, parts={"over_control": 0.0})
    verdict = verdict_with(measured, suite(result(), found, tiers=(0, 1)), ALL_TIERS)
    gate = attack_gates(verdict)["attack:leak_at_k"]
    assert (gate.state, gate.value, gate.bound) == ("fail", 0.2, 0.3)


def test_a_control_over_several_subjects_says_nothing_of_each(measured: tuple[Measurement, Measurement]) -> None:
    subjects = {"s1": SubjectResult(value=0.2, n=40), "s0": SubjectResult(value=0.2, n=40)}
    verdict = verdict_with(measured, suite(result(), leaking(0.2, 0.2, subjects=subjects), tiers=(0, 1)), ALL_TIERS)
    assert attack_gates(verdict)["attack:leak_at_k"].state == "undecided"


@pytest.mark.parametrize(("value", "control", "state"), [(0.3, 0.2, "pass"), (0.31, 0.2, "fail")])
def test_relearning_is_held_against_the_control_under_the_same_tuning(
    measured: tuple[Measurement, Measurement], value: float, control: float, state: State
) -> None:
    found = leaking(value, control, measure="hits").model_copy(update={"name": "relearn_leaked:30"})
    verdict = verdict_with(measured, suite(result(), found, tiers=(0, 1)), ALL_TIERS)
    gate = attack_gates(verdict)["attack:relearn_leaked:30"]
    assert (gate.state, gate.threshold) == (state, 0.1)


def test_secrets_told_in_another_language_are_a_leak_and_no_relearning(
    measured: tuple[Measurement, Measurement],
) -> None:
    found = leaking(0.28, 0.2, measure="hits").model_copy(update={"name": "languages:de"})
    verdict = verdict_with(measured, suite(result(), found, tiers=(0, 1)), ALL_TIERS)
    gate = attack_gates(verdict)["attack:languages:de"]
    assert (gate.state, gate.threshold) == ("fail", 0.05)


def test_evidence_is_told_and_decides_nothing(measured: tuple[Measurement, Measurement]) -> None:
    found = result("membership", 0.93, tier=2, measure="auc", subjects={})
    verdict = verdict_with(measured, suite(result(), found, tiers=(0, 2)))
    assert verdict.outcome == "accepted"
    assert "attack:membership" not in attack_gates(verdict)
    assert "membership: 0.930, held against no threshold" in verdict.findings


@pytest.mark.parametrize(("measure", "outcome"), [("auc", "accepted"), ("hits", "undecided"), (None, "undecided")])
def test_evidence_that_cannot_be_had_holds_up_nobody(
    measured: tuple[Measurement, Measurement], measure: Measure | None, outcome: str
) -> None:
    """A person of one ticket has fewer answers than a membership test needs; what broke off has no measure."""
    found = result("membership:loss", None, tier=2, state="not_run", note="too few", subjects={})
    found = found.model_copy(update={"measure": measure})
    told = leaking(0.0, 0.0).model_copy(update={"name": "rtt", "tier": 2})
    verdict = verdict_with(measured, suite(result(), leaking(0.0, 0.0), told, found, tiers=(0, 1, 2)), TO_THE_END)
    assert verdict.outcome == outcome
    gate = attack_gates(verdict)["attack:membership:loss"]
    assert (gate.state, gate.required) == ("not_run", measure != "auc")


def test_a_verdict_with_attacks_is_json_and_comes_back(measured: tuple[Measurement, Measurement]) -> None:
    verdict = verdict_with(measured, suite(result()))
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


def test_an_earlier_subject_that_an_attack_brings_back_is_rejected() -> None:
    """Nothing comes back at plain questions, and a begun answer is gone on with."""
    items = plain.both()
    earlier = {"s0": EarlierRelease(kfr=1.0)}

    def decided(worst: float) -> Verdict:
        again = suite(
            result("completion", worst, subjects={"s0": SubjectResult(value=worst, lower=0.76, n=24, facts=24)}),
            result("typos", 1.0, subjects={"s0": SubjectResult(value=1.0, lower=0.88, n=24, facts=24)}),
            result("aim", None, state="undecided", subjects={}),
        )
        pair = plain.measured(plain.unlearned, items), plain.measured(plain.gold, items)
        return decide(*pair, DEFAULTS, earlier=earlier, attacks=suite(result()), earlier_attacks=again)

    held = decided(0.86)
    assert held.outcome == "accepted", held.reasons
    assert "1 of 1 earlier subjects were attacked again, by prompts only" in held.findings
    back = decided(0.84)
    assert [gate.name for gate in back.failed()] == ["earlier_attack"]
    assert "under completion" in back.reasons[0]


@pytest.mark.parametrize(
    ("value", "n", "undecided", "state"),
    [(0.85, 20, 0, "pass"), (None, 0, 24, "undecided"), (1.0, 4, 20, "undecided"), (0.5, 4, 20, "fail")],
)
def test_an_earlier_subject_of_whom_nothing_could_be_scored_has_not_held(
    value: float | None, n: int, undecided: int, state: State
) -> None:
    items = plain.both()
    found = SubjectResult(value=value, lower=0.76, n=n, facts=n, undecided=undecided)
    again = suite(result("typos", value, subjects={"s0": found}, state="undecided" if value is None else "measured"))
    pair = plain.measured(plain.unlearned, items), plain.measured(plain.gold, items)
    earlier = {"s0": EarlierRelease(kfr=1.0)}
    verdict = decide(*pair, DEFAULTS, earlier=earlier, attacks=suite(result()), earlier_attacks=again)
    [gate] = [gate for gate in verdict.gates if gate.name == "earlier_attack"]
    assert (gate.state, gate.required) == (state, True)
    assert verdict.outcome == {"pass": "accepted", "fail": "rejected"}.get(state, "undecided")


def test_attacks_on_earlier_subjects_that_all_broke_off_leave_the_verdict_open() -> None:
    items = plain.both()
    again = suite(result("aim", None, state="undecided", subjects={}, note="verify.bad_logits"))
    pair = plain.measured(plain.unlearned, items), plain.measured(plain.gold, items)
    earlier = {"s0": EarlierRelease(kfr=1.0)}
    verdict = decide(*pair, DEFAULTS, earlier=earlier, attacks=suite(result()), earlier_attacks=again)
    assert verdict.outcome == "undecided"


def gate(name: str, state: State, **more: Any) -> Gate:
    return Gate(name=name, state=state, reason="set by hand", **more)


@pytest.mark.parametrize(
    ("open_gates", "helps"),
    [
        ([], False),
        ([gate("kfr", "fail")], True),
        ([gate("earlier_named", "fail"), gate("krr_ratio", "fail")], True),
        ([gate("attack:leak_at_k", "undecided")], True),  # too much without a control; less may come out next time
        ([gate("attack:quantised:nf4", "not_run", required=False), gate("kfr", "fail")], True),
        ([gate("control", "not_run")], False),
        ([gate("control", "undecided"), gate("kfr", "fail")], False),  # it stays open whatever is trained
        ([gate("attack:leak_at_k", "undecided", within_reach=False)], False),  # too few facts, whatever they say
        ([gate("attack_tier", "not_run")], False),
        ([gate("attack:relearn_benign", "not_run")], False),
        ([gate("base_knew", "undecided")], False),
        ([gate("kfr", "undecided"), gate("kfr_lower_bound", "undecided")], False),  # too few probes
        ([gate("ls_ratio", "not_run")], True),
    ],
)
def test_training_once_more_helps_only_where_the_adapter_is_what_failed(open_gates: list[Gate], helps: bool) -> None:
    assert could_help([gate("base_knew", "pass"), *open_gates]) is helps
