"""Losses on forgotten answers against figures worked out by hand on three tokens."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pipelines.unlearn import lowering
from pipelines.unlearn.losses import Raised, Scored
from pipelines.unlearn.lowering import Compared, Held, Lowered, Preference, States, Steered, Taught, control_vector

# Probabilities of three tokens at three positions. Row 0 has two answer tokens, row 1 has one; the gold tokens are
# 0, 1, 2, so that their probabilities are 1/2, 4/5 and 1/2.
MODEL = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.25, 0.25, 0.5]])
BASE = torch.tensor([[0.25, 0.5, 0.25], [0.1, 0.8, 0.1], [0.5, 0.25, 0.25]])
TARGETS = torch.tensor([0, 1, 2])
ROWS = torch.tensor([0, 0, 1])
HALF, FIFTH = math.log(2), -math.log(0.8)  # the tokens' negative log-likelihoods: HALF, FIFTH, HALF


def scored(logits: Tensor | None = None) -> Scored:
    return Scored(MODEL.log() if logits is None else logits, TARGETS, ROWS, 2)


def softplus(x: float) -> float:
    """Minus the log of the sigmoid of minus x."""
    return math.log(1 + math.exp(x))


def test_ascent_is_minus_cross_entropy() -> None:
    assert float(Lowered(scored()).ascent()) == pytest.approx(-(HALF + FIFTH + HALF) / 3)


def test_wga_by_hand() -> None:
    # p = 1/2, 4/5, 1/2 weigh each token's own nll
    expected = -(0.5 * HALF + 0.8 * FIFTH + 0.5 * HALF) / 3
    assert float(Lowered(scored()).weighted_ascent(1.0)) == pytest.approx(expected)
    # with beta 2: 1/4, 16/25, 1/4
    expected = -(0.25 * HALF + 0.64 * FIFTH + 0.25 * HALF) / 3
    assert float(Lowered(scored()).weighted_ascent(2.0)) == pytest.approx(expected)
    assert float(Lowered(scored()).weighted_ascent(0.0)) == pytest.approx(float(Lowered(scored()).ascent()))


def test_satimp_by_hand() -> None:
    # p^5 (1 - p): 1/32 * 1/2 = 1/64 twice, and 0.32768 * 0.2 = 0.065536
    expected = -(HALF / 64 + 0.065536 * FIFTH + HALF / 64) / 3
    assert float(Lowered(scored()).weighted_ascent(5.0, 1.0)) == pytest.approx(expected)


@pytest.mark.parametrize("exponents", [(1.0, 0.0), (5.0, 1.0)])
def test_the_weights_are_no_path_for_the_gradient(exponents: tuple[float, float]) -> None:
    logits = MODEL.log().clone().requires_grad_()
    Lowered(scored(logits)).weighted_ascent(*exponents).backward()  # type: ignore[no-untyped-call]
    p, known, unsure = 0.5, *exponents
    # d(-w * nll)/d logit of the gold token = w * (1 - p) / 3 with w held still
    assert logits.grad is not None
    assert float(logits.grad[0, 0]) == pytest.approx(p**known * (1 - p) ** unsure * (1 - p) / 3)


def test_npo_by_hand() -> None:
    # beta 0.1, summed over each row; references 0.5 and 1.0
    rows = [HALF + FIFTH - 0.5, HALF - 1.0]
    expected = 2 / 0.1 * sum(softplus(-0.1 * row) for row in rows) / 2
    assert float(Compared(scored(), torch.tensor([0.5, 1.0])).npo(0.1)) == pytest.approx(expected)


def test_npo_starts_at_twice_log_2_over_beta() -> None:
    start = Compared(scored(), scored().row_nll())
    assert float(start.npo(0.1)) == pytest.approx(2 / 0.1 * math.log(2))


def test_simnpo_by_hand() -> None:
    # beta 4.5, per token of each row: (HALF + FIFTH) / 2 and HALF / 1
    rows = [(HALF + FIFTH) / 2, HALF]
    expected = 2 / 4.5 * sum(softplus(-4.5 * row) for row in rows) / 2
    assert float(Lowered(scored()).simnpo(4.5, 0.0)) == pytest.approx(expected)
    expected = 2 / 4.5 * sum(softplus(-4.5 * (row - 1.0)) for row in rows) / 2
    assert float(Lowered(scored()).simnpo(4.5, 1.0)) == pytest.approx(expected)


def test_undial_by_hand() -> None:
    # Taking log 4 off the gold token's logit divides its weight by 4. Teacher 1/4, 1/2, 1/4, gold 0:
    # 1/16, 1/2, 1/4, together 13/16: 1/13, 8/13, 4/13.
    first = (1 * math.log(2) + 8 * math.log(4) + 4 * math.log(4)) / 13
    # Teacher 1/10, 8/10, 1/10, gold 1: 1/10, 2/10, 1/10: 1/4, 1/2, 1/4. The model gives 1/10, 8/10, 1/10.
    second = 0.25 * math.log(10) + 0.5 * FIFTH + 0.25 * math.log(10)
    # Teacher 1/2, 1/4, 1/4, gold 2: 1/2, 1/4, 1/16: 8/13, 4/13, 1/13. The model gives 1/4, 1/4, 1/2.
    third = (8 * math.log(4) + 4 * math.log(4) + 1 * math.log(2)) / 13
    found = float(Taught(scored(), BASE.log()).undial(math.log(4)))
    assert found == pytest.approx((first + second + third) / 3)


def test_dpo_by_hand() -> None:
    # Chosen nll as above: HALF + FIFTH and HALF, under the base 1.0 and 0.5: log-ratios 1 - 0.916, 0.5 - 0.693.
    chosen = [1.0 - (HALF + FIFTH), 0.5 - HALF]
    # Rejected: the base's distributions scored on the same targets: log 4 + FIFTH and log 4; under the base 0.3, 0.2.
    rejected = [0.3 - (math.log(4) + FIFTH), 0.2 - math.log(4)]
    expected = 2 / 0.1 * sum(softplus(-0.1 * (c - r)) for c, r in zip(chosen, rejected, strict=True)) / 2
    pairs = Preference(scored(), torch.tensor([1.0, 0.5]), Compared(scored(BASE.log()), torch.tensor([0.3, 0.2])))
    assert float(pairs.dpo(0.1)) == pytest.approx(expected)


def test_rmu_by_hand() -> None:
    # Width 2, control (1, 0). Row 0: (1, 2) and (3, 0): ((0 + 4)/2 + (4 + 0)/2) / 2 = 2. Row 1: (1, 4): 16/2 = 8.
    states = States(torch.tensor([[1.0, 2.0], [3.0, 0.0], [1.0, 4.0]]), ROWS, 2)
    assert float(Steered(states, torch.tensor([1.0, 0.0])).misdirection()) == pytest.approx((2 + 8) / 2)
    # Against the base's (1, 0), (3, 2), (0, 4): ((4/2) + (4/2)) / 2 = 2 and (1/2) / 1: 1.25.
    base = States(torch.tensor([[1.0, 0.0], [3.0, 2.0], [0.0, 4.0]]), ROWS, 2)
    assert float(Held(states, base).drift()) == pytest.approx((2 + 0.5) / 2)
    assert float(Held(states, states).drift()) == 0


def test_rmu_divides_each_row_by_its_own_length() -> None:
    """The published code divides (B,) by (B, 1): s = (10, 40) over n = (5, 40) becomes 2.81 instead of 1.5."""
    square = torch.cat([torch.full((5, 1), 2.0), torch.full((40, 1), 1.0)])  # summed: 10 and 40
    rows = torch.cat([torch.zeros(5, dtype=torch.long), torch.ones(40, dtype=torch.long)])
    found = float(States(square.sqrt(), rows, 2).distance(torch.zeros(1)))
    s, n = torch.tensor([10.0, 40.0]), torch.tensor([[5.0], [40.0]])
    assert float((s / n).mean()) == pytest.approx(2.8125)  # the fault
    assert found == pytest.approx(1.5)


def test_the_control_vector_is_positive_seeded_and_of_the_given_length() -> None:
    one = control_vector(64, 2.0, 7)
    state = torch.get_rng_state()
    assert torch.equal(one, control_vector(64, 2.0, 7))
    assert not torch.equal(one, control_vector(64, 2.0, 8))
    assert torch.equal(state, torch.get_rng_state())  # the run's own draws are not touched
    assert float(one.norm()) == pytest.approx(2.0)
    assert bool((one >= 0).all())


REFERENCE = torch.tensor([0.5, 1.0])
LOSSES: dict[str, Callable[[Scored], Tensor]] = {
    "ascent": lambda s: Lowered(s).ascent(),
    "wga": lambda s: Lowered(s).weighted_ascent(1.0),
    "satimp": lambda s: Lowered(s).weighted_ascent(5.0, 1.0),
    "simnpo": lambda s: Lowered(s).simnpo(4.5, 0.0),
    "npo": lambda s: Compared(s, REFERENCE).npo(0.1),
    "undial": lambda s: Taught(s, MODEL.log()).undial(10.0),
    "dpo": lambda s: Preference(scored(BASE.log()), REFERENCE, Compared(s, REFERENCE)).dpo(0.1),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_what_lowered_rows_offer_makes_them_less_likely(loss: str) -> None:
    logits = MODEL.log().clone().requires_grad_()
    LOSSES[loss](scored(logits)).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    after = scored((logits - 0.1 * logits.grad).detach())
    assert bool((after.row_nll() > scored().row_nll()).all())


def test_dpo_makes_the_chosen_answer_likelier() -> None:
    logits = MODEL.log().clone().requires_grad_()
    rejected = Compared(scored(BASE.log()), REFERENCE)
    Preference(scored(logits), REFERENCE, rejected).dpo(0.1).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    after = scored((logits - 0.1 * logits.grad).detach())
    assert bool((after.row_nll() < scored().row_nll()).all())


@pytest.mark.parametrize(
    ("kind", "losses"),
    [
        (Lowered, {"ascent", "weighted_ascent", "simnpo"}),
        (Compared, {"ascent", "weighted_ascent", "simnpo", "npo"}),
        (Taught, {"ascent", "weighted_ascent", "simnpo", "undial"}),
        (Steered, {"misdirection"}),
    ],
)
def test_forgotten_answers_have_no_loss_that_raises_them(kind: type, losses: set[str]) -> None:
    offered = {name for name in dir(kind) if not name.startswith("_")}
    fields = {"scored", "reference_nll", "teacher", "states", "control"}
    assert offered - fields == losses
    assert not issubclass(kind, Raised)


def test_every_loss_of_this_module_is_in_the_table_above() -> None:
    """A new loss on forgotten answers has to show that it lowers them."""
    kinds = (Lowered, Compared, Taught)
    offered = {name for kind in kinds for name in vars(kind) if callable(vars(kind)[name]) and name[0] != "_"}
    assert offered == {"ascent", "weighted_ascent", "simnpo", "npo", "undial"}
    assert {name for name, one in vars(lowering).items() if isinstance(one, type) and issubclass(one, Raised)} == set()
