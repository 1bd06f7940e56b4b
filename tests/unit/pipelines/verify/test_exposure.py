import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.verify.exposure import gen_ex, judge_exposure, rel_ex
from pipelines.verify.teacher_forced import TokenScores
from policies.errors import LetheError


def scores(*log_probs: float) -> TokenScores:
    return TokenScores(log_probs=np.array(log_probs, np.float32))


def test_one_seed_is_the_log_likelihood_ratio() -> None:
    now, control = [[scores(-1.0, -2.0)]], [[scores(-3.0, -4.0)]]
    assert gen_ex(now, control, per_token=False) == [pytest.approx(4.0)]
    assert gen_ex(now, control, per_token=True) == [pytest.approx(2.0)]


def test_seeds_are_averaged_as_probabilities_and_not_as_logarithms() -> None:
    now = [[scores(math.log(0.5))], [scores(math.log(0.1))]]
    control = [[scores(math.log(0.2))], [scores(math.log(0.2))], [scores(math.log(0.5))]]
    assert gen_ex(now, control, per_token=False) == [pytest.approx(math.log(0.3 / 0.3), abs=1e-6)]


def test_very_unlikely_answers_do_not_underflow() -> None:
    found = gen_ex([[scores(*[-50.0] * 100)]] * 2, [[scores(*[-60.0] * 100)]], per_token=False)
    assert found == [pytest.approx(1000.0)]


def test_an_empty_answer_has_no_exposure() -> None:
    assert gen_ex([[scores()]], [[scores(-1.0)]], per_token=False) == [None]
    assert rel_ex([scores()], [[scores(-1.0)]], per_token=True) == [None]
    assert rel_ex([scores(-1.0)], [[]], per_token=True) == [None]
    assert rel_ex([scores(-1.0)], [[scores()]], per_token=True) == [None]


@pytest.mark.parametrize(
    ("now", "control"), [([[scores(-1.0)]], [[]]), ([], [[scores(-1.0)]]), ([[scores(-1.0)], []], [[scores(-1.0)]])]
)
def test_mismatched_lists_are_refused(now: list[list[TokenScores]], control: list[list[TokenScores]]) -> None:
    with pytest.raises(LetheError, match=r"verify\.misaligned"):
        gen_ex(now, control, per_token=False)
    with pytest.raises(LetheError, match=r"verify\.misaligned"):
        rel_ex([scores(-1.0)], [], per_token=False)
    with pytest.raises(LetheError, match=r"verify\.misaligned"):
        judge_exposure(["f"], [])


levels = st.lists(st.floats(-30, -0.001), min_size=1, max_size=5)


@settings(deadline=None, max_examples=50)
@given(st.lists(levels, min_size=1, max_size=3), st.lists(levels, min_size=1, max_size=3), st.booleans())
def test_the_sign_turns_when_model_and_control_change_places(
    now: list[list[float]], control: list[list[float]], per_token: bool
) -> None:
    one = [[scores(*row)] for row in now]
    other = [[scores(*row)] for row in control]
    (there,), (back,) = gen_ex(one, other, per_token), gen_ex(other, one, per_token)
    assert there is not None
    assert back is not None
    assert there == pytest.approx(-back, abs=1e-9)
    assert gen_ex(one, one, per_token) == [0.0]


def test_relative_exposure_by_hand() -> None:
    twins = [[scores(math.log(0.1)), scores(math.log(0.3))]]
    assert rel_ex([scores(math.log(0.8))], twins, per_token=False) == [pytest.approx(math.log(4), abs=1e-6)]
    expected = math.log(0.8) - (math.log(0.1) + math.log(0.3)) / 2
    found = rel_ex([scores(math.log(0.8))], twins, per_token=False, calibrated=True)
    assert found == [pytest.approx(expected, abs=1e-6)]


def test_calibrated_exposure_is_none_on_average_for_a_model_that_saw_neither() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.normal(-10, 3, size=(4000, 5))
    items = [scores(row[0]) for row in drawn]
    twins = [[scores(level) for level in row[1:]] for row in drawn]
    raw = [value for value in rel_ex(items, twins, per_token=False) if value is not None]
    fair = [value for value in rel_ex(items, twins, per_token=False, calibrated=True) if value is not None]
    assert abs(np.mean(fair)) < 0.2
    assert np.mean(raw) < -1.0


def facts(n: int) -> list[str]:
    return [f"f{i}" for i in range(n)]


def test_fewer_than_thirty_items_are_undecided_and_thirty_are_not() -> None:
    assert judge_exposure(facts(29), [0.0] * 29).state == "undecided"
    assert judge_exposure(facts(30), [0.0] * 30).state == "equivalent"
    assert judge_exposure(facts(30), [0.0] * 29 + [None]).state == "undecided"


def test_many_phrasings_of_few_facts_are_undecided() -> None:
    assert judge_exposure([f"f{i % 4}" for i in range(100)], [0.0] * 100).state == "undecided"


@pytest.mark.parametrize("count", [6, 23])
def test_who_is_exposed_by_tau_is_seldom_called_equivalent(count: int) -> None:
    """The error that the interval promises, 5 %, on facts that lie around tau; 400 draws with a seed."""
    rng = np.random.default_rng(3)
    names = [f"f{i % count}" for i in range(30)]
    wrong = 0
    for draw in range(400):
        levels = rng.normal(0.1, 0.05, count)
        values = [float(levels[i % count]) for i in range(30)]
        wrong += judge_exposure(names, values, tau=0.1, seed=draw).state == "equivalent"
    assert wrong / 400 <= 0.08


@pytest.mark.parametrize("values", [[], [None, None], [float("nan")]])
def test_nothing_to_judge_is_undecided(values: list[float | None]) -> None:
    found = judge_exposure(facts(len(values)), values)
    assert (found.state, found.mean, found.n) == ("undecided", None, 0)


@pytest.mark.parametrize(("shift", "state"), [(0.0, "equivalent"), (1.0, "under_unlearned"), (-1.0, "over_unlearned")])
def test_the_state_says_on_which_side(shift: float, state: str) -> None:
    values = (np.random.default_rng(1).normal(0, 0.1, 200) + shift).tolist()
    found = judge_exposure(facts(200), values)
    assert found.state == state
    assert found.lower is not None
    assert found.mean is not None
    assert found.upper is not None
    assert found.lower <= found.mean <= found.upper


def test_a_wide_interval_around_none_is_undecided_and_never_equivalent() -> None:
    values = np.random.default_rng(2).normal(0, 3, 60)
    assert judge_exposure(facts(60), (values - values.mean()).tolist()).state == "undecided"


def test_facts_and_not_phrasings_make_the_interval() -> None:
    rng = np.random.default_rng(3)
    by_fact = rng.normal(0, 0.3, 20)
    repeated, named = np.repeat(by_fact, 50).tolist(), [f"f{i}" for i in range(20) for _ in range(50)]
    clustered, naive = judge_exposure(named, repeated), judge_exposure(facts(1000), repeated)
    assert clustered.upper is not None
    assert clustered.lower is not None
    assert naive.upper is not None
    assert naive.lower is not None
    assert clustered.upper - clustered.lower > 4 * (naive.upper - naive.lower)


def test_both_tails_are_told() -> None:
    values = [1.0] * 10 + [-2.0] * 5 + [0.0] * 25
    found = judge_exposure(facts(40), values)
    assert (found.share_above, found.share_below, found.worst) == (0.25, 0.125, -2.0)
    assert found.quantiles["0.5"] == 0.0
