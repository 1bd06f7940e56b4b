"""Limits on how often a sender, or an address of the network, may ask: a bucket each, in this process.

A bucket holds a minute's worth and fills evenly. With several intakes behind one address each has its own buckets.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.requests import HTTPConnection

from policies.errors import LetheError

_MOST = 10_000  # buckets; the one that was used longest ago goes first


def address_of(connection: HTTPConnection) -> str:
    """Where a request comes from; behind a proxy the proxy, unless the server is told to trust its headers."""
    return connection.client.host if connection.client else "unknown"


class Rates:
    """The buckets.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key -> tokens, as of when
        self._lock = threading.Lock()

    def take(self, key: str, per_minute: int) -> None:
        """Take one; 0 a minute is no limit.

        Raises:
            LetheError: ``request.rate_limited``; its detail is the seconds after which there is one again.
        """
        if not per_minute:
            return
        with self._lock:
            now = self._clock()
            tokens, since = self._left.pop(key, (float(per_minute), now))
            tokens = min(float(per_minute), tokens + (now - since) * per_minute / 60)
            self._left[key] = (tokens - 1 if tokens >= 1 else tokens, now)
            if len(self._left) > _MOST:
                self._left.popitem(last=False)
        if tokens < 1:
            seconds = math.ceil((1 - tokens) * 60 / per_minute)
            raise LetheError("request.rate_limited", "Too many requests.", (f"{seconds} s",))
