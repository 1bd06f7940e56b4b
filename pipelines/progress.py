"""What a training loop reports while it runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProgress:
    """One report of a training loop; no personal data, so it may be streamed and logged.

    Attributes:
        step: Steps done.
        steps: Steps in all.
        losses: Loss terms by name, averaged since the last report.
        tokens_per_second: Useful (answer) tokens learned per second since the loop began.
        eta_seconds: Expected rest of the loop.
    """

    step: int
    steps: int
    losses: Mapping[str, float]
    tokens_per_second: float
    eta_seconds: float


Reporter = Callable[[StepProgress], None]
