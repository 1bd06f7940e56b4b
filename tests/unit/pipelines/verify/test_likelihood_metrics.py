import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.verify import membership_scores, metrics
from pipelines.verify.answers import Answer
from pipelines.verify.backends import Backends
from pipelines.verify.embeddings import ExactEmbedder
from pipelines.verify.exposure import TAU
from pipelines.verify.metrics import Context, Group, run_all
from pipelines.verify.metrics.exact_memorisation import em
from pipelines.verify.metrics.extraction_strength import es
from pipelines.verify.metrics.truth_ratio import log_ratio
from pipelines.verify.results import MetricResult
from pipelines.verify.token_scores import Lens, TokenScores
from policies.errors import LetheError

BACKENDS = Backends(embedder=ExactEmbedder())


def scores(levels: Sequence[float] = (-1.0, -2.0), correct: Sequence[bool] | None = None) -> TokenScores:
    told = np.array(levels, np.float32)
    hits = np.array(correct if correct is not None else [False] * len(levels), np.bool_)
    return TokenScores(told, hits, told - 1, np.full_like(told, 2.0), text_bytes=10)


def hits(*correct: bool) -> TokenScores:
    return scores([-1.0] * len(correct), correct)


def context(tokens: Sequence[TokenScores] | None, group: Group = "forget", **more: Any) -> Context:
    count = len(tokens) if tokens is not None else 1
    answers = tuple(
        Answer(probe=f"p{i}", fact=f"f{i}", query="q", truth="It is K1.", response="no", value="K1")
        for i in range(count)
    )
    aligned: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in more.items()}
    return Context(
        group=group,
        answers=answers,
        coverage=(),
        backends=BACKENDS,
        tokens=None if tokens is None else tuple(tokens),
        **aligned,
    )


FUNCTIONS = {
    "probability": metrics.probability.probability,
    "exact_memorisation": metrics.exact_memorisation.exact_memorisation,
    "extraction_strength": metrics.extraction_strength.extraction_strength,
    "loss": metrics.loss.loss,
    "zlib": metrics.zlib_loss.zlib_loss,
    "min_k": metrics.min_k.min_k,
    "min_k_plus": metrics.min_k_plus.min_k_plus,
    "truth_ratio": metrics.truth_ratio.truth_ratio,
    "gen_ex": metrics.gen_ex.gen_ex,
    "gen_ex_token": metrics.gen_ex.gen_ex,
    "rel_ex": metrics.rel_ex.rel_ex,
    "rel_ex_token": metrics.rel_ex.rel_ex,
    "logit_lens": metrics.logit_lens.logit_lens,
}


def measured(name: str, tokens: Sequence[TokenScores] | None, group: Group = "forget", **more: object) -> MetricResult:
    return {result.name: result for result in FUNCTIONS[name](context(tokens, group, **more))}[name]


@pytest.mark.parametrize(
    ("correct", "strength"),
    [
        ([False] * 10, 0.0),  # the published code gives .1
        ([False] * 9 + [True], 0.1),
        ([True] * 9 + [False], 0.0),
        ([False, True, True, True], 0.75),
        ([True, False, True, True], 0.5),
        ([True] * 4, 1.0),
        ([False], 0.0),
        ([True], 1.0),
    ],
)
def test_extraction_strength_by_hand(correct: list[bool], strength: float) -> None:
    assert es(hits(*correct)) == pytest.approx(strength)


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_extraction_strength_is_a_share_and_never_above_memorisation(correct: list[bool]) -> None:
    strength, memorised = es(hits(*correct)), em(hits(*correct))
    assert strength is not None
    assert memorised is not None
    assert 0 <= strength <= memorised + 1e-9 <= 1 + 1e-9
    assert memorised == pytest.approx(sum(correct) / len(correct))
    assert (strength == 0) == (not correct[-1])
    assert (strength == 1) == all(correct)


def test_membership_scores_by_hand() -> None:
    five = scores([-1.0, -2.0, -3.0, -4.0, -5.0])
    assert membership_scores.loss(five) == pytest.approx(3.0)
    assert membership_scores.zlib_ratio(five) == pytest.approx(0.3)
    assert membership_scores.min_k(five) == pytest.approx(-5.0)  # a fifth of five tokens is one
    assert membership_scores.min_k(five, 0.4) == pytest.approx(-4.5)
    assert membership_scores.min_k(scores([-1.0, -2.0]), 0.2) == pytest.approx(-2.0)  # at least one
    assert membership_scores.min_k_plus(five) == pytest.approx(0.5)  # (log p - mu) / sigma = 1 / 2 everywhere
    assert membership_scores.reference(five, scores([-1.0])) == pytest.approx(2.0)


