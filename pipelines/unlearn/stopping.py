"""Early stopping by exposure: neither less nor more forgotten than a model that never knew.

Training stops at the first look whose whole interval lies within the tolerance (arXiv 2411.04388 gives the idea; the
formulas are a reconstruction, see pipelines/verify/exposure.py). A run that passes from too little to too much between
two looks has not reached it, and says so.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypedDict

import torch

from pipelines.model import LoadedModel
from pipelines.unlearn.settings import UnlearnSettings
from policies.errors import LetheError

Stopped = Literal["early", "never_reached", "not_asked", "undecided"]
"""``early``: equivalence was reached, at the run's last step. ``undecided``: the last look could not be decided."""


class Exposure(Protocol):
    """What a look finds (``pipelines.verify.exposure.Exposure``)."""

    @property
    def mean(self) -> float | None:
        """Mean over items, in nats; above 0 is under-unlearned, below 0 over-unlearned."""

    @property
    def lower(self) -> float | None:
        """Lower end of its 90 % interval."""

    @property
    def upper(self) -> float | None:
        """Upper end."""

    @property
    def tau(self) -> float:
        """The tolerance that it was judged by."""

    @property
    def state(self) -> str:
        """``equivalent``, ``under_unlearned``, ``over_unlearned`` or ``undecided``."""


class Look(TypedDict):
    """A look at the exposure, as it is reported."""

    step: int
    mean: float | None
    lower: float | None
    upper: float | None
    state: str


AskExposure = Callable[[LoadedModel], Exposure]
AtCheckpoint = Callable[[int, LoadedModel], None]


@dataclass(slots=True, kw_only=True)
class Looks:
    """Looks at the model every ``stop_every`` steps and after the last one.

    Attributes:
        settings: Of the run.
        exposure: Measures the model; asked where ``stop_tau`` is above 0.
        checkpoint: Told step and model.
        seen: What was found so far; of the attempts before this one too.
        seconds: Wall time of this attempt's looks.
    """

    settings: UnlearnSettings
    exposure: AskExposure | None = None
    checkpoint: AtCheckpoint | None = None
    seen: list[Look] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def asks(self) -> bool:
        """Whether the exposure is asked for."""
        return self.exposure is not None and self.settings.stop_tau > 0

    def reached(self, step: int, last: bool, loaded: LoadedModel) -> bool:
        """Look, where it is time, and say whether the run is to stop at this step.

        Raises:
            LetheError: ``unlearn.bad_settings``: the exposure was judged by another tolerance than the run's.
        """
        if not last and step % self.settings.stop_every:
            return False
        if self.checkpoint is None and not self.asks:
            return False
        began = time.monotonic()
        with _aside(loaded):
            if self.checkpoint is not None:
                self.checkpoint(step, loaded)
            found = self.exposure(loaded) if self.exposure is not None and self.asks else None
        self.seconds += time.monotonic() - began
        if found is None:
            return False
        if found.tau != self.settings.stop_tau:
            fault = f"stop_tau is {self.settings.stop_tau:g}, and the exposure was judged by {found.tau:g}"
            raise LetheError("unlearn.bad_settings", "The settings of the run cannot be used.", (fault,))
        # Plain figures: a checkpoint holds nothing else.
        mean, lower, upper = (None if one is None else float(one) for one in (found.mean, found.lower, found.upper))
        self.seen.append(Look(step=step, mean=mean, lower=lower, upper=upper, state=str(found.state)))
        return found.state == "equivalent"

    @property
    def state(self) -> str | None:
        """The last look's."""
        return self.seen[-1]["state"] if self.seen else None

    @property
    def stopped(self) -> Stopped:
        """How the run ended."""
        if not self.seen:
            return "not_asked"
        if self.state == "equivalent":
            return "early"
        return "undecided" if self.state == "undecided" else "never_reached"


@contextmanager
def _aside(loaded: LoadedModel) -> Iterator[None]:
    """The model as it answers, and what training draws at random left as if nobody had looked."""
    devices = [loaded.device] if loaded.device.type == "cuda" else []
    loaded.model.eval()
    try:
        with torch.random.fork_rng(devices), torch.no_grad():
            yield
    finally:
        loaded.model.train()
