"""Waiting out a store that is away for a moment: a database that restarts must not cost hours of training."""

from collections.abc import Callable
from typing import TypeVar

import tenacity

from policies.errors import LetheError

PASSING = frozenset({"store.unreachable", "store.busy", "storage.full"})
"""Codes that say nothing about what was asked: the same call can succeed a moment later."""

T = TypeVar("T")


def passes(error: BaseException) -> bool:
    """Whether an error ends by itself, or once somebody has freed the disk or started the server."""
    return isinstance(error, LetheError) and error.code in PASSING


def patiently(call: Callable[[], T], *, for_s: float, pause_s: float = 0.2, longest_pause_s: float = 5.0) -> T:
    """Call until it succeeds, fails for a reason of its own, or the store has been away for too long.

    A transaction whose commit was not confirmed is begun again, so the call must see for itself whether it is done.

    Args:
        call: One whole transaction.
        for_s: How long an outage is waited out.
        pause_s: Before the second try; doubles from try to try.
        longest_pause_s: What the pauses grow to.

    Raises:
        LetheError: What the last call raised.
    """
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception(passes),
        wait=tenacity.wait_random_exponential(multiplier=pause_s, max=longest_pause_s),
        stop=tenacity.stop_after_delay(for_s),
        reraise=True,
    )
    return attempts(call)
