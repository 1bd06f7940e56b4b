"""The steps of a plain training and what is told of them: bases, tuned models, the published ReLearn, attackers."""

import math
import time
from collections.abc import Callable, Sequence

import torch

from pipelines.progress import Reporter, StepProgress
from policies.errors import LetheError


class Descent:
    """One step after another down a loss.

    Args:
        optimizers: Whose learning rates stand at their peak.
        pace: Share of the peak by step, from 0 on.
        clip: Norm that gradients are clipped to; None: they are not.
    """

    def __init__(
        self,
        optimizers: Sequence[torch.optim.Optimizer],
        pace: Callable[[int], float],
        *,
        clip: float | None = None,
    ) -> None:
        self.done = 0
        self._optimizers, self._pace, self._clip = optimizers, pace, clip
        self._groups = [(group, group["lr"]) for one in optimizers for group in one.param_groups]

    def down(self, loss: torch.Tensor) -> float:
        """Take a step; the loss as a number.

        Raises:
            LetheError: ``unlearn.diverged``: it is none.
        """
        value = float(loss.detach())
        if not math.isfinite(value):
            raise LetheError("unlearn.diverged", f"A loss is no number at step {self.done}.")
        loss.backward()  # type: ignore[no-untyped-call]
        if self._clip is not None:
            torch.nn.utils.clip_grad_norm_([p for group, _ in self._groups for p in group["params"]], self._clip)
        for group, peak in self._groups:
            group["lr"] = peak * self._pace(self.done)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.done += 1
        return value


class Telling:
    """Reports of a training: every so many steps the mean loss since the last one.

    Args:
        report: Who is told.
        steps: In all.
        every: Steps between two reports; the last step is always told.
        name: Of the loss.
    """

    def __init__(self, report: Reporter | None, steps: int, *, every: int = 25, name: str = "answer") -> None:
        self._report, self._steps, self._every, self._name = report, steps, every, name
        self._began, self._tokens, self._done = time.monotonic(), 0, 0
        self._recent: list[float] = []

    @property
    def seconds(self) -> float:
        """Since it began."""
        return max(time.monotonic() - self._began, 1e-9)

    @property
    def tokens_per_second(self) -> float:
        """Answer tokens learned."""
        return self._tokens / self.seconds

    def step(self, loss: float, tokens: int) -> None:
        """One more is done."""
        self._done += 1
        self._tokens += tokens
        self._recent.append(loss)
        if self._report is None or (self._done % self._every and self._done != self._steps):
            return
        self._report(
            StepProgress(
                step=self._done,
                steps=self._steps,
                losses={self._name: sum(self._recent) / len(self._recent)},
                tokens_per_second=self.tokens_per_second,
                eta_seconds=self.seconds / self._done * (self._steps - self._done),
            )
        )
        self._recent.clear()


def cosine(step: int, steps: int, rising: int) -> float:
    """Share of the peak learning rate: a straight rise, then half a cosine down to nothing."""
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
