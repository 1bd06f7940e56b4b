import pytest
import torch

from pipelines.descent import Descent, Telling, cosine
from pipelines.progress import StepProgress
from policies.errors import LetheError


def test_steps_go_at_the_pace_and_within_the_clip() -> None:
    weight = torch.nn.Parameter(torch.tensor([3.0]))
    descent = Descent([torch.optim.SGD([weight], lr=0.1)], lambda step: (1.0, 0.5)[step], clip=1.0)
    assert descent.down((10 * weight).sum()) == 30.0
    assert weight.item() == pytest.approx(3.0 - 0.1)  # a gradient of 10, clipped to 1
    descent.down((10 * weight).sum())
    assert weight.item() == pytest.approx(3.0 - 0.1 - 0.05)
    assert weight.grad is None
    assert descent.done == 2


def test_each_optimizer_keeps_its_own_peak() -> None:
    one, two = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    optimizers = [torch.optim.SGD([one], lr=1.0), torch.optim.SGD([two], lr=0.1)]
    Descent(optimizers, lambda _: 0.5).down((one + two).sum())
    assert (one.item(), two.item()) == pytest.approx((-0.5, -0.05))


def test_a_loss_that_is_no_number_ends_it_before_it_reaches_the_weights() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    descent = Descent([torch.optim.SGD([weight], lr=0.1)], lambda _: 1.0)
    with pytest.raises(LetheError) as caught:
        descent.down((weight * float("nan")).sum())
    assert caught.value.code == "unlearn.diverged"
    assert (weight.item(), weight.grad) == (1.0, None)


def test_reports_are_means_since_the_last_one_and_the_last_step_is_told() -> None:
    told: list[StepProgress] = []
    telling = Telling(told.append, 5, every=2)
    for loss in (1.0, 3.0, 5.0, 7.0, 9.0):
        telling.step(loss, 10)
    assert [(one.step, one.losses["answer"]) for one in told] == [(2, 2.0), (4, 6.0), (5, 9.0)]
    assert told[-1].eta_seconds == 0.0
    assert telling.tokens_per_second > 0


def test_the_pace_rises_and_falls() -> None:
    assert [cosine(step, 4, 2) for step in range(4)] == pytest.approx([0.5, 1.0, 1.0, 0.5])
    assert cosine(0, 1, 0) == 1.0
