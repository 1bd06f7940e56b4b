"""One gate: a threshold and what was measured against it. Plain data, so that a report can be read without torch."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

State = Literal["pass", "fail", "undecided", "not_run"]
# Every gate's name but those of attacks, which are `attack:` and the attack's.
NAMES = (
    *("subjects", "kfr", "kfr_lower_bound", "base_knew", "own_public_ratio", "ls_ratio", "ppl_ratio", "repeat_ratio"),
    *("subject_named", "other_value", "krr_ratio", "control", "attack_tier"),
    *("earlier_kfr", "earlier_own_public", "earlier_named", "earlier_fluent", "earlier_attack"),
)


class Gate(BaseModel):
    """One threshold and what was measured against it.

    ``within_reach`` is False where so few facts could not show that it is kept, whatever was trained.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    name: str
    subject: str | None = None
    state: State
    value: float | None = None
    threshold: float | None = None
    bound: float | None = None
    base: float | None = None
    n: int = 0
    required: bool = True
    within_reach: bool = True
    reason: str


def number(value: float | None) -> str:
    """A figure in a reason."""
    return "not known" if value is None else f"{value:.3f}"


def share(value: float | None, *, invert: bool = False) -> str:
    """A share in a reason, in per cent."""
    return "an unknown share" if value is None else f"{(1 - value if invert else value):.1%}"