def test_min_k_plus_has_a_floor_where_the_model_is_certain() -> None:
    certain = TokenScores(
        np.zeros(1, np.float32), np.ones(1, np.bool_), np.zeros(1, np.float32), np.zeros(1, np.float32)
    )
    assert membership_scores.min_k_plus(certain) == 0.0


@pytest.mark.parametrize("name", membership_scores.MEMBERSHIP)
def test_membership_is_higher_for_the_likelier_answer_and_none_for_an_empty_one(name: str) -> None:
    score = membership_scores.MEMBERSHIP[name]
    mean, std = np.array([-2.0], np.float32), np.array([1.0], np.float32)
    one, other = (score(replace(scores([level]), mean=mean, std=std)) for level in (-0.1, -6.0))
    assert one is not None
    assert other is not None
    assert one > other
    assert score(TokenScores(text_bytes=8)) is None


def test_truth_ratio_by_hand() -> None:
    gold, wrong = scores([-1.0]), [scores([-2.0]), scores([-4.0])]
    assert log_ratio(gold, wrong) == pytest.approx(1 - 3)
    assert log_ratio(gold, []) is None
    assert log_ratio(TokenScores(), wrong) is None
    known = measured("truth_ratio", [gold], twin_tokens=[tuple(wrong)])
    assert known.value == pytest.approx(math.exp(-2))
    other_way = measured("truth_ratio", [scores([-5.0])], twin_tokens=[tuple(wrong)])
    assert other_way.value == pytest.approx(math.exp(-2))  # min(r, 1/r): preferring the wrong ones shows as well
    kept = measured("truth_ratio", [gold], "retain", twin_tokens=[tuple(wrong)])
    assert kept.value == pytest.approx(1 - math.exp(-2))
    assert measured("truth_ratio", [scores([-5.0])], "retain", twin_tokens=[tuple(wrong)]).value == 0.0
    assert kept.parts["geometric_mean_r"] == pytest.approx(math.exp(-2))


def test_a_probe_without_twins_is_undecided_and_not_passed() -> None:
    result = measured("truth_ratio", [scores(), scores()], twin_tokens=[(), (scores(),)])
    assert (result.n, result.undecided, result.value) == (1, 1, 1.0)
    none = measured("truth_ratio", [scores()], twin_tokens=[()])
    assert (none.state, none.value) == ("undecided", None)


@pytest.mark.parametrize(
    "name", ["probability", "exact_memorisation", "extraction_strength", "loss", "zlib", "min_k", "min_k_plus"]
)
def test_each_metric_says_value_size_bound_direction_items_and_source(name: str) -> None:
    rng = np.random.default_rng(0)
    rows = [scores(rng.uniform(-4, -0.1, 6).tolist(), (rng.random(6) > 0.5).tolist()) for _ in range(40)]
    result = measured(name, rows, base_tokens=rows, control_tokens=rows)
    assert result.state == "measured"
    assert (result.n, result.facts, len(result.items), result.undecided) == (40, 40, 40, 0)
    assert result.value is not None
    assert result.lower is not None
    assert result.upper is not None
    assert result.lower <= result.value <= result.upper
    assert result.direction in ("higher", "lower")
    assert measured(name, rows, "retain").direction != result.direction
    assert result.source
    assert result.parts["base"] == pytest.approx(result.value)
    assert result.parts["control"] == pytest.approx(result.value)


def test_an_empty_gold_answer_is_undecided_in_every_metric() -> None:
    for name in ("probability", "extraction_strength", "loss", "zlib", "min_k", "min_k_plus", "gen_ex", "rel_ex"):
        result = measured(name, [TokenScores()], control_tokens=[TokenScores()], twin_tokens=[(scores(),)])
        assert (result.state, result.value, result.n, result.undecided) == ("undecided", None, 0, 1), name


