"""Gradient difference (Liu et al. 2022, arXiv 2203.12817; TOFU): ascent on what goes, descent on what stays."""

from torch import Tensor

from pipelines.unlearn.forget_retain import ForgetRetain
from pipelines.unlearn.registry import Step, register
from pipelines.unlearn.settings import UnlearnSettings


@register("grad_diff")
class GradientDifference(ForgetRetain):
    """Minus the cross-entropy of the raw forgotten answers, plus the retain term."""

    def forget(self, step: Step, settings: UnlearnSettings) -> Tensor:
        """Gradient ascent."""
        del settings
        return step.negative().ascent()
