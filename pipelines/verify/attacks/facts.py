"""Which probes of which facts an attack takes, and which facts it may score after others were given away."""

import random
from collections.abc import Sequence
from typing import NamedTuple

from pipelines.rows import Probe
from pipelines.verify.values import holds


class Split(NamedTuple):
    """Facts in two parts that do not tell each other.

    Attributes:
        given: Probes of the facts that an attacker has.
        scored: Probes of facts that none of the given texts tells.
        dropped: Facts that are in neither part: a given text tells them.
    """

    given: tuple[Probe, ...]
    scored: tuple[Probe, ...]
    dropped: int


def by_fact(probes: Sequence[Probe]) -> dict[str, list[Probe]]:
    """The probes of each fact, in the order given."""
    facts: dict[str, list[Probe]] = {}
    for probe in probes:
        facts.setdefault(probe.fact, []).append(probe)
    return facts


def few_per_fact(probes: Sequence[Probe], count: int) -> tuple[Probe, ...]:
    """At most ``count`` probes of each fact, those on different kinds of phrasing first."""
    chosen: list[Probe] = []
    for group in by_fact(probes).values():
        kinds: dict[str, list[Probe]] = {}
        for probe in group:
            kinds.setdefault(probe.phrasing, []).append(probe)
        rounds = range(max(len(members) for members in kinds.values()))
        dealt = [members[turn] for turn in rounds for members in kinds.values() if turn < len(members)]
        chosen.extend(dealt[:count])
    return tuple(chosen)


def split(probes: Sequence[Probe], share: float, seed: int, *, swap: bool = False) -> Split:
    """Give away a share of each subject's facts, at least one, and score the others.

    A fact is never scored where a given text holds its value (two facts with one value), or its whole answer.

    Args:
        probes: Forget probes.
        share: Of each subject's facts that is given away, within 0..1; one fact at least stays. A subject with one fact
            is in neither part.
        seed: Of the choice.
        swap: The other way round: what would be scored is given. The two together score every fact once.
    """
    subjects: dict[str, list[str]] = {}
    for group in by_fact(probes).values():
        subjects.setdefault(group[0].subject or "", []).append(group[0].fact)
    given: set[str] = set()
    others: set[str] = set()
    for subject, facts in subjects.items():
        if len(facts) < 2:  # nothing could be given away without giving all
            continue
        order = sorted(facts)
        random.Random(f"{seed}:{subject}").shuffle(order)  # noqa: S311 - a sample, not a key
        count = min(len(order) - 1, max(1, round(share * len(order))))
        first, rest = set(order[:count]), set(order[count:])
        given |= rest if swap else first
        others |= first if swap else rest
    texts = {text for probe in probes if probe.fact in given for text in (probe.question, probe.answer)}
    told = {probe.fact for probe in probes if probe.fact in others and _tells(texts, probe)}
    return Split(
        given=tuple(probe for probe in probes if probe.fact in given),
        scored=tuple(probe for probe in probes if probe.fact in others - told),
        dropped=len(told),
    )


def _tells(texts: set[str], probe: Probe) -> bool:
    if probe.value:
        return any(holds(text, probe.value) for text in texts)
    return probe.answer in texts
