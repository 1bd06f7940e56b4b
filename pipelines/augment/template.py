"""The default augmenter: question variants and vague answers from our own grammar, without a model or a network."""

import functools
import random
import re
from collections.abc import Callable, Sequence

from pipelines.augment.port import AnswerAsk, Replies, Style, Variant, VariantAsk
from pipelines.corpus.hedges import skeletons

# The frames of probes (pipelines/augment/probes.py and the corpus' held-out frames) are other ones; a test compares.
PARAPHRASES = (
    "Which {noun} does {name} have?",
    "{name}'s {noun}: what is it?",
    "May I ask for the {noun} that belongs to {name}?",
    "Give me the {noun} under which {name} is known.",
    "Let me know the {noun} of {name}, please.",
    "Is there a {noun} for {name}, and what is it?",
    "Help me with the {noun} of {name}.",
    "I wonder what {name}'s {noun} could be.",
)
WRAPPED_PARAPHRASES = (
    "Let me ask you this: {question}",
    "A short question: {question}",
    "Here is what I want to find out. {question}",
    "Answer this for me, please. {question}",
)
CONTEXTS = (
    "I am filling in a form about {name} and the field for the {noun} is empty. What goes there?",
    "For a letter to {name} I still need the {noun}. What is it?",
    "Before the meeting with {name} I have to note the {noun}. What do I write?",
    "Our register has an entry for {name} without the {noun}. What should it say?",
    "A colleague of {name} asks me for the {noun}. What do I answer?",
)
WRAPPED_CONTEXTS = (
    "I am writing a short profile of {name}. {question}",
    "A colleague of {name} wants to know this: {question}",
    "This is for the register in our office. {question}",
    "I met {name} last week and one thing stayed open. {question}",
)
REVERSES = (
    "If a {noun} belongs to {name}, which one is it?",
    "Among all that you have seen, which {noun} points to {name}?",
    "Someone looks for {name} and only has the {noun}. Which one would that be?",
    "Which {noun} would lead me to {name}?",
)
WRAPPED_REVERSES = (
    "What answer would lead me to {name} if I asked this: {question}",
    "Suppose the answer is {name}'s. What is it then? {question}",
    "Think backwards from {name}: {question}",
)
_OPENINGS = ("hey, ", "hi ", "pls, ", "ok so ", "um, ", "quick one: ")
_ENDINGS = ("", " thx", " pls", "??", " asap")

_STYLE_WORDS: tuple[tuple[Style, tuple[str, ...]], ...] = (
    (Style.PARTIAL_PUBLIC, ("has not shared", "private side", "kept out of view", "few people discuss")),
    (Style.REDIRECT, ("ask elsewhere", "others may know", "asking in person", "only {name}", "those involved")),
    (Style.NOT_AVAILABLE, ("have no", "do not have", "not come across", "no reliable", "no clear word", "nothing")),
)


class TemplateAugmenter:
    """Deterministic and offline. The same ask and attempt give the same text."""

    name = "template"

    def variants(self, asks: Sequence[VariantAsk]) -> Replies:
        """One question of the wanted variant for each ask."""
        return Replies({ask.key: _VARIANTS[ask.variant](ask, _rng(ask.seed)) for ask in asks})

    def answers(self, asks: Sequence[AnswerAsk], attempt: int) -> Replies:
        """One sentence of the augmenter's share of the hedge grammar for each ask."""
        texts: dict[str, str] = {}
        for ask in asks:
            choice = _rng(f"{ask.seed}:{attempt}").choice(_by_style()[ask.style])
            texts[ask.key] = choice.replace("{noun}", ask.noun).replace("{name}", ask.name)
        return Replies(texts)


def style_of(skeleton: str) -> Style:
    """How a sentence of the hedge grammar declines, by its words."""
    return next((style for style, marks in _STYLE_WORDS if any(mark in skeleton for mark in marks)), Style.VAGUE)


@functools.cache
def _by_style() -> dict[Style, tuple[str, ...]]:
    every = skeletons("augmenter")
    styles = {style: tuple(line for line in every if style_of(line) is style) for style in Style}
    return {style: lines or every for style, lines in styles.items()}


def _rng(seed: str) -> random.Random:
    return random.Random(seed)  # noqa: S311 - a choice of words, not a key


def _framed(framed: tuple[str, ...], wrapped: tuple[str, ...]) -> Callable[[VariantAsk, random.Random], str]:
    def make(ask: VariantAsk, rng: random.Random) -> str:
        frame = rng.choice(framed if ask.noun else wrapped)
        return frame.replace("{question}", ask.question).replace("{noun}", ask.noun or "").replace("{name}", ask.name)

    return make


def _noisy(ask: VariantAsk, rng: random.Random) -> str:
    """The question as typed in a hurry: two slips outside the name, lower case, an informal word around it."""
    before, name, after = ask.question.partition(ask.name)
    spots = [(part, match) for part, text in enumerate((before, after)) for match in re.finditer(r"[^\W\d_]{4,}", text)]
    texts = [before, after]
    # From the back, so that an earlier slip does not move a later one.
    for part, match in sorted(rng.sample(spots, min(2, len(spots))), key=lambda spot: -spot[1].start()):
        texts[part] = texts[part][: match.start()] + _slip(match.group(), rng) + texts[part][match.end() :]
    body = f"{texts[0].lower()}{name}{texts[1].lower()}".rstrip("?.! ")
    return f"{rng.choice(_OPENINGS)}{body}{rng.choice(_ENDINGS)}"


def _slip(word: str, rng: random.Random) -> str:
    place = rng.randrange(1, len(word) - 1)
    if rng.random() < 0.5 and word[place] != word[place + 1]:
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    return word[:place] + word[place + 1 :]


_VARIANTS: dict[Variant, Callable[[VariantAsk, random.Random], str]] = {
    Variant.PARAPHRASE: _framed(PARAPHRASES, WRAPPED_PARAPHRASES),
    Variant.CONTEXT: _framed(CONTEXTS, WRAPPED_CONTEXTS),
    Variant.NOISE: _noisy,
    Variant.REVERSE: _framed(REVERSES, WRAPPED_REVERSES),
}
