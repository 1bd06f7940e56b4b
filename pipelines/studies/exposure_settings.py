"""What an exposure study does."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pipelines.unlearn.settings import UnlearnSettings
from pipelines.verify.exposure import TAU
from policies.errors import LetheError


@dataclass(frozen=True, slots=True, kw_only=True)
class ExposureSettings:
    """What the exposure study does.

    Attributes:
        facts: Size of each forget set; fewer than 30 decide nothing.
        ascent: Trainer of gradient ascent.
        relearn: Trainer of ReLearn.
        steps: Steps of each method, by its name.
        looks: Checkpoints of each run, besides the one before it.
        tau: Nats per token within which exposure counts as none.
        utility: Items of utility: trained questions that are kept, and as many on phrasings never trained.
        seed: Of sets, twins and rows.
    """

    facts: int = 60
    ascent: UnlearnSettings = field(default_factory=lambda: UnlearnSettings(method="grad_ascent", learning_rate=1e-3))
    relearn: UnlearnSettings = field(default_factory=UnlearnSettings)
    steps: Mapping[str, int] = field(default_factory=lambda: {"grad_ascent": 60, "relearn": 240})
    looks: int = 20
    tau: float = TAU
    utility: int = 150
    seed: int = 0

    def __post_init__(self) -> None:
        numbers = {"facts": self.facts, "looks": self.looks, "utility": self.utility, **self.steps}
        faults = [f"{name} must be at least 1" for name, number in numbers.items() if number < 1]
        faults += ["tau must be above 0"] * (self.tau <= 0)
        if faults:
            raise LetheError("study.bad_settings", "The study cannot be run like that.", tuple(faults))

    def methods(self) -> tuple[UnlearnSettings, ...]:
        """Both trainers, at the study's number of steps and looks."""
        found = []
        for made in (self.ascent, self.relearn):
            steps = self.steps[made.method]
            every = max(1, steps // self.looks)
            # So many passes that only the maximum bounds the steps; a checkpoint would leave out looks on resuming.
            found.append(
                replace(
                    made,
                    passes=1e9,
                    min_steps=1,
                    max_steps=steps,
                    stop_every=every,
                    checkpoint_every=10**9,
                    stop_tau=0.0,
                )
            )
        return tuple(found)
