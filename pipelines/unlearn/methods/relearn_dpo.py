"""ReLearn with a DPO term: the vague answer rather than the raw one, to the same raw question."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from pipelines.unlearn.methods.relearn import ReLearn
from pipelines.unlearn.registry import Step, Stream, register
from pipelines.unlearn.settings import UnlearnSettings


@register("relearn_dpo")
class ReLearnDpo(ReLearn):
    """ReLearn's three terms plus ``dpo_weight * DPO(augmented over negative)``.

    The published code has DPO instead of the cross-entropy on vague answers: ``augmented_weight`` 0 and
    ``dpo_weight`` 1. It takes token means where DPO has sums over the answer; here they are sums.
    """

    streams: ClassVar[tuple[Stream, ...]] = (*ReLearn.streams, Stream.NEGATIVE)
    chosen: ClassVar[Stream | None] = Stream.AUGMENTED

    def terms(self, step: Step, settings: UnlearnSettings) -> Mapping[str, Tensor]:
        """The four terms."""
        dpo = settings.dpo_weight * step.pairs().dpo(settings.dpo_beta)
        return {**super().terms(step, settings), "dpo": dpo}
