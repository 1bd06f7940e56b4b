"""Which weight multiplies which term, for every method: the losses themselves are checked by hand elsewhere."""

from typing import Any, cast

import pytest
import torch

from pipelines.unlearn.registry import Step, method, methods
from pipelines.unlearn.settings import UnlearnSettings

LOSSES = {
    "cross_entropy": 2.0,
    "divergence": 3.0,
    "npo": 5.0,
    "dpo": 7.0,
    "simnpo": 11.0,
    "ascent": 13.0,
    "weighted_ascent": 17.0,
    "misdirection": 19.0,
    "drift": 23.0,
    "undial": 29.0,
}
SETTINGS: dict[str, Any] = {
    "augmented_weight": 1.25,
    "retain_weight": 1.5,
    "kl_weight": 1.75,
    "npo_weight": 0.25,
    "dpo_weight": 0.375,
    "forget_weight": 2.5,
    "simnpo_weight": 0.125,
    "satimp_weight": 0.0625,
    "undial_retain_weight": 0.5,
    "leak_weight": 0.75,
    "leak_retain_weight": 2.25,
    "leak_kl_weight": 2.75,
}
RELEARN = {"augmented": 1.25 * 2, "retain": 1.5 * 2, "kl": 1.75 * 3}
KEPT = {"retain": 1.5 * 2}
TERMS: dict[str, dict[str, float]] = {
    "relearn": RELEARN,
    "relearn_npo": {**RELEARN, "npo": 0.25 * 5},
    "relearn_dpo": {**RELEARN, "dpo": 0.375 * 7},
    "relearn_robust": {"augmented": 1.25 * 2, "retain": 2.25 * 2, "kl": 2.75 * 3, "leak": 0.75 * 5},
    "grad_ascent": {"ascent": 13},
    "ga": {"ascent": 13},
    "grad_diff": {"forget": 2.5 * 13, **KEPT},
    "npo": {"forget": 2.5 * 5, **KEPT},
    "simnpo": {"forget": 0.125 * 11, **KEPT},
    "dpo": {"forget": 2.5 * 7, **KEPT},
    "idk_nll": {"forget": 2.5 * 2, **KEPT},
    "rmu": {"forget": 2.5 * 19, "drift": 1.5 * 23},
    "undial": {"forget": 2.5 * 29, "retain": 0.5 * 2},
    "wga": {"forget": 2.5 * 17, **KEPT},
    "satimp": {"forget": 0.0625 * 17, **KEPT},
}


class Fake:
    """A fake step, and a fake batch of it: whatever is asked of it is a number of its own."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: torch.tensor(LOSSES[name]) if name in LOSSES else Fake()


def terms_of(name: str, **more: Any) -> dict[str, float]:
    settings = UnlearnSettings(method=name, **{**SETTINGS, **more})
    return {term: float(value) for term, value in method(name).terms(cast("Step", Fake()), settings).items()}


@pytest.mark.parametrize("name", methods())
def test_every_term_has_its_own_weight(name: str) -> None:
    assert terms_of(name) == TERMS[name]


@pytest.mark.parametrize("name", ["grad_diff", "npo", "simnpo", "dpo", "idk_nll", "wga", "satimp"])
def test_what_is_kept_may_be_the_kl_from_the_base(name: str) -> None:
    found = terms_of(name, retain_loss="kl")
    assert found["kl"] == 1.5 * 3
    assert "retain" not in found
