"""UNDIAL (Dong et al. 2024, arXiv 2402.10052): distil from the base, with the forgotten token's logit lowered."""

from torch import Tensor

from pipelines.unlearn.forget_retain import ForgetRetain
from pipelines.unlearn.registry import Step, register
from pipelines.unlearn.settings import UnlearnSettings


@register("undial")
class Undial(ForgetRetain):
    """Cross-entropy to the base with the forgotten tokens taken down; no retain term unless it is given a weight."""

    def forget(self, step: Step, settings: UnlearnSettings) -> Tensor:
        """Self-distillation with adjusted logits."""
        return step.taught().undial(settings.undial_beta)

    def weights(self, settings: UnlearnSettings) -> tuple[float, float]:
        """Alpha of its own: 0 as published."""
        return settings.forget_weight, settings.undial_retain_weight
