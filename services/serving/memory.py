"""What a replica remembers of the highest state it served, so that an older copy of the store cannot take it back."""

import json
from dataclasses import dataclass
from pathlib import Path

from policies.errors import LetheError
from services.whole_file import write_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class HighWater:
    """The highest generation of a base that this replica served, and every ticket erased by then."""

    base_digest: str
    generation: int = -1
    release_digest: str = ""
    watermark: frozenset[str] = frozenset()

    def check(self, generation: int, release_digest: str, watermark: frozenset[str]) -> None:
        """Refuse a desired state that is behind.

        Raises:
            LetheError: ``serving.store_behind``.
        """
        if generation < self.generation or (generation == self.generation and release_digest != self.release_digest):
            raise LetheError("serving.store_behind", f"This replica has served generation {self.generation} already.")
        if not self.watermark <= watermark:
            raise LetheError("serving.store_behind", "The store does not know every ticket that this replica has seen.")

    def raised(self, generation: int, release_digest: str, watermark: frozenset[str]) -> "HighWater":
        """The memory after serving a state."""
        return HighWater(
            base_digest=self.base_digest,
            generation=generation,
            release_digest=release_digest,
            watermark=self.watermark | watermark,
        )


class Memory:
    """The file that holds it, one for each base."""

    def __init__(self, directory: Path, base_digest: str) -> None:
        self._path = directory / f"{base_digest[:16]}.json"
        self._base = base_digest

    def read(self) -> HighWater:
        """What was served so far; nothing where there is no file.

        Raises:
            LetheError: ``serving.memory_damaged``: never taken for "nothing", which would forget the watermark.
        """
        try:
            data = json.loads(self._path.read_text())
            if data["base"] != self._base:
                raise ValueError("another base")
            return HighWater(
                base_digest=self._base,
                generation=int(data["generation"]),
                release_digest=str(data["release"]),
                watermark=frozenset(map(str, data["watermark"])),
            )
        except FileNotFoundError:
            return HighWater(base_digest=self._base)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LetheError("serving.memory_damaged", "The replica's memory of its generation is damaged.") from error

    def write(self, high: HighWater) -> None:
        """Keep it, whole or not at all, before the state is served."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        body = {
            "base": self._base,
            "generation": high.generation,
            "release": high.release_digest,
            "watermark": sorted(high.watermark),
        }
        write_whole(self._path, json.dumps(body).encode(), mode=0o600)
