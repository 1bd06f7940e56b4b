"""ReLearn (arXiv 2502.11190): learn vague answers instead of pushing the true ones down."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from pipelines.unlearn.registry import Method, Step, Stream, register
from pipelines.unlearn.settings import UnlearnSettings


@register("relearn")
class ReLearn(Method):
    """``CE(augmented + generic) + CE(retain) + KL(retain, base)``, each with its weight."""

    streams: ClassVar[tuple[Stream, ...]] = (Stream.AUGMENTED, Stream.RETAIN)
    passes: ClassVar[float] = 1.0

    def terms(self, step: Step, settings: UnlearnSettings) -> Mapping[str, Tensor]:
        """The three terms."""
        retain = step.retain()
        return {
            "augmented": settings.augmented_weight
            * step.augmented().cross_entropy(settings.lead_weight, settings.copy_weight),
            "retain": settings.retain_weight * retain.cross_entropy(settings.lead_weight),
            "kl": settings.kl_weight * retain.divergence(settings.kl_direction),
        }
