import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from pipelines.verify import two_samples
from pipelines.verify.indistinguishable import auc, forget_quality, ks, privleak, tpr_at
from pipelines.verify.results import Item, MetricResult


def items(scores: Sequence[float | None] | np.ndarray, *, per_fact: int = 1, kind: str = "m") -> list[Item]:
    return [
        Item(probe=f"{kind}{n}", fact=f"{kind}{n // per_fact}", score=None if score is None else float(score))
        for n, score in enumerate(scores)
    ]


def drawn(mean: float, count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1.0, count)


def measured(result: MetricResult) -> tuple[float, float, float]:
    assert result.state == "measured", result.note
    assert result.value is not None
    assert result.lower is not None
    assert result.upper is not None
    assert result.lower <= result.value <= result.upper
    return result.value, result.lower, result.upper


# --- known values -------------------------------------------------------------------------------------------------


def test_auc_by_counting_pairs() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 30, 120) * 1.0, rng.integers(0, 25, 130) * 1.0  # many ties
    pairs = [(x > y) + 0.5 * (x == y) for x in a for y in b]
    assert measured(auc(items(a), items(b, kind="o")))[0] == pytest.approx(sum(pairs) / len(pairs))


def test_delongs_variance_by_its_definition() -> None:
    """Against the textbook form: covariance of the structural components, computed pair by pair."""
    a, b = drawn(0.7, 100, 1), drawn(0.0, 140, 2)
    wins = np.array([[float(x > y) for y in b] for x in a])
    variance = wins.mean(axis=1).var(ddof=1) / len(a) + wins.mean(axis=0).var(ddof=1) / len(b)
    value, lower, upper = measured(auc(items(a), items(b, kind="o")))
    logit = math.log(value / (1 - value))
    width = 1.6448536269514722 * math.sqrt(variance) / (value * (1 - value))
    assert lower == pytest.approx(1 / (1 + math.exp(-(logit - width))), rel=1e-9)
    assert upper == pytest.approx(1 / (1 + math.exp(-(logit + width))), rel=1e-9)


def test_ks_distance_by_looking_at_every_point_and_p_by_kolmogorovs_series() -> None:
    a, b = drawn(0.0, 150, 3), drawn(0.1, 200, 4)
    distance = max(abs((a <= x).mean() - (b <= x).mean()) for x in (*a, *b))
    found = ks(items(a), items(b))
    assert measured(found)[0] == pytest.approx(distance)
    size = 150 * 200 / 350
    z = distance * math.sqrt(size)
    z += 1 / (6 * math.sqrt(size)) + (z - 1) / (4 * size)  # Vrbik's correction of the series for a finite n
    series = 2 * sum((-1) ** (k - 1) * math.exp(-2 * k * k * z * z) for k in range(1, 50))
    assert found.parts["p"] == pytest.approx(series, rel=0.05)
    assert found.parts["p"] == found.parts["p_by_fact"]


def test_forget_quality_is_the_p_value_with_the_distance_beside_it() -> None:
    same = forget_quality(items(drawn(0.0, 400, 5)), items(drawn(0.0, 400, 6)))
    apart = forget_quality(items(drawn(1.0, 400, 5)), items(drawn(0.0, 400, 6)))
    assert same.value is not None
    assert apart.value is not None
    assert same.value > 0.05 > 1e-9 > apart.value
    assert (same.lower, same.upper) == (None, None)
    upper = same.parts["distance_upper"]
    assert upper is not None
    assert f"{upper:.2f} is not excluded" in str(same.note)
    assert "told apart" in str(apart.note)
    assert same.direction == "higher"


def test_true_positives_at_a_rate_of_the_hold_out() -> None:
    others = items(np.arange(1000.0), kind="o")  # the threshold lets ten of a thousand pass: 989
    found = tpr_at(items([989.0] * 60 + [990.0] * 40), others)
    assert measured(found)[0] == 0.4
    assert found.parts["fpr"] == 0.01
    assert "a leak" in str(found.note)
    assert found.parts["below"] == 0.0
    low = tpr_at(items([5.0] * 150), others)
    assert (low.value, low.parts["below"]) == (0.0, 1.0)


def test_ties_at_the_threshold_are_no_false_positives_too_many() -> None:
    found = tpr_at(items([7.0] * 99 + [8.0]), items([7.0] * 1000, kind="o"))
    assert (found.value, found.parts["fpr"]) == (0.01, 0.0)