def test_one_item_has_no_bootstrap_bound() -> None:
    result = measured("loss", [scores()])
    assert (result.value, result.lower, result.upper, result.bound_method) == (1.5, None, None, None)
    assert measured("extraction_strength", [hits(True)]).lower == pytest.approx(0.05)  # Clopper-Pearson of one fact


def test_without_likelihoods_control_or_twins_the_reason_is_told() -> None:
    assert measured("loss", None).note == "no likelihoods were asked for"
    assert measured("gen_ex", [scores()]).note == "no control was given"
    assert measured("rel_ex_token", [scores()]).note == "no twins were given"
    assert measured("logit_lens", [scores()], lens="the model has 2 layers; 8 are needed").state == "not_run"


def test_scores_of_another_length_are_refused() -> None:
    wrong: list[dict[str, Any]] = [
        {"base_tokens": [scores()] * 2},
        {"control_tokens": []},
        {"twin_tokens": [(), ()]},
    ]
    for more in wrong:
        with pytest.raises(LetheError, match=r"verify\.misaligned"):
            context([scores()], "forget", **more)


def test_generalised_exposure_says_what_it_means() -> None:
    rng = np.random.default_rng(1)
    control = [scores(rng.uniform(-3, -2, 5).tolist()) for _ in range(60)]
    exposed = [scores((one.log_probs + 1.5).tolist()) for one in control]
    token = measured("gen_ex_token", exposed, control_tokens=control)
    whole = measured("gen_ex", exposed, control_tokens=control)
    assert token.value == pytest.approx(1.5, abs=1e-5)
    assert whole.value == pytest.approx(7.5, abs=1e-4)
    assert (token.parts["equivalent"], token.parts["share_above"]) == (0.0, 1.0)
    assert token.parts["tau"] == TAU
    assert whole.parts["tau"] == pytest.approx(5 * TAU)
    assert token.note == "under-unlearned: still exposed"
    same = measured("gen_ex", control, control_tokens=control)
    assert (same.parts["equivalent"], same.value) == (1.0, 0.0)
    over = measured("gen_ex", control, control_tokens=exposed)
    assert over.note is not None
    assert over.note.startswith("over-unlearned")


def test_few_items_are_an_undecided_exposure_with_its_figures() -> None:
    result = measured("gen_ex", [scores()] * 29, control_tokens=[scores()] * 29)
    assert (result.state, result.value, result.parts["equivalent"]) == ("undecided", 0.0, None)
    assert result.note == "29 items of 29 facts; 30 of 5 are needed"


def test_relative_exposure_is_judged_on_the_calibrated_figure() -> None:
    rng = np.random.default_rng(2)
    drawn = [[scores([float(level)]) for level in rng.normal(-4, 0.01, 4)] for _ in range(60)]
    result = measured("rel_ex_token", [row[0] for row in drawn], twin_tokens=[tuple(row[1:]) for row in drawn])
    assert result.parts["equivalent"] == 1.0
    known = measured("rel_ex_token", [scores([-0.1])] * 60, twin_tokens=[tuple(row[1:]) for row in drawn])
    assert known.parts["calibrated"] == pytest.approx(3.9, abs=0.05)
    assert known.parts["equivalent"] == 0.0


def test_the_lens_counts_answers_that_some_layer_names_whole() -> None:
    def read(*layers: Sequence[int]) -> TokenScores:
        ranks = np.array(layers, np.int64)
        return replace(scores([-1.0]), lens=Lens(ranks, -ranks.astype(np.float32)))

    rows = [read([5, 0], [0, 0]), read([0, 3], [4, 0]), scores([-1.0])]
    result = measured("logit_lens", rows, lens=None)
    assert (result.value, result.n, result.undecided) == (0.5, 2, 1)
    assert result.parts == {
        "best_rank_median": 0.0,
        "layer_1_rank_median": 2.5,
        "layer_1_log_prob": -2.5,
        "layer_2_rank_median": 2.0,
        "layer_2_log_prob": -2.0,
    }


def test_a_file_of_answers_has_no_likelihood_metrics() -> None:
    from pipelines.verify.kfr_krr import coverages

    bare = context(None)
    whole = Context(
        group="forget", answers=bare.answers, coverage=tuple(coverages(bare.answers, BACKENDS)), backends=BACKENDS
    )
    assert "loss" in run_all(whole)
    assert "loss" not in run_all(whole, likelihood=False)
    assert "rouge_l" in run_all(whole, likelihood=False)
