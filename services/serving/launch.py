"""How an engine is started: the transformers engine's command, and the form that every engine's command has."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Boot = tuple[str, Path]  # a release's name and directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What to start, and in which environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


def transformers_command(base: Path, socket: Path, *, dtype: str) -> Launch:
    """The embedded engine; it loads no release by itself."""
    argv = (sys.executable, "-m", "services.serving.engine", "--base", str(base), "--dtype", dtype)
    return Launch(argv=(*argv, "--socket", str(socket)), env={**os.environ, "HF_HUB_OFFLINE": "1"})
