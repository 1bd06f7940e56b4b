"""What is said instead: an ordinary hedged answer, in the grammar that the model is trained to answer in.

After the swap the model itself answers such questions in these words, so nobody can tell from the words whether the
person is suppressed, forgotten, or was never known. Nothing here loads torch.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from pipelines.augment.questions import NEUTRAL_NOUN, topic
from pipelines.corpus.hedges import skeletons
from services.serving.engine.text import TextStream
from services.serving.suppression.matcher import Matcher, Span

_WINDOW = 160  # characters around the person that are looked at for what is asked
_LONGEST_NAME = 60
_PLAIN_NOUN = re.compile(r"[^\W\d_][^\W\d_'’ -]*(?:[ '’-][^\W\d_]+){0,4}")
_OWNED = "{name}'s {noun}"
# How an answer goes on that has already begun, where the rest was a secret.
_ENDINGS = (
    " something that I cannot state with confidence.",
    " a detail that I do not have.",
    " not something I can speak about.",
    " a matter that I would rather leave open.",
)


class Encoding(Protocol):
    """Text to tokens and back."""

    def encode(self, text: str) -> Sequence[int]: ...

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """An answer that is to be given: a text for every token the engine would have made, the last with the reason.

    Attributes:
        pieces: Text of every step; one may be empty.
        reason: ``stop`` or ``length``.
        told: Where in the text somebody is named on purpose.
    """

    pieces: tuple[str, ...]
    reason: str
    told: frozenset[int] = frozenset()

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces)

    @property
    def tokens(self) -> int:
        """As an engine counts them: the one that ends the answer is among them."""
        return len(self.pieces)

    def cut(self, tokens: int) -> "Plan":
        """As it is where there is room for so many tokens only."""
        return self if tokens >= self.tokens else replace(self, pieces=self.pieces[:tokens], reason="length")


class Tokens:
    """The base's own tokenizer."""

    def __init__(self, base: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))

    def encode(self, text: str) -> Sequence[int]:
        """Token ids without special ones."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        """The text of token ids."""
        text: str = self._tokenizer.decode(list(token_ids), skip_special_tokens=skip_special_tokens)
        return text


class Words:
    """Words instead of tokens, for a base without a ``tokenizer.json``; counts are then only near the truth."""

    def __init__(self) -> None:
        self._words: list[str] = []

    def encode(self, text: str) -> Sequence[int]:
        """One number a word; decoded only until the next text is encoded."""
        self._words = re.findall(r"\s*\S+", text)
        return range(len(self._words))

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        """The text of words."""
        return "".join(self._words[number] for number in token_ids)


def plan(text: str, encoding: Encoding, *, max_tokens: int | None, stops: Sequence[str]) -> Plan:
    """The answer as the engine would have made it, token by token: the same limits, the same reason to end."""
    tokens = encoding.encode(text)
    if encoding.decode(tokens, skip_special_tokens=True).strip() != text.strip():
        encoding = Words()  # a vocabulary without these words
        tokens = encoding.encode(text)
    stream = TextStream(encoding, stops)
    pieces: list[str] = []
    for token in tokens:
        full = max_tokens is not None and len(pieces) + 1 >= max_tokens
        pieces.append(stream.push(token, last=full))
        if stream.stopped or full:
            return Plan(tuple(pieces), "stop" if stream.stopped else "length")
    return Plan((*pieces, stream.finish()), "stop")


def hedged(text: str, span: Span | None, matcher: Matcher, number: int) -> str:
    """A hedged sentence.

    It names the person as the text does, as hedged answers do; not where the text has another identifier instead.

    Args:
        text: What was asked.
        span: Where it names the person.
        matcher: Nothing that it finds is repeated, but for the name.
        number: Picks the sentence.
    """
    name, noun = _name_and_noun(text, span, matcher)
    every = skeletons("augmenter") if name else _nameless()
    skeleton = every[number % len(every)]
    if not name:
        return skeleton.replace(_OWNED, f"that {noun}")
    return skeleton.replace("{noun}", noun).replace("{name}", name)


def ending(number: int) -> str:
    """How a text ends that was cut before a secret."""
    return _ENDINGS[number % len(_ENDINGS)]


@functools.cache
def _nameless() -> tuple[str, ...]:
    """Sentences that can do without a name."""
    return tuple(line for line in skeletons("augmenter") if _OWNED in line and line.count("{name}") == 1)


def _name_and_noun(text: str, span: Span | None, matcher: Matcher) -> tuple[str | None, str]:
    if span is None:
        return None, NEUTRAL_NOUN
    found = text[span.start : span.end]
    before = text[max(0, span.start - _WINDOW) : span.start].rpartition("\n")[2]
    after = text[span.end : span.end + _WINDOW].partition("\n")[0]
    noun = topic(before + found + after, found) or NEUTRAL_NOUN
    if not _PLAIN_NOUN.fullmatch(noun) or matcher.search(noun):
        noun = NEUTRAL_NOUN
    name = " ".join(found.split())
    spoken = span.name and len(name) <= _LONGEST_NAME and name.isprintable()
    return name if spoken else None, noun
