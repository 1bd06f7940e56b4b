"""The socket that methods plug into."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar, Protocol, TypeVar

from torch import Tensor

from pipelines.unlearn.losses import Kept, Lowered, Raised
from pipelines.unlearn.settings import UnlearnSettings
from policies.errors import LetheError


class Stream(StrEnum):
    """The three kinds of batches that a step can have."""

    AUGMENTED = "augmented"  # vague answers, generic and replay rows
    RETAIN = "retain"
    NEGATIVE = "negative"


class Step(Protocol):
    """The batches of one step; a method takes those that it wants, and each is one forward pass."""

    def augmented(self) -> Raised:
        """Rows with vague answers, rows about no one, replay."""

    def retain(self) -> Kept:
        """Rows about others, and the subject's own public facts."""

    def negative(self) -> Lowered:
        """Rows with the forgotten answers."""


class Method(Protocol):
    """An unlearning method: the loss terms of a step. All else is the trainer's.

    Attributes:
        streams: What it needs; the first is the one whose passes are counted. A run without such rows is refused.
        passes: Multiplies the passes of the settings.
    """

    streams: ClassVar[tuple[Stream, ...]]
    passes: ClassVar[float]

    def terms(self, step: Step, settings: UnlearnSettings) -> Mapping[str, Tensor]:
        """Weighted loss terms by name; their sum is minimised."""


_M = TypeVar("_M", bound=type[Method])
_METHODS: dict[str, type[Method]] = {}
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


class register:
    """Class decorator: make a method known under its name and aliases.

    Raises:
        ValueError: A name is no lower-case identifier or is taken, or the method names no stream.
    """

    def __init__(self, *names: str) -> None:
        self._names = names

    def __call__(self, cls: _M) -> _M:
        if not self._names or not cls.streams:
            raise ValueError("a method needs a name and a stream")
        for name in self._names:
            if not _NAME.match(name):
                raise ValueError(f"{name!r} is no lower-case identifier")
            if name in _METHODS:
                raise ValueError(f"there is a method {name!r} already")
        _METHODS.update(dict.fromkeys(self._names, cls))
        return cls


def method(name: str) -> Method:
    """The method of that name.

    Raises:
        LetheError: ``unlearn.unknown_method``.
    """
    import pipelines.unlearn.methods  # noqa: F401 - the methods register themselves

    if name not in _METHODS:
        raise LetheError(
            "unlearn.unknown_method", f"There is no method of that name; there are {', '.join(methods())}."
        )
    return _METHODS[name]()


def methods() -> tuple[str, ...]:
    """Every name that ``method`` knows."""
    import pipelines.unlearn.methods  # noqa: F401

    return tuple(sorted(_METHODS))
