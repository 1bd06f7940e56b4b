"""RMU (Li et al. 2024, arXiv 2403.03218): steer the hidden states of what goes, hold those of what stays."""

from torch import Tensor

from pipelines.unlearn.forget_retain import ForgetRetain
from pipelines.unlearn.registry import Step, register
from pipelines.unlearn.settings import UnlearnSettings


@register("rmu")
class Rmu(ForgetRetain):
    """``MSE(h(negative), c * u) + alpha * MSE(h(retain), h of the base)`` at one layer, on answer tokens."""

    def forget(self, step: Step, settings: UnlearnSettings) -> Tensor:
        """Distance to the control vector."""
        del settings
        return step.steered().misdirection()

    def retain(self, step: Step, settings: UnlearnSettings) -> tuple[str, Tensor]:
        """Distance to the base's states."""
        del settings
        return "drift", step.held().drift()
