"""What a run made, for its report."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.unlearn.stopping import Look, Stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What a run made, for its report; no personal data.

    Attributes:
        adapter: Directory of the adapter.
        method: Which one.
        warm: Whether it went on from a trained adapter.
        steps: Steps of the whole run that were done.
        passes: How often it was to see the rows of its first stream: the settings' times the method's own factor.
        planned_steps: Steps that the learning rate was planned for; more than were done where the run stopped early.
        resumed_at: Step of the checkpoint that it went on from; 0 for none.
        seconds: Wall time of this attempt's training.
        look_seconds: Wall time of its looks at exposure, and of the ``checkpoint`` callback, besides.
        tokens_per_second: Useful (answer) tokens learned per second.
        rows: Rows by kind, as far as the method used them.
        negative_rows: Raw forgotten answers among them; only losses that lower their likelihood saw them.
        unpaired: Raw forgotten answers that were left out, since no other answer to their question was among the rows.
        checked_rows: Rows that the door looked at.
        truncated: Rows that were cut to the maximum length.
        reference_bytes: Size of the reference cache at the end.
        reference_recomputed: How often a row did not fit in it.
        settings: As used.
        curve: The reports of the run: step and loss terms.
        exposure: Each look at the exposure: step, mean, lower, upper and state.
        exposure_state: The last look's state: ``over_unlearned`` is a leak as ``under_unlearned`` is. None: no look.
        stopped: How the run ended, as far as the exposure decides it (``stopping.Stopped``).
        processes: That shared every batch.
        versions: Of the libraries.
    """

    adapter: str
    method: str
    warm: bool
    passes: float
    steps: int
    planned_steps: int
    resumed_at: int
    seconds: float
    look_seconds: float
    tokens_per_second: float
    rows: Mapping[str, int]
    negative_rows: int
    unpaired: int
    checked_rows: int
    truncated: int
    reference_bytes: int
    reference_recomputed: int
    settings: Mapping[str, Any]
    curve: tuple[Mapping[str, float], ...]
    exposure: tuple[Look, ...]
    exposure_state: str | None
    stopped: Stopped
    processes: int
    versions: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        return asdict(self)
