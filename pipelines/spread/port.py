"""The port: parts go in, results come out in the order of the parts, wherever they were made."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

_P = TypeVar("_P")
_R = TypeVar("_R")


class Spread(Protocol):
    """Does one thing with every part.

    Attributes:
        elsewhere: Whether parts leave this process: then they should be small, and name places rather than contents.
    """

    @property
    def elsewhere(self) -> bool:
        """See above."""

    def over(self, parts: Iterable[_P], work: Callable[[_P], _R]) -> Iterator[_R]:
        """The results, in the order of the parts.

        Args:
            parts: What can be pickled.
            work: A function of a module, or a partial one: it may run in another process.

        Raises:
            LetheError: What the work raises; any other exception of another process is ``internal``, with its type and
                place and without its message, which may quote data.
        """


class Embedded:
    """This process, one part after another, each when its result is asked for."""

    elsewhere = False

    def over(self, parts: Iterable[_P], work: Callable[[_P], _R]) -> Iterator[_R]:
        """As the port has it."""
        return map(work, parts)


EMBEDDED = Embedded()
