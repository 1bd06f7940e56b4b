"""Gradient ascent: what the gate is there to reject. It forgets, and takes fluency with it."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from pipelines.unlearn.registry import Method, Step, Stream, register
from pipelines.unlearn.settings import UnlearnSettings


@register("grad_ascent", "ga")
class GradientAscent(Method):
    """Minus the cross-entropy of the raw forgotten answers, and nothing else."""

    streams: ClassVar[tuple[Stream, ...]] = (Stream.NEGATIVE,)
    passes: ClassVar[float] = 1.5

    def terms(self, step: Step, settings: UnlearnSettings) -> Mapping[str, Tensor]:
        """The one term."""
        del settings
        return {"ascent": step.negative().ascent()}
