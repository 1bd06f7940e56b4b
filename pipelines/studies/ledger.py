"""What a study has finished, part by part: a study that was stopped goes on from there."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.source_digest import source_digest
from policies.errors import LetheError

_PLAN = "plan.json"


class Ledger:
    """Finished parts of one study, as JSON files in a directory.

    Args:
        directory: Made if it is not there.
        plan: Everything that decides the figures beside the code; a directory with another plan, or with parts of
            other code, is refused.

    Raises:
        LetheError: ``study.other_plan``; the details name what differs.
    """

    def __init__(self, directory: Path, plan: Mapping[str, Any]) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        wanted = json.loads(json.dumps({**plan, "code": source_digest()}))
        there = self.done(_PLAN.removesuffix(".json"))
        if there is None:
            self.write(_PLAN.removesuffix(".json"), wanted)
        elif there != wanted:
            keys = sorted(key for key in {*there, *wanted} if there.get(key) != wanted.get(key))
            raise LetheError("study.other_plan", "The directory holds a study with other settings.", tuple(keys))

    def done(self, part: str) -> dict[str, Any] | None:
        """The figures of a part; None: it is not finished."""
        try:
            found: dict[str, Any] = json.loads((self.directory / f"{part}.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return found

    def write(self, part: str, figures: Mapping[str, Any]) -> None:
        """Keep a part, whole or not at all; ids and figures only.

        Raises:
            ValueError: A figure is no number that JSON has.
        """
        text = json.dumps(figures, indent=1, allow_nan=False) + "\n"
        descriptor, draft = tempfile.mkstemp(dir=self.directory, prefix=".new-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(draft, self.directory / f"{part}.json")
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
