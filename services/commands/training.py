"""What the commands that train a model share."""

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.progress import StepProgress


def quiet_threads() -> None:
    """Before torch is imported: waiting threads must sleep, or any other load slows training several times."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def show_step(progress: "StepProgress") -> None:
    """One line on stderr that is written anew at every report."""
    loss = progress.losses["answer"]
    end = "\n" if progress.step == progress.steps else ""
    print(
        f"\rstep {progress.step}/{progress.steps}  loss {loss:.3f}  {progress.tokens_per_second:,.0f} tokens/s  "
        f"{progress.eta_seconds:3.0f} s left ",
        end=end,
        file=sys.stderr,
        flush=True,
    )
