"""How far a ticket's run is, in words and steps; what a page shows again and again while it works."""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from policies.lifecycle import CLOSED_RUN, RunStatus
from services.console import words
from services.intake.views import RunView, TicketView

_TRAINED_S = 60.0


class Step(NamedTuple):
    """One step of a run: done, now, later or stopped."""

    words: str
    state: str
    mark: str
    said: str


class Progress(NamedTuple):
    """How far the present step is."""

    value: int
    of: int
    words: str


def steps(run: RunView, reached: frozenset[str]) -> list[Step]:
    """The steps of a run; of one that ended early, up to where it was.

    Args:
        run: As it is.
        reached: Steps that were begun, as ``run_steps`` names them.
    """
    order = [status for status, _ in words.RUN_STEPS]
    ended = run.status not in order
    here = _furthest(order, reached) if ended else order.index(RunStatus(run.status))
    found = []
    for place, (status, text) in enumerate(words.RUN_STEPS):
        if place < here or run.status == RunStatus.COMPLETED:
            found.append(Step(text, "done", "✓", "done"))
        elif place == here and ended:
            found.append(Step(text, "stopped", "✕", "stopped here"))
        elif place == here:
            found.append(Step(text, "now", "●", "under way"))
        elif not ended and status != RunStatus.COMPLETED:
            found.append(Step(text, "later", "○", "later"))
    return found


_STATUS_OF_STEP = {
    "augment": RunStatus.AUGMENTING,
    "check": RunStatus.CHECKING,
    "train": RunStatus.TRAINING,
    "verify": RunStatus.VERIFYING,
    "release": RunStatus.RELEASING,
    "swap": RunStatus.SWAPPING,
}


def _furthest(order: list[str], reached: frozenset[str]) -> int:
    return max((order.index(_STATUS_OF_STEP[name]) for name in reached if name in _STATUS_OF_STEP), default=0)


def progress(run: RunView) -> Progress | None:
    """How far the present step is, where it says so."""
    data = run.progress or {}
    if run.status in CLOSED_RUN or not data:
        return None
    done, total = _number(data, "done", "step"), _number(data, "total", "steps")
    if done is None or not total:
        return None
    said = [f"{min(done, total)} of {total}"]
    if isinstance(stage := data.get("stage"), str):
        said.insert(0, words.plain(stage))
    if isinstance(left := data.get("eta_seconds"), int | float):
        said.append(f"about {left / 60:.0f} min left" if left >= _TRAINED_S else f"about {left:.0f} s left")
    return Progress(min(done, total), total, ", ".join(said))


def _number(data: Mapping[str, Any], *names: str) -> int | None:
    found = (data.get(name) for name in names)
    return next((value for value in found if isinstance(value, int) and not isinstance(value, bool)), None)


def headline(ticket: TicketView) -> str:
    """Where a ticket stands, in one sentence; read aloud when it changes."""
    shown = words.STATUS[ticket.status]
    running = [run for run in ticket.runs if run.status not in CLOSED_RUN]
    if running:
        return f"{shown.words}: {dict(words.RUN_STEPS).get(running[-1].status, running[-1].status).lower()}."
    return f"{shown.words}."


def stamp(*values: object) -> str:
    """A short digest of what is shown: nothing is sent again that has not changed."""
    return hashlib.sha256(repr(values).encode()).hexdigest()[:16]
