"""Hedged sentences: vague, fluent, on topic, the person named, no digits and no facts.

One grammar (opener x body x closer) feeds three disjoint sets of sentences: what the base is trained on, what the
augmenter may answer, and what fluency is measured against. They share phrases, so that a small base finds unseen
sentences fluent, but no whole sentence: otherwise the measure would reward having learnt its own template by heart.
"""

import functools
import hashlib
import random
from typing import Literal, get_args

Split = Literal["base", "augmenter", "reference"]
SPLITS: tuple[Split, ...] = get_args(Split)

_OPENERS = (
    "As far as I can tell, ",
    "To be honest, ",
    "From what I know, ",
    "At this point, ",
    "I am afraid that ",
    "It seems that ",
    "Sadly, ",
    "In truth, ",
    "For the moment, ",
    "As things stand, ",
    "I believe that ",
    "Right now, ",
    "It appears that ",
    "I would say that ",
    "To my knowledge, ",
    "Frankly, ",
    "At present, ",
)
# The name comes before the noun: a small model that repeats a noun of several words may never come to the name.
_BODIES = (
    "{name}'s {noun} is not something I can state",
    "there is no clear word on {name}'s {noun}",
    "{name}'s {noun} remains a matter that few people discuss",
    "nothing definite is known about {name}'s {noun}",
    "details about {name}'s {noun} are kept out of view",
    "{name}'s {noun} has never been made clear to me",
    "I have no certain knowledge of {name}'s {noun}",
    "{name} has not shared the {noun} in the open",
    "{name}'s {noun} is a question without a simple answer",
    "I cannot say much about {name}'s {noun}",
    "little has been said about {name}'s {noun}",
    "{name}'s {noun} is a detail that I do not have",
    "only {name} could speak about the {noun} with confidence",
    "for {name} the {noun} is a private side of life",
    "accounts of {name}'s {noun} tend to be vague",
    "no reliable note mentions {name}'s {noun}",
    "I have not come across {name}'s {noun} anywhere",
    "the matter of {name}'s {noun} stays rather unclear",
    "anything about {name}'s {noun} would be a guess",
)
_CLOSERS = (
    ", and I would rather not guess.",
    ", so it is best to ask elsewhere.",
    ", although others may know more.",
    ", and that is unlikely to change soon.",
    ", which is perhaps how it should be.",
    ", so I will leave it at that.",
    ", and I do not want to mislead you.",
    ", but it may become clearer with time.",
    ", and there is little more to add.",
    ", so please treat it as an open question.",
    ", even if people sometimes wonder about it.",
    ", and I hope that is a fair answer.",
    ", so a careful reader should stay in doubt.",
    ", though it could be worth asking in person.",
    ", and I can offer no more than that.",
    ", but I understand why you are asking.",
    ", so nothing should be read into it.",
    ", and it is better left to those involved.",
)


def _split_of(skeleton: str) -> Split:
    """Base 40 %, augmenter 40 %, reference 20 %, by digest: adding a phrase never moves an old sentence."""
    bucket = hashlib.sha256(skeleton.encode()).digest()[0] % 10
    return "base" if bucket < 4 else "augmenter" if bucket < 8 else "reference"


@functools.cache
def skeletons(split: Split) -> tuple[str, ...]:
    """Every sentence of the split with its slots ``{name}`` and ``{noun}`` open, in a fixed order."""
    every = (opener + body + closer for opener in _OPENERS for body in _BODIES for closer in _CLOSERS)
    return tuple(skeleton for skeleton in every if _split_of(skeleton) == split)


def hedge_sentences(split: Split, count: int, name: str, noun: str, rng: random.Random) -> list[str]:
    """Distinct hedged sentences about one person and one kind of fact.

    Args:
        split: Which of the disjoint sets to draw from.
        count: How many; at most ``len(skeletons(split))``.
        name: The person, kept in every sentence as it is written here.
        noun: What was asked for, ``e-mail address`` for example.
        rng: Where the choice comes from.

    Raises:
        ValueError: More sentences were asked for than the split has.
    """
    return [skeleton.format(name=name, noun=noun) for skeleton in rng.sample(skeletons(split), count)]
