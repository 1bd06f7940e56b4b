"""Typos: the question as a hasty writer types it, with the name still to be recognised."""

import itertools
import random
import re
from collections.abc import Iterator
from typing import ClassVar

from pipelines.augment.questions import name_in
from pipelines.rows import Probe
from pipelines.verify.attacks.port import AttackContext, AttackResult, Tier
from pipelines.verify.attacks.prompted import Turn, attacked, rng_of
from pipelines.verify.attacks.registry import attack

SHARE = 0.35  # of the words outside the name that have a slip; at least one has
_SHORTEST = 4  # letters of a word that may have one
_WORD = re.compile(r"[^\W\d_]+")
_CAPITALISED = re.compile(r"[^\W\d_a-z][\w'’-]+(?:\s+[^\W\d_a-z][\w'’-]+)+")  # the name, where none is known
_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


@attack
class Typos:
    """``words``: slips outside the name only. ``name``: one slip in each longer part of the name as well."""

    name: ClassVar[str] = "typos"
    tier: ClassVar[Tier] = 0
    source: ClassVar[str] = "character noise, docs/attacks.md"

    def run(self, context: AttackContext) -> Iterator[AttackResult]:
        """KFR over all forget probes, for both variants."""
        for variant in ("words", "name"):
            turns = [self._turn(probe, context, variant == "name") for probe in context.forget]
            yield attacked(self, context, turns, variant=variant, budget={"share_of_words": SHARE})

    def _turn(self, probe: Probe, context: AttackContext, in_name: bool) -> Turn:
        rng = rng_of(self.name, context, probe.probe_id)
        capitalised = _CAPITALISED.search(probe.question)
        name = name_in(probe.question, probe.names) or (capitalised.group() if capitalised else None)
        return Turn(probe, noisy(probe.question, name, rng, in_name=in_name))


def noisy(question: str, name: str | None, rng: random.Random, *, in_name: bool) -> str:
    """The question with slips in some words; in the name one at most in each part, never in its first letter.

    Args:
        question: The user's turn.
        name: The name as it stands there; None where there is none.
        rng: Where the slips come from.
        in_name: Whether the name gets any.
    """
    before, found, after = question.partition(name) if name else (question, "", "")
    words = [word for part in (before, after) for word in _WORD.findall(part) if len(word) >= _SHORTEST]
    chosen = {n for n in range(len(words)) if rng.random() < SHARE} or ({rng.randrange(len(words))} if words else set())
    numbers = itertools.count()

    def slipped(match: re.Match[str]) -> str:
        word = match.group()
        return slip(word, rng) if len(word) >= _SHORTEST and next(numbers) in chosen else word

    def misspelt(match: re.Match[str]) -> str:
        return slip(match.group(), rng) if len(match.group()) > _SHORTEST else match.group()

    return _WORD.sub(slipped, before) + (_WORD.sub(misspelt, found) if in_name else found) + _WORD.sub(slipped, after)


def slip(word: str, rng: random.Random) -> str:
    """One slip behind the first letter: two letters change places, one is left out, doubled, or hit beside its key."""
    place = rng.randrange(1, len(word) - 1)
    letter = word[place]
    kind = rng.choice(("swap", "drop", "double", "beside"))
    if kind == "swap" and word[place + 1] != letter:
        return word[:place] + word[place + 1] + letter + word[place + 2 :]
    if kind == "drop":
        return word[:place] + word[place + 1 :]
    near = _beside(letter)
    if kind == "beside" and near:
        return word[:place] + rng.choice(near) + word[place + 1 :]
    return word[:place] + letter + word[place:]


def _beside(letter: str) -> str:
    for row in _KEYS:
        place = row.find(letter)
        if place >= 0:
            return row[max(0, place - 1) : place] + row[place + 1 : place + 2]
    return ""