def test_privleak_by_hand() -> None:
    """AUC 0.75 against a control's 0.5: ((1 - 0.75) - 0.5) / 0.5 = -50 %."""
    others = [*([0.0] * 60), *([2.0] * 60)]
    now, control = [1.0] * 60 + [3.0] * 60, [0.0, 2.0] * 60
    found = privleak(items(now), items(others, kind="o"), items(control), items(others, kind="o"))
    assert measured(found)[0] == pytest.approx(-50.0)
    assert found.parts["auc"] == 0.75
    assert found.parts["auc_control"] == 0.5
    assert found.parts["difference"] == pytest.approx(0.25)
    assert "under-unlearned" in str(found.note)


# --- what must hold whatever the numbers are ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_exchanged_sides_mirror(seed: int) -> None:
    a, b = items(drawn(0.3, 120, seed), per_fact=3), items(drawn(0.0, 150, seed + 50), per_fact=5, kind="o")
    value, lower, upper = measured(auc(a, b))
    back, back_lower, back_upper = measured(auc(b, a))
    assert (back, back_lower, back_upper) == pytest.approx((1 - value, 1 - upper, 1 - lower))
    one, two = ks(a, b), ks(b, a)
    assert (one.value, one.parts["p"], one.upper) == pytest.approx((two.value, two.parts["p"], two.upper))


@pytest.mark.parametrize("change", [np.exp, lambda x: 3 * x - 7, lambda x: x**3, np.arctan])
def test_monotone_maps_change_nothing(change: Callable[[np.ndarray], np.ndarray]) -> None:
    a, b, c = drawn(0.5, 200, 7), drawn(0.0, 1000, 8), drawn(0.1, 200, 9)
    for test in (auc, ks, tpr_at):
        before, after = test(items(a), items(b, kind="o")), test(items(change(a)), items(change(b), kind="o"))
        assert before.items == tuple(items(a)), "the subject's own scores"
        assert figures(before) == figures(after)
    plain = privleak(items(a), items(b, kind="o"), items(c), items(b, kind="o"))
    mapped = privleak(items(change(a)), items(change(b), kind="o"), items(change(c)), items(change(b), kind="o"))
    assert figures(plain) == figures(mapped)


def figures(found: MetricResult) -> MetricResult:
    return found.model_copy(update={"items": ()})


@pytest.mark.parametrize("seed", range(4))
def test_privleaks_sign_turns_with_the_models(seed: int) -> None:
    others = items(drawn(0.0, 200, seed + 10), kind="o")
    one, two = items(drawn(0.6, 120, seed)), items(drawn(-0.2, 120, seed + 20))
    there, back = privleak(one, others, two, others), privleak(two, others, one, others)
    value, reverse = measured(there)[0], measured(back)[0]
    assert value < 0 < reverse
    assert there.parts["difference"] == pytest.approx(-(back.parts["difference"] or 0))
    assert there.parts["difference_lower"] == pytest.approx(-(back.parts["difference_upper"] or 0))
    same = privleak(one, others, one, others)
    assert (same.value, same.lower, same.upper) == (0.0, 0.0, 0.0)


