"""Which base this host serves, in which dtype, and what its releases are held to."""

import os
from pathlib import Path

from policies.errors import LetheError
from policies.thresholds import FLOOR, Thresholds
from services.settings import FloorSettings, Settings


def base_directory(settings: Settings) -> Path:
    """The base's directory: as set, else the newest in the home directory.

    Raises:
        LetheError: ``base.not_found``.
    """
    if settings.base.path:
        path = Path(settings.base.path).expanduser()
        if not path.is_dir():
            raise LetheError("base.not_found", "The base that the settings name is no directory on this host.")
        return path
    found = [d for d in (settings.home / "bases").glob("*") if (d / "config.json").is_file()]
    if not found:
        raise LetheError("base.not_found", "There is no base yet.")
    return max(found, key=lambda directory: directory.stat().st_mtime)


def serving_dtype(settings: Settings) -> str:
    """The dtype that the engine runs in and that a release must have been measured in; torch is not asked."""
    if settings.base.dtype != "auto":
        return settings.base.dtype
    gpu = Path("/dev/nvidiactl").exists() and os.environ.get("CUDA_VISIBLE_DEVICES", "all") not in {"", "-1"}
    return "bfloat16" if gpu else "float32"


def floor_of(settings: FloorSettings) -> Thresholds:
    """The server's own floor: the settings where they name a threshold, the built-in floor for the rest."""
    return FLOOR.model_copy(update=settings.model_dump())
