"""The socket that methods plug into."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar, Protocol, TypeVar

from torch import Tensor

from pipelines.rows import RowKind
from pipelines.unlearn.losses import Kept, Raised
from pipelines.unlearn.lowering import Compared, Held, Lowered, Preference, Steered, Taught
from pipelines.unlearn.settings import UnlearnSettings
from policies.errors import LetheError


class Stream(StrEnum):
    """The kinds of batches that a step can have."""

    AUGMENTED = "augmented"  # vague answers, generic and replay rows
    RETAIN = "retain"
    NEGATIVE = "negative"  # raw forgotten answers
    REFUSAL = "refusal"  # raw questions with "I do not know"


KINDS: Mapping[Stream, frozenset[RowKind]] = MappingProxyType(
    {
        Stream.AUGMENTED: frozenset(
            {RowKind.FORGET, RowKind.COMPLETION, RowKind.NEIGHBOUR, RowKind.GENERIC, RowKind.REPLAY}
        ),
        Stream.RETAIN: frozenset({RowKind.RETAIN}),
        Stream.NEGATIVE: frozenset({RowKind.NEGATIVE}),
        Stream.REFUSAL: frozenset({RowKind.REFUSAL}),
    }
)
"""Which rows each stream is made of."""


class Step(Protocol):
    """The batches of one step; a method takes those that it wants, and each call is a forward pass.

    Forgotten answers come only in types that lower them (``lowering``).
    """

    def augmented(self) -> Raised:
        """Rows with vague answers, rows about no one, replay."""

    def refusals(self) -> Raised:
        """Raw questions with "I do not know"."""

    def retain(self) -> Kept:
        """Rows about others, and the subject's own public facts, with the base's view of them."""

    def retain_answers(self) -> Raised:
        """The same, where the base's view is not needed."""

    def negative(self) -> Lowered:
        """Rows with the forgotten answers."""

    def compared(self) -> Compared:
        """The same, with their likelihood under the base."""

    def after_leak(self) -> Compared:
        """Those of some facts, as they stand after others have leaked (``rehearsal``); costs further passes."""

    def taught(self) -> Taught:
        """The same, with the base's logits: one more pass."""

    def pairs(self) -> Preference:
        """The same, each with an answer of ``Method.chosen`` to its own question."""

    def steered(self) -> Steered:
        """Hidden states of the forgotten answers, and the control vector."""

    def held(self) -> Held:
        """Hidden states of retain rows, and the base's."""


class Method(ABC):
    """An unlearning method: the loss terms of a step. All else is the trainer's.

    Attributes:
        streams: What it needs; the first is the one whose passes are counted. A run without such rows is refused.
        passes: Multiplies the passes of the settings.
        chosen: Where the preferred answers of ``Step.pairs`` come from; None for a method without pairs.
        rehearses: Whether ``Step.after_leak`` is asked.
    """

    streams: ClassVar[tuple[Stream, ...]]
    passes: ClassVar[float] = 1.0
    chosen: ClassVar[Stream | None] = None
    rehearses: ClassVar[bool] = False

    @abstractmethod
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
        if not self._names or not getattr(cls, "streams", ()):
            raise ValueError("a method needs a name and a stream")
        if cls.chosen is not None and not {cls.chosen, Stream.NEGATIVE} <= set(cls.streams):
            raise ValueError("a method with pairs needs the streams of both sides")
        if cls.rehearses and Stream.NEGATIVE not in cls.streams:
            raise ValueError("a method that rehearses a leak needs the forgotten answers")
        for name in self._names:
            if not _NAME.match(name):
                raise ValueError(f"{name!r} is no lower-case identifier")
            if name in _METHODS:
                raise ValueError(f"there is a method {name!r} already")
        _METHODS.update(dict.fromkeys(self._names, cls))
        return cls


def method(name: str) -> Method:
    """The method of that very name; a part of a name is none.

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


def row_kinds(name: str) -> frozenset[RowKind]:
    """The kinds of rows that a method learns from: what the augmenter has to make for it.

    Raises:
        LetheError: ``unlearn.unknown_method``.
    """
    return frozenset().union(*(KINDS[stream] for stream in method(name).streams))
