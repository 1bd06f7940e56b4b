"""Which release the public name means, and who is still using the one before."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class Served:
    """One generation as it is served.

    Attributes:
        generation: Of the desired state.
        name: Of the adapter in the engine.
        digest: Of the release.
        users: Requests that began with it and still run.
        cut: Set when those that are left must end.
    """

    generation: int
    name: str
    digest: str
    users: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    cut: asyncio.Event = field(default_factory=asyncio.Event)


class Alias:
    """The pointer from the public name to a generation. It flips in one step; a request keeps what it began with."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: Served | None = None

    @property
    def current(self) -> Served | None:
        """What a request that begins now would get."""
        return self._current

    @contextmanager
    def enter(self) -> Iterator[Served | None]:
        """Begin a request: captures the generation and counts its user, in one step."""
        with self._lock:
            served = self._current
            if served is not None:
                served.users += 1
                served.idle.clear()
        try:
            yield served
        finally:
            if served is not None:
                with self._lock:
                    served.users -= 1
                    if not served.users:
                        served.idle.set()

    def flip(self, new: Served | None) -> Served | None:
        """Point to another generation; gives the one before.

        Raises:
            ValueError: The generation would fall.
        """
        with self._lock:
            old = self._current
            if old is not None and new is not None and new.generation < old.generation:
                raise ValueError("the generation never falls")
            self._current = new
            if old is not None and not old.users:
                old.idle.set()
            return old

    async def drain(self, old: Served, timeout_s: float) -> bool:
        """Wait for the users of an older generation, then cut them off; gives whether none had to be cut."""
        try:
            await asyncio.wait_for(old.idle.wait(), timeout_s)
            return True
        except TimeoutError:
            old.cut.set()
            await old.idle.wait()
            return False
