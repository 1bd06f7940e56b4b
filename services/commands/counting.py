"""A line on stderr that counts while something long runs."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_EVERY_S = 0.5


@contextmanager
def counter(noun: str, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Gives a function to call with the count so far; shows count and rate, on a terminal in place.

    Args:
        noun: What is counted.
        quiet: Show nothing.
    """
    start = shown = time.perf_counter()
    live = sys.stderr.isatty()

    def progress(count: int) -> None:
        nonlocal shown
        now = time.perf_counter()
        if not quiet and now - shown >= _EVERY_S:
            shown = now
            line = f"{count:,} {noun}, {count / (now - start):,.0f}/s"
            print(f"\r{line}\033[K" if live else line, end="" if live else "\n", file=sys.stderr, flush=True)

    yield progress
    if live and not quiet and shown != start:
        print("\r\033[K", end="", file=sys.stderr, flush=True)
