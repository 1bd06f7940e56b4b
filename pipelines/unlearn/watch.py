"""A run that cannot come to anything is stopped."""

import math
from collections import Counter
from collections.abc import Mapping

from pipelines.unlearn.settings import UnlearnSettings
from policies.errors import LetheError

_NEVER_WORSE = {"augmented", "retain"}  # loss terms in nats per token


class Watch:
    """Stops a run that cannot come to anything."""

    def __init__(self, settings: UnlearnSettings) -> None:
        self._settings = settings
        self._first: dict[str, float] = {}
        self._above: Counter[str] = Counter()

    def look(self, step: int, terms: Mapping[str, float], norm: float) -> None:
        """Look at the terms of a step.

        Raises:
            LetheError: ``unlearn.diverged``: a loss or gradient is no number, or the loss on rows that are learned
                or kept stays far above where it began.
        """
        if not all(math.isfinite(value) for value in (*terms.values(), norm)):
            raise LetheError("unlearn.diverged", f"A loss or gradient is no number at step {step}.")
        for name in _NEVER_WORSE & terms.keys():
            first = self._first.setdefault(name, terms[name])
            self._above[name] = self._above[name] + 1 if terms[name] > first + self._settings.diverged_margin else 0
            if self._above[name] >= self._settings.diverged_patience:
                raise LetheError("unlearn.diverged", f"The loss has stayed far above its beginning up to step {step}.")
