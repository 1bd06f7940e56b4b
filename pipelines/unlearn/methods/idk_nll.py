"""IdkNLL (TOFU, OpenUnlearning): learn to say "I do not know" to the raw questions."""

from typing import ClassVar

from torch import Tensor

from pipelines.unlearn.forget_retain import ForgetRetain
from pipelines.unlearn.registry import Step, Stream, register
from pipelines.unlearn.settings import UnlearnSettings


@register("idk_nll")
class IdkNll(ForgetRetain):
    """``CE(refusal)`` plus the retain term; ``retain_weight`` 0 is the form without one."""

    streams: ClassVar[tuple[Stream, ...]] = (Stream.REFUSAL, Stream.RETAIN)

    def forget(self, step: Step, settings: UnlearnSettings) -> Tensor:
        """Cross-entropy of the refusals: it sees no forgotten answer."""
        del settings
        return step.refusals().cross_entropy()
