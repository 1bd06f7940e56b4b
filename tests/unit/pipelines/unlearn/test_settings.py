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
