"""WGA (Wang et al. 2025, arXiv 2502.19301): gradient ascent that pulls less at tokens that are unlikely already."""

from typing import ClassVar

from torch import Tensor

from pipelines.unlearn.forget_retain import ForgetRetain
from pipelines.unlearn.registry import Step, register
from pipelines.unlearn.settings import UnlearnSettings


@register("wga")
class WeightedGradientAscent(ForgetRetain):
    """``-mean(p^beta * nll)`` on the raw forgotten answers, plus the retain term."""

    passes: ClassVar[float] = 1.5  # 5 epochs as published

    def forget(self, step: Step, settings: UnlearnSettings) -> Tensor:
        """Ascent weighted by the token's probability."""
        return step.negative().weighted_ascent(settings.wga_beta)
