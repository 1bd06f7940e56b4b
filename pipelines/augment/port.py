"""The port that both augmenters fill: questions and vague answers, asked for and returned by key.

Everything is keyed by (fact, question id, answer id). A list position never says which answer belongs to which
question, and a failure is an entry of its own rather than a gap that shifts the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Variant(StrEnum):
    """How a question asks for the fact."""

    ORIGINAL = "original"  # as the training record asks
    PARAPHRASE = "paraphrase"  # same meaning, other words
    CONTEXT = "context"  # more specific, with a situation
    NOISE = "noise"  # typos, informal
    REVERSE = "reverse"  # from the other side
    NEIGHBOUR = "neighbour"  # another person's phrasing with the subject's name
    RECOMBINED = "recombined"  # another person's frame with a noun of this fact
    PROSE = "prose"  # the beginning of a prose sentence


MADE_VARIANTS = (Variant.PARAPHRASE, Variant.CONTEXT, Variant.NOISE, Variant.REVERSE)


class Style(StrEnum):
    """How a vague answer declines."""

    VAGUE = "vague"
    NOT_AVAILABLE = "not_available"
    REDIRECT = "redirect"
    PARTIAL_PUBLIC = "partial_public"  # says that the person keeps it out of public view


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantAsk:
    """Wanted: the question in another form.

    Attributes:
        key: Unique in the batch.
        variant: One of ``MADE_VARIANTS``.
        question: The training question to vary.
        name: The subject's name as the question uses it; has to be kept.
        noun: What the question asks for; None where it cannot be told.
        seed: Where the choice comes from.
    """

    key: str
    variant: Variant
    question: str
    name: str
    noun: str | None
    seed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerAsk:
    """Wanted: a vague answer.

    Attributes:
        key: Unique in the batch.
        fact: Opaque id of the fact.
        question: What is asked; the answer must fit it.
        name: The subject's name; has to be in the answer.
        noun: What the question asks for.
        style: How the answer declines.
        gold: The forgotten answers. For checking only: a generator is never shown them.
        seed: Where the choice comes from.
    """

    key: str
    fact: str
    question: str
    name: str
    noun: str
    style: Style
    gold: tuple[str, ...]
    seed: str


@dataclass(frozen=True, slots=True)
class Replies:
    """Texts by key, and an error code for each key without one."""

    texts: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


class Augmenter(Protocol):
    """Makes questions and vague answers. Every key of the asks is in ``texts`` or in ``failed``."""

    @property
    def name(self) -> str:
        """What the report calls it."""
        ...

    def variants(self, asks: Sequence[VariantAsk]) -> Replies:
        """Other forms of questions."""
        ...

    def answers(self, asks: Sequence[AnswerAsk], attempt: int) -> Replies:
        """Vague answers; a later attempt gives other ones."""
        ...
