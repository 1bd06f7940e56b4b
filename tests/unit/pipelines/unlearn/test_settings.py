from typing import Any

import pytest

from pipelines.unlearn.settings import UnlearnSettings
from policies.errors import LetheError


@pytest.mark.parametrize(
    "wrong",
    [
        {"rank": 0},
        {"learning_rate": -1.0},
        {"kl_weight": -0.1},
        {"warmup": 1.0},
        {"kl_direction": "sideways"},
        {"min_steps": 50, "max_steps": 40},
        {"kl_mask": "padding"},
        {"retain_loss": "mse"},
        {"dpo_beta": 0.0},
        {"undial_beta": -1.0},
        {"simnpo_delta": -0.5},
        {"satimp_beta1": -1.0},
        {"forget_weight": -1.0},
        {"rmu_layer": -2},
        {"stop_tau": -0.1},
        {"stop_every": 0},
    ],
)
def test_settings_that_cannot_be_used_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(LetheError) as refused:
        UnlearnSettings(**wrong)
    assert refused.value.code == "unlearn.bad_settings"
    assert len(refused.value.details) == 1


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(LetheError) as refused:
        UnlearnSettings(rank=0, clip=0, kl_weight=-1)
    assert len(refused.value.details) == 3


def test_the_defaults_are_those_of_the_literature() -> None:
    """OpenUnlearning's configuration files, as far as they say nothing of the learning rate."""
    found = UnlearnSettings()
    assert (found.npo_beta, found.dpo_beta) == (0.1, 0.1)
    assert (found.simnpo_beta, found.simnpo_delta, found.simnpo_weight) == (4.5, 0.0, 0.125)
    assert (found.rmu_coefficient, found.undial_beta, found.undial_retain_weight) == (2.0, 10.0, 0.0)
    assert (found.wga_beta, found.satimp_beta1, found.satimp_beta2, found.satimp_weight) == (1.0, 5.0, 1.0, 0.1)
    assert (found.forget_weight, found.retain_weight, found.retain_loss) == (1.0, 1.0, "nll")


def test_relearn_is_as_it_was() -> None:
    found = UnlearnSettings()
    assert (found.augmented_weight, found.retain_weight, found.kl_weight, found.lead_weight) == (1.0, 1.0, 1.0, 12.0)
    assert (found.kl_direction, found.kl_mask, found.stop_tau) == ("model_reference", "answer", 0.0)
    assert (found.learning_rate, found.passes, found.npo_weight) == (7e-3, 3.2, 0.3)
