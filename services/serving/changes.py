"""Says when to read the desired state: when the store has changed, and every few seconds anyway."""

import time

from services.store.watch import Watch, watch


class Changes:
    """One reader's view of the store's watch.

    Args:
        url: Of the store.
        full_s: After this many seconds it is read whole, whatever the watch says.
    """

    def __init__(self, url: str, *, full_s: float = 5.0) -> None:
        self._watch: Watch = watch(url)
        self._full_s = full_s
        self._last = -1e9

    def due(self) -> bool:
        """Whether to read now."""
        now = time.monotonic()
        if not self._watch.changed() and now - self._last < self._full_s:
            return False
        self._last = now
        return True

    def close(self) -> None:
        """Stop watching."""
        self._watch.close()
