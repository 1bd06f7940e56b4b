"""Finished work stays finished: every unit is a file of its own, under a key of everything that it depends on."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.directory_key import directory_key
from pipelines.source_digest import source_digest
from policies.canonical import canonical_json, keyed_digest
from policies.errors import LetheError


class Finished(NamedTuple):
    """A unit that is worked out.

    Attributes:
        result: As JSON.
        seconds: That it took, whenever that was.
        cpu_seconds: Of the processor: what it takes where nothing else runs.
        kept: Whether it was there already.
    """

    result: dict[str, Any]
    seconds: float
    cpu_seconds: float
    kept: bool


@dataclass(slots=True)
class Units:
    """The units of one output directory.

    Attributes:
        directory: Where they lie; one key file beside them, since keys are over personal data and a plain digest could
            be confirmed by guessing.
        device: Where units are worked out: their seconds are part of their results.
    """

    directory: Path
    device: str = "cpu"
    _key: bytes = b""

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._key = directory_key(self.directory / "key")

    def digest(self, value: Any) -> str:
        """A keyed digest of a JSON value."""
        return keyed_digest(self._key, canonical_json(value))

    def run(
        self,
        name: str,
        inputs: Any,
        work: Callable[[], dict[str, Any]],
        *,
        whole: Callable[[dict[str, Any]], bool] | None = None,
    ) -> Finished:
        """The result of a unit: read where it is finished, else worked out and written at once.

        A ``LetheError`` of a method is a result too (``failed``: its code): the others go on.

        Args:
            name: Its file's name: ids only.
            inputs: Everything that the result depends on beside device and code, as JSON.
            work: Works it out.
            whole: Whether a result that is there may stay: what it left on the disk is still there, nothing in it is
                worth another try. One that failed is asked too.
        """
        about = {"unit": name, "inputs": inputs, "device": self.device, "code": source_digest()}
        key = self.digest(about)
        path = self.directory / "units" / f"{name}.json"
        found = _read(path, key)
        if found is not None and (whole is None or whole(found["result"])):
            return Finished(dict(found["result"]), float(found["seconds"]), float(found["cpu_seconds"]), True)
        began, cpu = time.monotonic(), time.process_time()
        try:
            result = work()
        except LetheError as error:
            if error.code == "unlearn.cancelled":
                raise
            result = {"failed": error.code}
        made = Finished(result, round(time.monotonic() - began, 2), round(time.process_time() - cpu, 2), False)
        _write(
            path,
            {
                "unit": name,
                "key": key,
                "seconds": made.seconds,
                "cpu_seconds": made.cpu_seconds,
                "result": result,
            },
        )
        return made


def _read(path: Path, key: str) -> dict[str, Any] | None:
    """A finished unit under the same key; a file that is cut or of other inputs counts for nothing."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = (
        isinstance(found, dict) and {"key", "seconds", "cpu_seconds", "result"} <= found.keys() and found["key"] == key
    )
    return found if whole else None


def _write(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(value, allow_nan=False), encoding="utf-8")
    os.replace(draft, path)
