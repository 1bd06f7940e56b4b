"""What a run has to do: each task is one unit, worked out on its own."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pipelines.bench.bases import Kind

CONTROL = "control"
TaskKind = Literal["base", "rows", "trial", "final", "attack", "ablation"]
Place = Literal["whole", "slice"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One unit of work; it travels to another process.

    Attributes:
        unit: Its name, and that of its file.
        kind: What is done.
        base: Of which base.
        seed: Of base and unlearning.
        method: Who is trained or attacked; ``control`` for the control.
        number: Of the trial or the ablation.
        place: The probes that are asked.
        rate: Multiple of the method's learning rate; final runs learn theirs from the trials.
        passes: Multiple of its passes.
        needs: Units that must be there before.
    """

    unit: str
    kind: TaskKind
    base: "Kind"
    seed: int
    method: str = ""
    number: int = 0
    place: Place = "whole"
    rate: float = 1.0
    passes: float = 1.0
    needs: tuple[str, ...] = ()
