import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.verify import linguistic_score as ls
from pipelines.verify.answers import Answer
from pipelines.verify.results import Mode

GOLDEN = [
    (["i", "do", "not", "know", "."], 5, 5, 3.4352, 1609.44, 0.3878, 0.2078),
    (["at"] * 128, 128, 1, 128.0, 441.09, 0.0227, 0.0216),
    (["the", "cat", "sat", "on", "the", "mat", "."], 7, 6, 4.2540, 729.72, 0.3507, 0.1967),
    ([f"w{i}" for i in range(30)], 30, 30, 6.9620, 3401.20, 0.2664, 0.1670),
    ([f"w{i % 70}" for i in range(128)], 128, 70, 11.1010, 522.53, 0.1948, 0.1357),
]
MODES: tuple[Mode, ...] = ("corrected", "paper", "code")


def answer(text: str, ppl: float | None = 8.0, probe: str = "p") -> Answer:
    nll = None if ppl is None else math.log(ppl)
    return Answer(probe=probe, fact=probe, query="q", truth="t", response=text, nll=nll)


@pytest.mark.parametrize(("tokens", "n", "types", "bi", "hs", "at_1_3", "at_8"), GOLDEN)
def test_golden_vectors(
    tokens: list[str], n: int, types: int, bi: float, hs: float, at_1_3: float, at_8: float
) -> None:
    assert (len(tokens), len(set(tokens))) == (n, types)
    found = ls.honore(tokens)
    assert found is not None
    assert round(ls.brunet(tokens), 4) == bi
    assert round(found, 2) == hs
    assert round(ls.linguistic_score(1.3, ls.brunet(tokens), found), 4) == at_1_3
    assert round(ls.linguistic_score(8, ls.brunet(tokens), found), 4) == at_8


@pytest.mark.parametrize("mode", MODES)
def test_golden_vectors_through_the_whole_metric(mode: Mode) -> None:
    result = ls.ls([answer("The cat sat on the mat.")], mode)
    assert result.value is not None
    if mode != "paper":
        assert round(result.value, 4) == 0.1967
    else:
        assert result.value == pytest.approx(3 / (3 + 8 + 4.2540), abs=1e-4)


@settings(deadline=None)
@given(st.floats(1, 1e9), st.floats(1, 1e4), st.floats(1e-3, 1e6))
def test_the_score_is_the_harmonic_mean_of_three_sigmoids(ppl: float, bi: float, hs: float) -> None:
    sigmoids = [1 / (1 + ppl), 1 / (1 + bi), hs / (1 + hs)]
    harmonic = 3 / sum(1 / s for s in sigmoids)
    assert ls.linguistic_score(ppl, bi, hs) == pytest.approx(harmonic, rel=1e-9)
    assert ls.linguistic_score(ppl, bi, hs) == pytest.approx(3 / (3 + ppl + bi + 1 / hs), rel=1e-12)
    assert ls.arithmetic_score(ppl, bi, hs) == pytest.approx(sum(sigmoids) / 3, rel=1e-9)
    assert 0 < ls.linguistic_score(ppl, bi, hs) <= 0.6


@pytest.mark.parametrize("text", ["Basel", "", "at at", "!"])
@pytest.mark.parametrize("mode", MODES)
def test_one_word_answers_divide_nothing_by_zero(text: str, mode: Mode) -> None:
    result = ls.ls([answer(text, None if not text else 8.0)], mode)
    assert result.value is None or math.isfinite(result.value)


def test_what_the_code_drops_is_counted() -> None:
    rows = [answer("the cat sat on the mat .", 8, "a"), answer("i do not know .", None, "b")]
    result = ls.ls(rows, "code")
    assert (result.n, result.undecided, result.parts["dropped"]) == (1, 1, 1.0)


def test_paper_mode_is_infinite_where_no_word_repeats_and_undefined_for_one_word() -> None:
    assert ls.honore(["a", "b"], "paper") == math.inf
    assert ls.honore(["a"], "paper") is None
    assert ls.honore(["a"], "code") == 0.0
    result = ls.ls([answer("i do not know .")], "paper")
    assert result.value == pytest.approx(3 / (3 + 8 + 3.4352), abs=1e-4)


def test_one_perplexity_of_a_billion_destroys_the_mean_but_not_the_corrected_score() -> None:
    text = "the cat sat on the mat ."
    rows = [answer(text, 8, str(i)) for i in range(59)] + [answer(text, 1e9, "outlier")]
    code, corrected = ls.ls(rows, "code"), ls.ls(rows, "corrected")
    assert code.value is not None
    assert corrected.value is not None
    assert code.value < 1e-6
    assert corrected.value > 0.15


def test_no_perplexity_at_all_is_not_run() -> None:
    result = ls.ls([answer("i do not know .", None)])
    assert (result.state, result.value) == ("not_run", None)


def test_tokens_are_those_of_nltk() -> None:
    assert ls.tokens("I don't KNOW.") == ["i", "do", "n't", "know", "."]


def test_bounds_hold_the_value() -> None:
    texts = ["the cat sat on the mat .", "i do not know .", "she said that nothing is known about it ."]
    result = ls.ls([answer(texts[i % 3], 4 + i % 5, str(i)) for i in range(60)])
    assert result.lower is not None
    assert result.upper is not None
    assert result.value is not None
    assert result.lower <= result.value <= result.upper
