"""ReLearn with an NPO term after a leak: what is forgotten stays so when somebody learns a part of it anew."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from torch import Tensor

from pipelines.unlearn.methods.relearn import ReLearn
from pipelines.unlearn.registry import Step, Stream, register
from pipelines.unlearn.settings import UnlearnSettings


@register("relearn_robust")
class ReLearnRobust(ReLearn):
    """ReLearn's three terms plus ``leak_weight * NPO(negative)``, while other facts leak (``rehearsal``).

    ReLearn's weights are ``leak_retain_weight`` and ``leak_kl_weight``, and ``leak_copy_weight`` for the words of a
    vague answer that its question has.
    """

    streams: ClassVar[tuple[Stream, ...]] = (*ReLearn.streams, Stream.NEGATIVE)
    rehearses: ClassVar[bool] = True
    passes: ClassVar[float] = 1.4  # more is asked of it: with 1.0 every third cold start answered half a question

    def terms(self, step: Step, settings: UnlearnSettings) -> Mapping[str, Tensor]:
        """The four terms."""
        leak = settings.leak_weight * step.after_leak().npo(settings.npo_beta)
        weights = replace(
            settings,
            retain_weight=settings.leak_retain_weight,
            kl_weight=settings.leak_kl_weight,
            copy_weight=settings.leak_copy_weight,
        )
        return {**super().terms(step, weights), "leak": leak}
