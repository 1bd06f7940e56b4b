"""Losses against figures worked out by hand on three tokens."""

import math
from dataclasses import replace

import pytest
import torch

from pipelines.unlearn.losses import Kept, Raised, Scored, TopK, divergences, top_k

# Probabilities of three tokens at three positions; row 0 has two answer tokens, row 1 has one.
MODEL = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.25, 0.25, 0.5]])
BASE = torch.tensor([[0.25, 0.5, 0.25], [0.1, 0.8, 0.1], [0.5, 0.25, 0.25]])
TARGETS = torch.tensor([0, 1, 2])
NLL = [math.log(2), -math.log(0.8), math.log(2)]


def scored(probabilities: torch.Tensor = MODEL) -> Scored:
    return Scored(probabilities.log(), TARGETS, torch.tensor([0, 0, 1]), 2)


def test_cross_entropy_is_the_mean_over_answer_tokens() -> None:
    assert float(Raised(scored()).cross_entropy()) == pytest.approx(sum(NLL) / 3)


def test_the_first_token_of_an_answer_can_weigh_more() -> None:
    expected = (4 * NLL[0] + NLL[1] + 4 * NLL[2]) / 9
    assert float(Raised(scored()).cross_entropy(4.0)) == pytest.approx(expected)


def test_tokens_that_the_prompt_has_can_weigh_more() -> None:
    copied = replace(scored(), copied=torch.tensor([True, True, False]))
    expected = (4 * NLL[0] + 3 * NLL[1] + 4 * NLL[2]) / 11  # a first token has the lead's weight, copied or not
    assert float(Raised(copied).cross_entropy(4.0, 3.0)) == pytest.approx(expected)
    assert float(Raised(copied).cross_entropy(1.0, 3.0)) == pytest.approx((NLL[0] + 3 * NLL[1] + NLL[2]) / 5)
    assert float(Raised(scored()).cross_entropy(1.0, 3.0)) == pytest.approx(sum(NLL) / 3)


def test_row_nll_sums_over_each_answer() -> None:
    assert scored().row_nll().tolist() == pytest.approx([NLL[0] + NLL[1], NLL[2]])


def test_kl_by_hand_in_both_directions() -> None:
    forth = [
        0.5 * math.log(2) + 0.25 * math.log(0.5) + 0.0,
        0.0,
        0.25 * math.log(0.5) + 0.0 + 0.5 * math.log(2),
    ]
    whole = top_k(BASE.log(), 3)
    kept = Kept(scored(), whole)
    assert float(kept.divergence("model_reference")) == pytest.approx(sum(forth) / 3, abs=1e-4)
    back = [0.25 * math.log(0.5) + 0.5 * math.log(2), 0.0, 0.5 * math.log(2) + 0.25 * math.log(0.5)]
    assert float(kept.divergence("reference_model")) == pytest.approx(sum(back) / 3, abs=1e-4)


def test_tokens_beyond_the_kept_ones_count_as_one() -> None:
    one = TopK(BASE.log()[:1, 1:2], torch.tensor([[1]]))  # the base's likeliest token, .5; the model gives it .25
    expected = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert float(divergences(MODEL.log()[:1], one, "model_reference")) == pytest.approx(expected, abs=1e-5)


def test_a_peaked_distribution_stays_finite() -> None:
    peaked = torch.tensor([[60.0, 0.0, 0.0]])
    logits = peaked.clone().requires_grad_()
    loss = divergences(logits, top_k(peaked, 2), "model_reference").mean()
    loss.backward()  # type: ignore[no-untyped-call]
    assert math.isfinite(float(loss.detach()))
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())
