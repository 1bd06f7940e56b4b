"""Finished work stays finished: every unit is a file of its own, under a key of everything that it depends on."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.directory_key import directory_key
from pipelines.source_digest import source_digest
from policies.canonical import canonical_json, keyed_digest
from policies.errors import LetheError


@dataclass(frozen=True, slots=True)
class Told:
    """Progress of the whole run, for the command to show.

    Attributes:
        unit: What begins or has ended.
        done: Units finished.
        planned: Units in all.
        eta_seconds: Expected rest.
        kept: Whether the unit was there already.
        seconds: Of the unit; None while it runs.
    """

    unit: str
    done: int
    planned: int
    eta_seconds: float
    kept: bool = False
    seconds: float | None = None


@dataclass(slots=True)
class Units:
    """The units of one output directory.

    Attributes:
        directory: Where they lie; one key file beside them, since keys are over personal data and a plain digest could
            be confirmed by guessing.
        planned: Units by kind, for the ETA: those to come cost what those of their kind did cost.
        guess: Seconds of a unit by kind before one is finished.
        tell: Told when a unit begins and ends.
        device: Where units are worked out: their seconds are part of their results.
    """

    directory: Path
    planned: Counter[str]
    guess: Mapping[str, float]
    tell: Callable[[Told], None] | None = None
    device: str = "cpu"
    _done: Counter[str] = field(default_factory=Counter)
    _seconds: dict[str, list[float]] = field(default_factory=dict)
    _key: bytes = b""

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._key = directory_key(self.directory / "key")

    def digest(self, value: Any) -> str:
        """A keyed digest of a JSON value."""
        return keyed_digest(self._key, canonical_json(value))

    def run(
        self,
        kind: str,
        name: str,
        inputs: Any,
        work: Callable[[], dict[str, Any]],
        *,
        still_there: Callable[[dict[str, Any]], bool] | None = None,
    ) -> dict[str, Any]:
        """The result of a unit: read where it is finished, else worked out and written at once.

        A ``LetheError`` of a method is a result too (``failed``: its code): the others go on.

        Args:
            kind: For the ETA.
            name: Its file's name: ids only.
            inputs: Everything that the result depends on beside device and code, as JSON.
            work: Works it out.
            still_there: Whether what the unit left on the disk is still there.
        """
        about = {"unit": name, "inputs": inputs, "device": self.device, "code": source_digest()}
        key = self.digest(about)
        path = self.directory / "units" / f"{name}.json"
        found = _read(path, key)
        if found is not None and (still_there is None or "failed" in found["result"] or still_there(found["result"])):
            self._finish(kind, name, float(found["seconds"]), kept=True)
            return dict(found["result"])
        self._tell(Told(name, sum(self._done.values()), sum(self.planned.values()), self._eta()))
        began = time.monotonic()
        try:
            result = work()
        except LetheError as error:
            if error.code == "unlearn.cancelled":
                raise
            result = {"failed": error.code}
        seconds = time.monotonic() - began
        _write(path, {"unit": name, "key": key, "seconds": round(seconds, 2), "result": result})
        self._finish(kind, name, seconds, kept=False)
        return result

    def _finish(self, kind: str, name: str, seconds: float, *, kept: bool) -> None:
        self._done[kind] += 1
        self.planned[kind] = max(self.planned[kind], self._done[kind])
        self._seconds.setdefault(kind, []).append(seconds)
        self._tell(
            Told(name, sum(self._done.values()), sum(self.planned.values()), self._eta(), kept=kept, seconds=seconds)
        )

    def _eta(self) -> float:
        rest = 0.0
        for kind, count in self.planned.items():
            known = self._seconds.get(kind)
            rest += (count - self._done[kind]) * (sum(known) / len(known) if known else self.guess.get(kind, 0.0))
        return rest

    def _tell(self, told: Told) -> None:
        if self.tell:
            self.tell(told)


def _read(path: Path, key: str) -> dict[str, Any] | None:
    """A finished unit under the same key; a file that is cut or of other inputs counts for nothing."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(found, dict) and {"key", "seconds", "result"} <= found.keys() and found["key"] == key
    return found if whole else None


def _write(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(value, allow_nan=False), encoding="utf-8")
    os.replace(draft, path)
