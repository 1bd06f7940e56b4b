import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm, t

from pipelines.verify import bounds


@pytest.mark.parametrize(
    ("right", "of", "expected"), [(60, 60, 0.951), (59, 60, 0.923), (58, 60, 0.899), (114, 120, 0.904), (10, 10, 0.741)]
)
def test_clopper_pearson_gives_the_published_bounds(right: int, of: int, expected: float) -> None:
    assert bounds.clopper_pearson(right, of, "lower") == pytest.approx(expected, abs=6e-4)


@settings(deadline=None)
@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_clopper_pearson_agrees_with_scipy(case: tuple[int, int]) -> None:
    right, of = case
    lower = binomtest(right, of, alternative="greater").proportion_ci(0.95, method="exact").low
    upper = binomtest(right, of, alternative="less").proportion_ci(0.95, method="exact").high
    assert bounds.clopper_pearson(right, of, "lower") == pytest.approx(lower, abs=1e-9)
    assert bounds.clopper_pearson(right, of, "upper") == pytest.approx(upper, abs=1e-9)


@pytest.mark.parametrize(("right", "of"), [(1, 0), (-1, 3), (4, 3)])
def test_clopper_pearson_refuses_nonsense(right: int, of: int) -> None:
    with pytest.raises(ValueError, match="Clopper-Pearson"):
        bounds.clopper_pearson(right, of, "lower")


def test_phrasings_of_a_fact_are_drawn_together() -> None:
    facts = [f"f{i // 10}" for i in range(200)]  # 20 facts of 10 probes; one fact wholly wrong
    flags = [0.0] * 10 + [1.0] * 190
    by_fact = bounds.share_bounds(facts, flags)
    by_probe = bounds.share_bounds([str(i) for i in range(200)], flags)
    assert by_fact.lower < by_probe.lower - 0.02


def test_facts_of_unequal_size_scatter_more_than_their_number_tells() -> None:
    facts = ["large"] * 40 + [f"f{i}" for i in range(20)]
    found = bounds.share_bounds(facts, [0.0] * 40 + [1.0] * 20)
    assert found.method == "bootstrap over facts"
    assert found.upper > bounds.clopper_pearson(21 / 3, 21, "upper")


def test_when_all_pass_clopper_pearson_over_facts_takes_over() -> None:
    facts = [f"f{i % 20}" for i in range(80)]
    found = bounds.share_bounds(facts, [1.0] * 80)
    assert found.lower == pytest.approx(0.05 ** (1 / 20))
    assert found.upper == 1.0
    none = bounds.share_bounds(facts, [0.0] * 80)
    assert none.lower == 0.0
    assert none.upper == pytest.approx(1 - 0.05 ** (1 / 20))


@settings(deadline=None)
@given(st.integers(2, 30), st.integers(1, 5), st.data())
def test_one_miss_never_gives_a_better_bound_than_none(facts: int, each: int, data: st.DataObject) -> None:
    names = [f"f{i % facts}" for i in range(facts * each)]
    flags = [1.0] * len(names)
    best = bounds.share_bounds(names, flags).lower
    flags[data.draw(st.integers(0, len(names) - 1))] = 0.0
    assert bounds.share_bounds(names, flags).lower <= best


@pytest.mark.parametrize(("facts", "missed"), [(23, 1), (23, 2), (20, 1), (60, 2)])
def test_facts_that_miss_in_all_wordings_are_bounded_as_clopper_pearson_does(facts: int, missed: int) -> None:
    names = [f"f{i % facts}" for i in range(4 * facts)]
    flags = [float(i % facts >= missed) for i in range(4 * facts)]
    exact = bounds.clopper_pearson(facts - missed, facts, "lower")
    assert bounds.share_bounds(names, flags).lower == pytest.approx(exact)
    assert bounds.share_bounds(names, [1 - flag for flag in flags]).upper == pytest.approx(1 - exact)


def test_the_bound_is_wrong_no_more_often_than_it_says() -> None:
    """Exactly, over every number of misses: facts that tell in all wordings or in none, of a share just too low."""
    for facts, share in ((23, 0.84), (20, 0.8), (19, 0.849), (60, 0.9)):
        names = [f"f{i}" for i in range(facts)]
        proud = 0.0
        for right in range(facts + 1):
            lower = bounds.share_bounds(names, [float(i < right) for i in range(facts)]).lower
            proud += float(binom.pmf(right, facts, share)) * (lower > share)
        assert proud <= 0.05


def test_bootstrap_is_seeded_and_agrees_with_a_plain_loop() -> None:
    rng = np.random.default_rng(5)
    facts = [f"f{i % 15}" for i in range(90)]
    scores = rng.random(90).tolist()
    one = bounds.bootstrap_means(facts, [scores], lambda means: means[:, 0], seed=3)
    assert one == bounds.bootstrap_means(facts, [scores], lambda means: means[:, 0], seed=3)
    grouped = {fact: [s for f, s in zip(facts, scores, strict=True) if f == fact] for fact in sorted(set(facts))}
    groups = list(grouped.values())
    draws = [
        np.mean(np.concatenate([groups[i] for i in rng.integers(0, len(groups), len(groups))])) for _ in range(4000)
    ]
    few = (15 / 14) ** 0.5 * t.ppf(0.95, 14) / norm.ppf(0.95)
    for bound, at in ((one.lower, 0.05), (one.upper, 0.95)):
        plain = float(np.quantile(draws, at)) - np.mean(scores)
        assert bound - np.mean(scores) == pytest.approx(few * plain, abs=0.01)


def test_median_bootstrap_stays_within_the_values() -> None:
    facts = [f"f{i % 20}" for i in range(60)]
    values = [2.0] * 59 + [1e9]  # one outlier moves no median
    found = bounds.bootstrap_median(facts, values)
    assert (found.lower, found.upper) == (2.0, 2.0)


def test_ratio_is_resampled_in_pairs() -> None:
    facts = [f"f{i}" for i in range(50)]
    scores = [float(i % 3 != 0) for i in range(50)]
    same = bounds.ratio_bounds(facts, scores, scores)
    assert (same.lower, same.upper) == (1.0, 1.0)


def test_the_bootstrap_is_vectorised() -> None:
    facts = [f"f{i % 400}" for i in range(4000)]
    started = time.perf_counter()
    bounds.share_bounds(facts, [float(i % 7 > 0) for i in range(4000)])
    assert time.perf_counter() - started < 15
