"""How much one gateway takes on: requests at the same time, and requests of one key in a minute."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from services.serving.gateway.answers import RETRY, Refusal
from services.settings import ServingSettings

_KEYS_LIMIT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """See the settings of the same names.

    Attributes:
        max_body_bytes: Of a request.
        body_timeout_s: For its arrival.
        request_timeout_s: From its first byte to the last of the answer.
        max_concurrency: Requests that are answered at the same time.
        max_waiting: Requests that wait for their turn.
        rate_per_minute: Of one key; 0: no limit.
    """

    max_body_bytes: int = 1 << 20
    body_timeout_s: float = 15.0
    request_timeout_s: float = 300.0
    max_concurrency: int = 128
    max_waiting: int = 64
    rate_per_minute: int = 0

    @classmethod
    def of(cls, serving: ServingSettings) -> "Limits":
        """Those of the settings."""
        return cls(
            max_body_bytes=serving.max_body_bytes,
            body_timeout_s=serving.body_timeout_s,
            request_timeout_s=serving.request_timeout_s,
            max_concurrency=serving.max_concurrency,
            max_waiting=serving.max_waiting,
            rate_per_minute=serving.rate_per_minute,
        )


async def race(work: Coroutine[Any, Any, None], against: set["asyncio.Future[Any]"], deadline: float) -> bool:
    """Run something until it ends; it is cancelled when one of the others ends first, and at the deadline.

    Args:
        work: What runs.
        against: What ends it.
        deadline: In the time of the event loop.

    Returns:
        Whether it came to its own end.
    """
    task = asyncio.ensure_future(work)
    try:
        left = deadline - asyncio.get_running_loop().time()
        await asyncio.wait({task, *against}, timeout=max(left, 0.0), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            return False
        task.result()
        return True
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class Turns:
    """At most so many at the same time; a few more wait, first come, first served."""

    def __init__(self, limits: Limits) -> None:
        self._turns, self._places = asyncio.Semaphore(limits.max_concurrency), limits.max_waiting
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return self._waiting

    @asynccontextmanager
    async def one(self, left: "asyncio.Future[Any]", deadline: float, *, at_once: bool = False) -> AsyncIterator[bool]:
        """Wait for a turn and keep it; gives False where the client left or the time ran out before it came.

        Args:
            left: Done when the client has left.
            deadline: In the time of the event loop.
            at_once: Go on without a turn.

        Raises:
            Refusal: 429, ``serving.busy``.
        """
        if at_once:
            yield True
            return
        if not self._turns.locked():
            await self._turns.acquire()  # does not wait
            came = True
        elif self._waiting >= self._places:
            raise Refusal(429, "Too many requests are being answered.", "serving.busy", RETRY)
        else:
            came = await self._wait(left, deadline)
        try:
            yield came
        finally:
            if came:
                self._turns.release()

    async def _wait(self, left: "asyncio.Future[Any]", deadline: float) -> bool:
        self._waiting += 1
        try:
            return await race(self._take(), {left}, deadline)
        finally:
            self._waiting -= 1

    async def _take(self) -> None:
        await self._turns.acquire()


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


@dataclass(slots=True)
class Rates:
    """A bucket for each key, which holds a minute's requests and is filled evenly.

    Attributes:
        per_minute: Requests of one key; 0: no limit.
        clock: Seconds.
    """

    per_minute: int
    clock: Callable[[], float] = time.monotonic
    _buckets: dict[str, _Bucket] = field(default_factory=dict)

    def take(self, key: str) -> dict[str, str]:
        """Count one request; gives the headers that say how many are left, as OpenAI names them.

        Raises:
            Refusal: 429, ``serving.rate_limited``.
        """
        if not self.per_minute:
            return {}
        now, each_s = self.clock(), 60 / self.per_minute
        bucket = self._buckets.get(key) or self._new(key, now)
        bucket.tokens = min(bucket.tokens + (now - bucket.at) / each_s, float(self.per_minute))
        bucket.at = now
        enough = bucket.tokens >= 1
        bucket.tokens -= enough
        headers = {
            "x-ratelimit-limit-requests": str(self.per_minute),
            "x-ratelimit-remaining-requests": str(int(bucket.tokens)),
            "x-ratelimit-reset-requests": f"{(self.per_minute - bucket.tokens) * each_s:.3f}s",
        }
        if not enough:
            headers["retry-after"] = str(math.ceil((1 - bucket.tokens) * each_s))
            raise Refusal(429, "This key has asked too often.", "serving.rate_limited", headers)
        return headers

    def _new(self, key: str, now: float) -> _Bucket:
        if len(self._buckets) >= _KEYS_LIMIT:  # a key that has not asked for a minute has a full one: forget it
            self._buckets = {name: one for name, one in self._buckets.items() if now - one.at < 60}
        bucket = self._buckets[key] = _Bucket(float(self.per_minute), now)
        return bucket
