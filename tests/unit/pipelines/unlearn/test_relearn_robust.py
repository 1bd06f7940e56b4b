"""The terms of relearn_robust, by hand on three tokens."""

import math
from typing import cast

import pytest
import torch

from pipelines.unlearn.losses import Kept, Raised, Scored, top_k
from pipelines.unlearn.lowering import Compared
from pipelines.unlearn.registry import Step, method
from pipelines.unlearn.settings import UnlearnSettings

# Probabilities of three tokens at three positions; row 0 has two answer tokens, row 1 has one.
MODEL = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.25, 0.25, 0.5]])
BASE = torch.tensor([[0.25, 0.5, 0.25], [0.1, 0.8, 0.1], [0.5, 0.25, 0.25]])
HALF, FIFTH = math.log(2), -math.log(0.8)


class Given:
    """A step whose batches are all the same three tokens."""

    copied = torch.tensor([False, True, False])
    scored = Scored(MODEL.log(), torch.tensor([0, 1, 2]), torch.tensor([0, 0, 1]), 2, copied)

    def augmented(self) -> Raised:
        return Raised(self.scored)

    def retain(self) -> Kept:
        return Kept(self.scored, top_k(BASE.log(), 3))

    def after_leak(self) -> Compared:
        # The base's nll of each row: a ratio of 0 for the first, and 2 nats up for the second.
        return Compared(self.scored, torch.tensor([HALF + FIFTH, HALF - 2.0]))


def test_its_terms_by_hand() -> None:
    settings = UnlearnSettings(
        method="relearn_robust",
        lead_weight=1.0,
        leak_copy_weight=4.0,
        leak_weight=0.5,
        leak_kl_weight=6.0,
        kl_weight=100.0,
        npo_beta=0.1,
    )
    terms = {
        name: float(term) for name, term in method("relearn_robust").terms(cast("Step", Given()), settings).items()
    }
    nll = (HALF + FIFTH + HALF) / 3
    divergence = (0.5 * HALF - 0.25 * HALF + 0.5 * HALF - 0.25 * HALF) / 3
    npo = 2 / 0.1 * (math.log(2) + math.log(1 + math.exp(-0.2))) / 2
    assert terms == pytest.approx(
        {"augmented": (HALF + 4 * FIFTH + HALF) / 6, "retain": 2 * nll, "kl": 6 * divergence, "leak": 0.5 * npo},
        abs=1e-4,
    ), "the KL has a weight of its own, and what a vague answer repeats"


def test_the_other_methods_keep_theirs() -> None:
    settings = UnlearnSettings(method="relearn", lead_weight=1.0, leak_kl_weight=6.0, kl_weight=1.0)
    terms = method("relearn").terms(cast("Step", Given()), settings)
    assert float(terms["kl"]) == pytest.approx((0.5 * HALF - 0.25 * HALF) * 2 / 3, abs=1e-4)
