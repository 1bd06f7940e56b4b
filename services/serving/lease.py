"""A replica's lease: until when it may answer, and what happens when that moment comes."""

import asyncio
import time
from collections.abc import Callable

_SHARE = 0.95  # of the lease that a replica uses: it must have stopped before anybody takes it for stopped


class Lease:
    """Belongs to one event loop.

    Args:
        on_end: Called when it runs out, not a poll later: answers that still run must end then.
    """

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end = on_end
        self._end = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def running(self) -> bool:
        """Whether the replica may answer."""
        return time.monotonic() < self._end

    def extend(self, began: float, lease_s: float) -> None:
        """The store has renewed it; it counts from before the store was asked (``time.monotonic``)."""
        self._end = began + lease_s * _SHARE
        if self._timer is not None:
            self._timer.cancel()
        delay = max(0.0, self._end - time.monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay, self._on_end)

    def end(self) -> None:
        """Give it up now."""
        self._end = 0.0
        if self._timer is not None:
            self._timer.cancel()
        self._on_end()
