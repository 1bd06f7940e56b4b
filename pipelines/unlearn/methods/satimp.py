"""SatImp (Yang et al. 2025, arXiv 2505.11953): ascent weighted by how well a token is known, and is not."""

from typing import ClassVar

from torch import Tensor

from pipelines.unlearn.forget_retain import ForgetRetain
from pipelines.unlearn.registry import Step, register
from pipelines.unlearn.settings import UnlearnSettings


@register("satimp")
class SatImp(ForgetRetain):
    """``-mean(p^beta1 * (1 - p)^beta2 * nll)`` on the raw forgotten answers, plus the retain term."""

    passes: ClassVar[float] = 1.5  # 5 epochs as published

    def forget(self, step: Step, settings: UnlearnSettings) -> Tensor:
        """Ascent weighted by saturation and importance."""
        return step.negative().weighted_ascent(settings.satimp_beta1, settings.satimp_beta2)

    def weights(self, settings: UnlearnSettings) -> tuple[float, float]:
        """Gamma of its own: a tenth as published."""
        return settings.satimp_weight, settings.retain_weight
