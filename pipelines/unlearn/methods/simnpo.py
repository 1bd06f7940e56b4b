"""SimNPO (Fan et al. 2024, arXiv 2410.07163): NPO per token, without a reference."""

from torch import Tensor

from pipelines.unlearn.forget_retain import ForgetRetain
from pipelines.unlearn.registry import Step, register
from pipelines.unlearn.settings import UnlearnSettings


@register("simnpo")
class SimNpo(ForgetRetain):
    """``SimNPO(negative)`` plus the retain term."""

    def forget(self, step: Step, settings: UnlearnSettings) -> Tensor:
        """Negative preference optimisation of the likelihood per token."""
        return step.negative().simnpo(settings.simnpo_beta, settings.simnpo_delta)

    def weights(self, settings: UnlearnSettings) -> tuple[float, float]:
        """Gamma of its own: an eighth as published."""
        return settings.simnpo_weight, settings.retain_weight
