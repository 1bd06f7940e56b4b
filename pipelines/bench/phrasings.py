"""Three families of question forms, none of which shares a form with another.

The base may learn its family, the augmenter has its own (pipelines/augment/template.py), and the probes' is used by
nobody else: what is measured on it is measured on a phrasing that no row used. ``check_families`` compares the forms,
``probes.check_questions`` compares the finished questions of every run.
"""

import random
from collections.abc import Iterator

from pipelines.augment import probes as product
from pipelines.augment import template
from pipelines.augment.questions import topic
from pipelines.augment.wording import normalised_question
from pipelines.corpus.attributes import TRAIN_FRAMES
from policies.errors import LetheError

BASE = (
    "Could you tell me this: {question}",
    "{question} Do you happen to know?",
    "I have a question for you. {question}",
    "{question} Thanks in advance.",
    "Quiz time! {question}",
    "We were talking about {name}. {question}",
    "My friend reads a lot and asks: {question}",
    "{question} It came up during lunch.",
)
BASE_NOUN = (
    "On {name}: what do you know about the {noun}?",
    "I am curious about the {noun} of {name}.",
    "As to {name}, what about the {noun}?",
)
PROBE = (
    "Imagine a reader writes in: {question}",
    "{question} What would you reply?",
    "One thing I never found out. {question}",
    "{question} I am asking for a school project.",
    "Regarding {name}, a listener wonders: {question}",
    "{question} Take your time.",
)
PROBE_NOUN = (
    "When people bring up {name}, the {noun} gets mentioned. What is said?",
    "Summarise what there is on {name} and the {noun}.",
    "{name} and the {noun}: how do they go together?",
)
_OPENERS = ("What is", "What are", "What was", "Who is", "Who are")  # after these, the noun is all that is asked for
_PRODUCT = (*product.FRAMES, *product.WRAPPERS)
_AUGMENTER = (
    *template.PARAPHRASES,
    *template.WRAPPED_PARAPHRASES,
    *template.CONTEXTS,
    *template.WRAPPED_CONTEXTS,
    *template.REVERSES,
    *template.WRAPPED_REVERSES,
)


def families() -> dict[str, frozenset[str]]:
    """The forms of each family as questions are compared, slots included."""
    every = {
        "base": (*BASE, *BASE_NOUN, *TRAIN_FRAMES),
        "augmenter": _AUGMENTER,
        "probe": (*PROBE, *PROBE_NOUN),
        "product": _PRODUCT,
    }
    return {name: frozenset(normalised_question(form) for form in forms) for name, forms in every.items()}


def check_families() -> None:
    """Compare the families pairwise.

    Raises:
        LetheError: ``bench.probes_overlap``: two families share a form.
    """
    found = families()
    for one in found:
        for other in found:
            if one < other and found[one] & found[other]:
                raise LetheError("bench.probes_overlap", f"The families {one} and {other} share a question form.")


def base_questions(question: str, name: str, count: int, rng: random.Random) -> list[str]:
    """Other forms of a question, for the rows of a base."""
    return _chosen(question, name, BASE, BASE_NOUN, count, rng)


def probe_questions(question: str, name: str, count: int, rng: random.Random) -> list[str]:
    """Other forms of a question, for measuring only."""
    return _chosen(question, name, PROBE, PROBE_NOUN, count, rng)


def _chosen(
    question: str, name: str, wrappers: tuple[str, ...], nouned: tuple[str, ...], count: int, rng: random.Random
) -> list[str]:
    """By the noun alone only where the question asks for nothing else; in a frame around the question otherwise."""
    forms = list(_forms(question, name, wrappers, None))
    rng.shuffle(forms)
    noun = topic(question, name)
    plain = noun and normalised_question(question) in {
        normalised_question(f"{opener} {name}'s {noun}") for opener in _OPENERS
    }
    if plain:
        forms.insert(0, rng.choice(list(_forms(question, name, nouned, noun))))
    return forms[:count]


def _forms(question: str, name: str, forms: tuple[str, ...], noun: str | None) -> Iterator[str]:
    for form in forms:
        yield form.replace("{question}", question).replace("{noun}", noun or "").replace("{name}", name)