def test_phrasings_of_one_fact_are_not_independent() -> None:
    """Ten copies of each item are no more evidence than one: the bounds stay, the figure too."""
    a, b = drawn(0.3, 100, 11), drawn(0.0, 100, 12)
    one = auc(items(a), items(b, kind="o"))
    ten = auc(items(a.repeat(10), per_fact=10), items(b.repeat(10), per_fact=10, kind="o"))
    assert measured(ten) == pytest.approx(measured(one))
    proud = auc(items(a.repeat(10)), items(b.repeat(10), kind="o"))
    assert (proud.upper or 0) - (proud.lower or 0) < 0.5 * ((one.upper or 0) - (one.lower or 0))
    assert measured(ks(items(a.repeat(10), per_fact=10), items(b.repeat(10), per_fact=10, kind="o"))) == pytest.approx(
        measured(ks(items(a), items(b, kind="o")))
    )


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Two normals half a deviation apart have AUC Phi(0.5 / sqrt 2); each bound fails in about 5 % of the draws."""
    truth = 0.5 * (1 + math.erf(0.5 / 2))
    found = [measured(auc(items(drawn(0.5, 100, s)), items(drawn(0.0, 100, 10_000 + s), kind="o"))) for s in range(400)]
    assert sum(lower > truth for _, lower, _ in found) <= 35  # 20 are expected, 35 is four deviations away
    assert sum(upper < truth for _, _, upper in found) <= 35
    assert sum(lower > truth or upper < truth for _, lower, upper in found) >= 10  # and it is no empty promise


def test_complete_order_is_no_certainty() -> None:
    value, lower, upper = measured(auc(items([1.0] * 100, per_fact=10), items([0.0] * 100, per_fact=10, kind="o")))
    assert (value, upper) == (1.0, 1.0)
    assert lower == pytest.approx(0.05 ** (1 / 10))  # ten facts, not a hundred items
    value, lower, upper = measured(auc(items([0.0] * 100), items([1.0] * 100, kind="o")))
    assert (value, lower) == (0.0, 0.0)
    assert upper == pytest.approx(1 - 0.05 ** (1 / 100))


def test_an_auc_far_below_a_half_is_a_leak_too() -> None:
    high, low, none = (auc(items(drawn(m, 300, 13)), items(drawn(0.0, 300, 14), kind="o")) for m in (1.0, -1.0, 0.0))
    assert "trained on" in str(high.note)
    assert "over-unlearned" in str(low.note)
    assert "not excluded" in str(none.note)


def test_the_bootstrap_draws_what_the_closed_form_says() -> None:
    a, b, c = items(drawn(0.5, 150, 15)), items(drawn(0.0, 400, 16), kind="o"), items(drawn(0.0, 150, 17))
    sides = [two_samples.Side(np.array([i.score for i in x]), tuple(i.fact for i in x), 0) for x in (a, c, b)]
    first, second = two_samples.bootstrap_aucs(sides[0], sides[1], sides[2], sides[2], 0)
    for draws, members in ((first, a), (second, c)):
        value, lower, upper = measured(auc(members, b))
        assert draws.mean() == pytest.approx(value, abs=0.005)
        assert np.quantile(draws, [0.05, 0.95]) == pytest.approx([lower, upper], abs=0.012)


# --- too little, or not usable ------------------------------------------------------------------------------------


def test_below_a_hundred_a_side_nothing_is_said() -> None:
    few, many = items(drawn(0, 99, 0)), items(drawn(0, 500, 1), kind="o")
    for found in (auc(few, many), auc(many, few), ks(few, many), forget_quality(many, few)):
        assert (found.state, found.value) == ("not_run", None)
        assert str(found.note).startswith("too few: ")
    thin = privleak(few, many, few, many)
    assert thin.state == "not_run"
    assert auc(items(drawn(0, 100, 0)), many).state == "measured"
    one_fact = auc(items(drawn(0, 100, 0), per_fact=100), many)
    assert one_fact.state == "not_run"


def test_a_low_false_positive_rate_needs_a_thousand_of_a_hold_out() -> None:
    members = items(drawn(0, 200, 0))
    found = tpr_at(members, items(drawn(0, 999, 1), kind="o"))
    assert found.state == "not_run"
    assert "999 hold-out items, 1000 are needed" in str(found.note)
    assert tpr_at(members, items(drawn(0, 1000, 1), kind="o")).state == "measured"
    assert tpr_at(members[:50], items(drawn(0, 1000, 1), kind="o")).state == "not_run"


def test_items_without_a_score_are_counted_and_do_not_count() -> None:
    scores = [*drawn(0.2, 120, 2), None, math.nan]
    found = auc(items(scores), items([*drawn(0, 120, 3), None], kind="o"))
    assert found.undecided == 3
    assert found.value == auc(items(scores[:120]), items(drawn(0, 120, 3), kind="o")).value
    lost = auc(items([*scores[:99], *[None] * 50]), items(drawn(0, 120, 3), kind="o"))
    assert lost.state == "not_run"  # what has no score never helps over the minimum
    endless = ks(items([math.inf, -math.inf, *drawn(0, 120, 2)]), items(drawn(0, 120, 3)))
    assert measured(endless)


def test_privleak_pairs_its_items() -> None:
    a, b = items(drawn(0, 120, 0)), items(drawn(0, 120, 1), kind="o")
    gone = [*a[:-1], a[-1].model_copy(update={"score": None})]
    found = privleak(gone, b, a, b)
    assert (found.undecided, found.n) == (1, 239)
    assert found.value == 0.0
    with pytest.raises(ValueError, match="the same items"):
        privleak(a, b, a[::-1], b)
    perfect = privleak(a, b, items([9.0] * 120), items([0.0] * 120, kind="o"))
    assert (perfect.state, perfect.value) == ("undecided", None)
    assert "no hold-out of the same kind" in str(perfect.note)


def test_all_identical_scores_say_nothing() -> None:
    same, others = items([1.0] * 200), items([1.0] * 1000, kind="o")
    for found in (auc(same, others), ks(same, others), tpr_at(same, others), forget_quality(same, others)):
        assert (found.state, found.value, found.lower) == ("undecided", None, None)
        assert "the same score" in str(found.note)
