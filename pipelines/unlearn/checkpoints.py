"""Checkpoints of a run: a run that was killed goes on from its last one and ends as if nothing had happened."""

import errno
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from pipelines.rows import TrainRow
from pipelines.unlearn.settings import UnlearnSettings
from policies.errors import LetheError

FILE = "checkpoint.pt"
_FORM = 3


def save(
    directory: Path,
    job: str,
    step: int,
    adapter: dict[str, torch.Tensor],
    optimizer: Any,
    log: dict[str, Any],
    rehearsal: dict[str, Any] | None = None,
) -> None:
    """Write adapter, optimizer, random state, step and log in one atomic rename.

    Args:
        directory: Of the run.
        job: Fingerprint of rows, settings and base: another job never goes on from this checkpoint.
        step: Steps done.
        adapter: The trained tensors.
        optimizer: With its state.
        log: What the run has reported so far: plain figures.
        rehearsal: State of the rehearsed leak, where there is one.

    Raises:
        LetheError: ``unlearn.disk_full``; the run can be started again once there is room.
    """
    state = {
        "form": _FORM,
        "job": job,
        "step": step,
        "adapter": {name: tensor.detach().cpu() for name, tensor in adapter.items()},
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
        "log": log,
        "rehearsal": rehearsal,
    }
    fresh = directory / f"{FILE}.new"
    try:
        with fresh.open("wb") as out:
            torch.save(state, out)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(directory / FILE)
    except (OSError, RuntimeError) as error:  # torch reports a failed write as RuntimeError
        fresh.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno != errno.ENOSPC:
            raise
        raise LetheError("unlearn.disk_full", "There is no room for the run's checkpoint.") from error


def load(directory: Path, job: str) -> dict[str, Any] | None:
    """The last checkpoint of this very job, if there is one that can be read."""
    file = directory / FILE
    if not file.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # whatever a torn or foreign file makes the unpickler raise
        return None
    return state if state.get("form") == _FORM and state.get("job") == job else None


def drop(directory: Path) -> None:
    """Delete the checkpoint: the run is over."""
    for name in (FILE, f"{FILE}.new"):
        (directory / name).unlink(missing_ok=True)


def fingerprint(
    base: str, rows: Sequence[TrainRow], settings: UnlearnSettings, start_from: Path | None, *, asks: bool
) -> str:
    """Tells one job from another by ids only: a digest of contents could be confirmed by guessing them."""
    job = {
        "base": base,
        "rows": [row.row_id for row in rows],
        "settings": asdict(settings),
        "start": start_from.name if start_from else None,
        "asks": asks,
    }
    return hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()
