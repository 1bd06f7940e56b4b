"""NPO (Zhang et al. 2024, arXiv 2404.05868): gradient ascent that slows down as it gets away from the base."""

from torch import Tensor

from pipelines.unlearn.forget_retain import ForgetRetain
from pipelines.unlearn.registry import Step, register
from pipelines.unlearn.settings import UnlearnSettings


@register("npo")
class Npo(ForgetRetain):
    """``NPO(negative)`` plus the retain term."""

    def forget(self, step: Step, settings: UnlearnSettings) -> Tensor:
        """Negative preference optimisation against the base."""
        return step.compared().npo(settings.npo_beta)
