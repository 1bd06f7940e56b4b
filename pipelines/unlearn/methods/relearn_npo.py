"""ReLearn with an NPO term on the raw answers, which lowers the memory itself and not only the answer."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from pipelines.unlearn.methods.relearn import ReLearn
from pipelines.unlearn.registry import Step, Stream, register
from pipelines.unlearn.settings import UnlearnSettings


@register("relearn_npo")
class ReLearnNpo(ReLearn):
    """ReLearn's three terms plus ``npo_weight * NPO(negative)``."""

    streams: ClassVar[tuple[Stream, ...]] = (*ReLearn.streams, Stream.NEGATIVE)

    def terms(self, step: Step, settings: UnlearnSettings) -> Mapping[str, Tensor]:
        """The four terms."""
        npo = settings.npo_weight * step.compared().npo(settings.npo_beta)
        return {**super().terms(step, settings), "npo": npo}
