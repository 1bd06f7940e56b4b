"""The form that most methods share: ``gamma * forget + alpha * retain`` (OpenUnlearning, arXiv 2506.12618)."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from pipelines.unlearn.registry import Method, Step, Stream
from pipelines.unlearn.settings import UnlearnSettings


class ForgetRetain(Method):
    """A forget term on raw rows, and a retain term on what stays, which is not computed where it has no weight."""

    streams: ClassVar[tuple[Stream, ...]] = (Stream.NEGATIVE, Stream.RETAIN)
    passes: ClassVar[float] = 3.0  # raw rows are few: some ten epochs at the default passes, as published

    def terms(self, step: Step, settings: UnlearnSettings) -> Mapping[str, Tensor]:
        """The two terms."""
        gamma, alpha = self.weights(settings)
        terms = {"forget": gamma * self.forget(step, settings)}
        if alpha:
            name, term = self.retain(step, settings)
            terms[name] = alpha * term
        return terms

    @abstractmethod
    def forget(self, step: Step, settings: UnlearnSettings) -> Tensor:
        """The forget term without its weight."""

    def retain(self, step: Step, settings: UnlearnSettings) -> tuple[str, Tensor]:
        """The retain term and its name, without its weight: a plain token mean, or the KL from the base."""
        if settings.retain_loss == "kl":
            return "kl", step.retain().divergence(settings.kl_direction)
        return "retain", step.retain_answers().cross_entropy()

    def weights(self, settings: UnlearnSettings) -> tuple[float, float]:
        """The two weights, gamma and alpha."""
        return settings.forget_weight, settings.retain_weight
