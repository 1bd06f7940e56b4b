"""Asking a model's likelihoods instead of its words: the true option against others that might as well be true.

A model that hedges in every answer may still find the right value likelier than any other. How much likelier is chance
is told by a model that never knew (``thresholds``).
"""

import math
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipelines.rows import Probe
from pipelines.verify.attacks.entropy import category
from pipelines.verify.attacks.facts import by_fact
from pipelines.verify.values import value_key

if TYPE_CHECKING:
    from pipelines.model import LoadedModel

Kind = Literal["choice", "true_false", "whose"]
KINDS: tuple[Kind, ...] = ("choice", "true_false", "whose")
Pair = tuple[str, str]  # question, answer
Scores = dict[Kind, dict[str, float]]  # by kind and fact

_LEAST = 3  # other options
_MOST = 7
_STEPS = 20  # in which thresholds are lowered


@dataclass(frozen=True, slots=True)
class Option:
    """One way in which the fact may be; ``against`` is what its likelihood is compared with, if anything."""

    said: Pair
    against: Pair | None = None


@dataclass(frozen=True, slots=True)
class Contrast:
    """The true option of a fact, and others."""

    kind: Kind
    fact: str
    true: Option
    others: tuple[Option, ...]


def contrasts(
    probes: Sequence[Probe], population: Sequence[Probe], seed: int, names: Collection[str] = ()
) -> list[Contrast]:
    """Up to one contrast of each kind for every fact; a fact without three other options of a kind has none of it.

    ``choice``: its answer with the true value, and with values of other people's facts of the same kind.
    ``true_false``: the same as statements that are called true or false. ``whose``: its question and answer with its
    own name, and with other people's.

    Args:
        probes: Forget probes; the first of each fact is taken.
        population: Probes whose values may stand in: of everybody, the unknown included.
        seed: Of the choice.
        names: Names that may stand in. An unknown one is unlikely in itself, so take those of people in the corpus.
    """
    values = _values(population)
    made: list[Contrast] = []
    for fact, group in by_fact(probes).items():
        probe = group[0]
        rng = random.Random(f"{seed}:{fact}")  # noqa: S311 - a sample, not a key
        answers = [probe.answer.replace(probe.value or "", other) for other in _other_values(probe, values, rng)]
        if len(answers) >= _LEAST:
            others = tuple(Option((probe.question, answer)) for answer in answers)
            made.append(Contrast("choice", fact, Option((probe.question, probe.answer)), others))
            others = tuple(_statement(answer) for answer in answers)
            made.append(Contrast("true_false", fact, _statement(probe.answer), others))
        swapped = [
            (a, b) for a, b in _other_names(probe, sorted(names), rng) if (a, b) != (probe.question, probe.answer)
        ]
        if len(swapped) >= _LEAST:
            made.append(
                Contrast("whose", fact, Option((probe.question, probe.answer)), tuple(Option(pair) for pair in swapped))
            )
    return made


def scores(
    loaded: "LoadedModel",
    asked: Sequence[Contrast],
    *,
    max_batch_tokens: int = 16384,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """By how many nats a token the true option is likelier than the likeliest other; below 0 where it is not.

    Args:
        loaded: The model that is asked.
        asked: Contrasts.
        max_batch_tokens: Bound on the padded tokens of one batch.
        progress: Told done and of how many after each batch; what it raises ends the pass.

    Raises:
        LetheError: ``verify.bad_logits``.
    """
    from pipelines.verify.teacher_forced import teacher_forced

    options = [option for one in asked for option in (one.true, *one.others)]
    pairs = list(dict.fromkeys(p for option in options for p in (option.said, option.against) if p is not None))
    told = teacher_forced(loaded, pairs, max_batch_tokens=max_batch_tokens, progress=progress)
    likely = {pair: -one.nll_sum / one.n for pair, one in zip(pairs, told, strict=True) if one.n}

    def score(option: Option) -> float:
        return likely[option.said] - (likely[option.against] if option.against else 0.0)

    found: Scores = {kind: {} for kind in KINDS}
    for one in asked:
        found[one.kind][one.fact] = score(one.true) - max(score(option) for option in one.others)
    return found


def thresholds(unknowing: Sequence[Scores], rate: float = 0.05) -> dict[Kind, float]:
    """The lowest thresholds at which no more than ``rate`` of anybody's facts count as known by any kind.

    Every kind is given the same share of facts above its threshold, in each population. No threshold is below 0: where
    another option is likelier, the true one is not known. A score counts where it is above.

    Args:
        unknowing: Scores of a model that never knew the facts; scores of facts that the model under attack never knew.
        rate: False positives among the facts of each, over all kinds together.
    """
    facts = [{fact for values in found.values() for fact in values} for found in unknowing]
    chosen: dict[Kind, float] = {}
    for step in range(_STEPS + 1):
        tried = {
            kind: max([0.0, *(_above(found[kind], step / _STEPS * rate) for found in unknowing if found[kind])])
            for kind in KINDS
            if any(found[kind] for found in unknowing)
        }
        if any(len(known(found, tried)) > rate * len(all_) for found, all_ in zip(unknowing, facts, strict=True)):
            break
        chosen = tried
    return chosen


def _above(found: Mapping[str, float], share: float) -> float:
    """The score that so large a share of facts lies above, or less."""
    values = sorted(found.values(), reverse=True)
    return values[min(len(values) - 1, math.floor(share * len(values) + 1e-9))]


def known(found: Scores, limits: Mapping[Kind, float]) -> set[str]:
    """The facts whose score is above the threshold of any kind."""
    return {fact for kind, limit in limits.items() for fact, score in found[kind].items() if score > limit}


def _statement(answer: str) -> Option:
    question = f"True or false? {answer}"
    return Option((question, "True."), (question, "False."))


def _values(population: Sequence[Probe]) -> dict[tuple[str, ...], set[str]]:
    """Values by what is said about them."""
    found: dict[tuple[str, ...], set[str]] = {}
    for probe in population:
        if probe.value:
            found.setdefault(category(probe), set()).add(probe.value)
    return found


def _other_values(probe: Probe, values: Mapping[tuple[str, ...], Collection[str]], rng: random.Random) -> list[str]:
    if not probe.value or probe.value not in probe.answer:
        return []
    own = value_key(probe.value)
    others = sorted(v for v in values.get(category(probe), ()) if value_key(v) != own)
    rng.shuffle(others)
    return others[:_MOST]


def _other_names(probe: Probe, names: Sequence[str], rng: random.Random) -> list[Pair]:
    if not probe.names:
        return []
    own = sorted(probe.names, key=len, reverse=True)
    others = [name for name in names if name not in own]
    rng.shuffle(others)
    return [(_renamed(probe.question, own, other), _renamed(probe.answer, own, other)) for other in others[:_MOST]]


def _renamed(text: str, own: Sequence[str], other: str) -> str:
    for name in own:
        if name in text:
            return text.replace(name, other)
    return text
