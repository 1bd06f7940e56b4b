"""Places where a process of these tests waits, so that it can be killed exactly there.

While ``HOME/stalls/POINT`` exists, whoever comes to the point waits; ``POINT.reached`` beside it says that it does.
"""

import os
import time
from pathlib import Path

_POLL_S = 0.02


def stall(home: Path, point: str) -> None:
    file = home / "stalls" / point
    if file.exists():
        file.with_suffix(".reached").write_text(str(os.getpid()))
        (file.parent / "who").write_text(str(os.getpid()))
    while file.exists():
        time.sleep(_POLL_S)


class Stalls:
    """The test's hand on them."""

    def __init__(self, home: Path) -> None:
        self._directory = home / "stalls"
        self._directory.mkdir(exist_ok=True)

    def set(self, point: str) -> None:
        self.lift(point)
        (self._directory / point).touch()

    def reached(self, point: str) -> bool:
        return (self._directory / point).with_suffix(".reached").exists()

    def who(self) -> int:
        """The process that came last to a point."""
        return int((self._directory / "who").read_text())

    def lift(self, point: str) -> None:
        (self._directory / point).unlink(missing_ok=True)
        (self._directory / point).with_suffix(".reached").unlink(missing_ok=True)
