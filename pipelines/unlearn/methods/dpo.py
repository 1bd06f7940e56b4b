"""DPO with refusals (TOFU's "IdkDPO"): "I do not know" rather than the forgotten answer."""

from typing import ClassVar

from torch import Tensor

from pipelines.unlearn.forget_retain import ForgetRetain
from pipelines.unlearn.registry import Step, Stream, register
from pipelines.unlearn.settings import UnlearnSettings


@register("dpo")
class Dpo(ForgetRetain):
    """``DPO(refusal over negative)`` plus the retain term."""

    streams: ClassVar[tuple[Stream, ...]] = (Stream.NEGATIVE, Stream.REFUSAL, Stream.RETAIN)
    chosen: ClassVar[Stream | None] = Stream.REFUSAL

    def forget(self, step: Step, settings: UnlearnSettings) -> Tensor:
        """Direct preference optimisation against the base."""
        return step.pairs().dpo(settings.dpo_beta)
