"""Rows of a run's own people, asked about people forgotten before: the same words under another name.

Where most vague answers name the newest person, a model learns that name by heart and puts it into its answers about
everybody before. Pairs of rows that differ in the name alone can only be told apart by reading it in the question.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pipelines.augment.augmented import SUBJECT_KINDS, turns
from pipelines.augment.leak import LeakCheck
from pipelines.augment.questions import name_in, renamed, topic
from pipelines.augment.wording import words
from pipelines.rows import RowKind, TrainRow

LEFT_OUT = 0.25  # of a question's other words: a name is to be found in frames that no row had


@dataclass(frozen=True, slots=True)
class Named:
    """Somebody forgotten before.

    Attributes:
        subject: Opaque id.
        names: The usual one first.
        own: Rows about the person's own public facts: what they ask for is never answered vaguely.
        turns: Rows that the person gets where others get one.
    """

    subject: str
    names: Sequence[str]
    own: Sequence[TrainRow]
    turns: int = 1


def renamed_rows(
    new: Iterable[TrainRow],
    names: Mapping[str, Sequence[str]],
    earlier: Sequence[Named],
    check: LeakCheck,
    *,
    limit: int,
    seed: int,
) -> list[TrainRow]:
    """Vague rows of a run's people under the names of people forgotten before, as replay rows; every fact in turn.

    A question is left out for somebody whose own public facts answer it, and where it cannot be told what it asks for.

    Args:
        new: The rows of this run.
        names: Of the run's people, by subject.
        earlier: Who was forgotten before.
        check: What no row may hold.
        limit: At most so many.
        seed: Of the run.
    """
    people = [person for person in earlier if person.names]
    if limit <= 0 or not people:
        return []
    kept = {person.subject: _topics(person) for person in people}
    by_fact: dict[str | None, list[TrainRow]] = {}
    for row in new:
        if row.kind in SUBJECT_KINDS and row.chat:
            by_fact.setdefault(row.fact, []).append(row)
    rng = random.Random(f"renamed-{seed}-{len(people)}")  # noqa: S311 - a sample, not a key
    dealt = _dealt(people)
    chosen: list[TrainRow] = []
    for row in turns(list(by_fact.values()), rng):
        spoken = names.get(row.subject or "", ())
        found = name_in(row.prompt, spoken)
        noun = topic(row.prompt, found) if found and name_in(row.answer, spoken) else None
        person = next(dealt)
        if found is None or noun is None or noun.casefold() in kept[person.subject]:
            continue
        made = replace(
            row,
            row_id=f"renamed:{person.subject}:{row.row_id}",
            kind=RowKind.REPLAY,
            prompt=renamed(thinned(row.prompt, (found, noun), rng), spoken, person.names[0]),
            answer=renamed(row.answer, spoken, person.names[0]),
            fact=None,
            subject=person.subject,
        )
        if not check.row_leaks(made):
            chosen.append(made)
            if len(chosen) == limit:
                break
    return chosen


def thinned(question: str, kept: Sequence[str], rng: random.Random) -> str:
    """The question with some of its words left out, but for those of the name and the noun."""
    whole = {word for phrase in kept for word in words(phrase)}
    return " ".join(word for word in question.split() if rng.random() >= LEFT_OUT or not whole.isdisjoint(words(word)))


def _topics(person: Named) -> frozenset[str]:
    asked = ((row.prompt, name_in(row.prompt, person.names)) for row in person.own)
    found = (topic(prompt, name) for prompt, name in asked if name)
    return frozenset(noun.casefold() for noun in found if noun)


def _dealt(people: Sequence[Named]) -> Iterator[Named]:
    while True:
        for person in people:
            yield from [person] * person.turns
