from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.bench import figure

GOOD = {"p_kfr_fluent": 0.9, "utility": 0.96, "leak_over_control": 0.2, "relearn_over_control": -0.1, "p_fluent": 0.8}


def test_the_golden_value() -> None:
    # 5 / (1/0.9 + 1/0.96 + 1/0.8 + 1/1 + 1/0.8): the excess below the control's counts as none.
    assert figure.combined(GOOD) == pytest.approx(5 / (1 / 0.9 + 1 / 0.96 + 1.25 + 1.0 + 1.25))
    assert figure.combined(GOOD) == pytest.approx(0.884521, abs=1e-6)


def test_the_parts_are_named_and_clipped() -> None:
    parts = figure.parts_of({**GOOD, "utility": 1.2, "leak_over_control": 1.5})
    assert parts == {
        "forgotten_fluently": 0.9,
        "kept": 1.0,
        "not_sampled": 0.0,
        "not_relearnt": 1.0,
        "fluent": 0.8,
    }
    assert figure.combined({**GOOD, "leak_over_control": 1.5}) == 0.0


@pytest.mark.parametrize("missing", sorted(GOOD))
def test_a_missing_part_leaves_the_figure_open(missing: str) -> None:
    assert figure.combined({**GOOD, missing: None}) is None
    assert figure.combined({name: value for name, value in GOOD.items() if name != missing}) is None


def test_utility_is_a_hard_condition() -> None:
    spoilt = {**GOOD, "p_kfr_fluent": 1.0, "leak_over_control": 0.0, "p_fluent": 1.0, "utility": 0.9499}
    rows: dict[str, Mapping[str, float | None]] = {"spoilt": spoilt, "honest": GOOD, "open": {**GOOD, "p_fluent": None}}
    assert (figure.combined(spoilt) or 0) > (figure.combined(GOOD) or 0)
    assert figure.ranked(rows) == ["honest", "spoilt", "open"]
    assert figure.eligible({"utility": 0.95})
    assert not figure.eligible({"utility": None})


def test_gibberish_that_forgets_everything_gets_nothing() -> None:
    ascent = {**GOOD, "p_kfr_fluent": 0.0, "p_fluent": 0.0}
    assert figure.combined(ascent) == 0.0
    assert figure.search_figure(ascent) == 0.0


def test_the_search_takes_equal_utility_first() -> None:
    tried = [
        {"p_kfr_fluent": 0.6, "utility": 0.99, "p_fluent": 1.0},
        {"p_kfr_fluent": 0.99, "utility": 0.80, "p_fluent": 1.0},
        {"p_kfr_fluent": 0.7, "utility": 0.95, "p_fluent": 1.0},
        {},
    ]
    assert figure.best_trial(tried) == 2
    assert figure.best_trial([tried[1], {**tried[1], "utility": 0.9}]) == 1  # none at equal utility: the least spoilt
    assert figure.best_trial([{}, {}]) == 0
    with pytest.raises(ValueError, match="no trial"):
        figure.best_trial([])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_a_harmonic_mean_lies_between_least_and_mean(shares: list[float]) -> None:
    found = figure.harmonic(shares)
    assert min(shares) - 1e-9 <= found <= sum(shares) / len(shares) + 1e-9


def test_what_is_no_share_is_refused() -> None:
    for bad in ([], [1.1], [-0.1]):
        with pytest.raises(ValueError, match="shares"):
            figure.harmonic(bad)
