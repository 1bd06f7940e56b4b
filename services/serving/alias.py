"""Which release the public name means, who is still using the one before, and who tries the one to come."""

import asyncio
import hashlib
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

    def anew(self) -> "Served":
        """The same generation, without those who use it now."""
        return Served(self.generation, self.name, self.digest)


@dataclass(frozen=True, slots=True)
class Trial:
    """A prepared release that gets a share of the traffic before anybody commits to it.

    Attributes:
        served: The release, under the generation that is proposed.
        canary_share: Of API keys that are answered by it, 0 to 1.
        shadow_share: Of requests that it answers besides, unseen, 0 to 1.
    """

    served: Served
    canary_share: float = 0.0
    shadow_share: float = 0.0

    def takes(self, key: str) -> bool:
        """Whether the requests of an API key belong to the canary share: always the same ones."""
        place = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())
        return place < self.canary_share * 2**64


class Alias:
    """The pointer from the public name to a generation. It flips in one step; a request keeps what it began with."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: Served | None = None
        self._trial: Trial | None = None

    @property
    def current(self) -> Served | None:
        """What a request that begins now would get."""
        return self._current

    @property
    def trial(self) -> Trial | None:
        """What is tried beside it."""
        return self._trial

    @contextmanager
    def enter(self, key: str = "") -> Iterator[Served | None]:
        """Begin a request: captures the generation and counts its user, in one step.

        Args:
            key: Id of the caller's API key; it decides whether a trial answers. Empty: it never does.
        """
        with self._lock:
            served, trial = self._current, self._trial
            if served is not None and trial is not None and key and trial.takes(key):
                served = trial.served
            if served is not None:
                served.users += 1
                served.idle.clear()
        try:
            yield served
        finally:
            if served is not None:
                with self._lock:
                    _left(served)

    @contextmanager
    def hold(self, served: Served) -> Iterator[None]:
        """Count a user of one generation that is not the caller's own choice (a shadow request)."""
        with self._lock:
            served.users += 1
            served.idle.clear()
        try:
            yield
        finally:
            with self._lock:
                _left(served)

    def flip(self, new: Served | None) -> Served | None:
        """Point to another generation, and end a trial; gives the one before.

        Raises:
            ValueError: The generation would fall.
        """
        with self._lock:
            old = self._current
            if old is not None and new is not None and new.generation < old.generation:
                raise ValueError("the generation never falls")
            if new is not None and new.cut.is_set():  # its trial was cut off when a lease ended; what comes is not
                new = new.anew()
            self._current, self._trial = new, None
            if old is not None and not old.users:
                old.idle.set()
            return old

    def try_out(self, trial: Trial) -> None:
        """Give a prepared release its share from now on."""
        with self._lock:
            self._trial = trial

    def end_trial(self) -> Served | None:
        """Take its share away; gives what was tried, whose users are still to be drained."""
        with self._lock:
            trial, self._trial = self._trial, None
            if trial is None:
                return None
            if not trial.served.users:
                trial.served.idle.set()
            return trial.served

    def cut_off(self) -> None:
        """End every request that runs, on whatever generation; those that begin later are not touched."""
        with self._lock:
            if self._trial is not None:
                self._trial.served.cut.set()
                self._trial = None
            if self._current is not None:
                self._current.cut.set()
                self._current = self._current.anew()

    async def drain(self, old: Served, timeout_s: float) -> bool:
        """Wait for the users of an older generation, then cut them off; gives whether none had to be cut."""
        try:
            await asyncio.wait_for(old.idle.wait(), timeout_s)
            return True
        except TimeoutError:
            old.cut.set()
            await old.idle.wait()
            return False


def _left(served: Served) -> None:
    served.users -= 1
    if not served.users:
        served.idle.set()
