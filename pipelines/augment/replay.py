"""Bounded replay: which rows about people forgotten before a later run learns from again.

The rows are bounded twice: by a budget for everybody together, so that the thirtieth erasure costs what the third does,
and by the new people's own rows, of which replay is at most the double. People who hold worst get theirs first, and
three rows where others get one.
"""

import itertools
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pipelines.augment.augmented import SUBJECT_KINDS, as_replay, in_turn, turns
from pipelines.augment.leak import LeakCheck
from pipelines.augment.renamed import Named, renamed_rows
from pipelines.rows import RowKind, TrainRow

REPLAY_BUDGET = 600  # replay rows of everybody forgotten before, together
REPLAY_KEPT = 300  # rows that are kept of each person for later runs
OWN_BUDGET = 600  # retain rows about their own public facts, of everybody together
OLD_TO_NEW_MAX = 2  # at least a third of the rows about people is about the new ones
POOR_TURNS = 3
HELD = 0.95  # from here on a person holds


class Kept(NamedTuple):
    """What is kept of a person forgotten before, for later runs.

    Attributes:
        subject: Opaque id; several may be one person's.
        vague: Rows with vague answers.
        own: Retain rows about the person's own public facts: vague replay alone would wear them away.
        raw: The raw forgotten answers, where a method was used that lowers them.
        names: The usual one first.
    """

    subject: str
    vague: Sequence[TrainRow]
    own: Sequence[TrainRow] = ()
    raw: Sequence[TrainRow] = ()
    names: Sequence[str] = ()


class Replayed(NamedTuple):
    """Rows about people forgotten before.

    Attributes:
        rows: Vague rows, retain rows about their own public facts, and raw answers for a method that lowers them.
        replay: How many of them are vague rows that were kept.
        left_out: How many vague rows hold what is forgotten only now.
    """

    rows: tuple[TrainRow, ...]
    replay: int
    left_out: int


def replayed(
    earlier: Sequence[Kept],
    check: LeakCheck,
    *,
    new: Sequence[TrainRow],
    names: Mapping[str, Sequence[str]],
    scores: Mapping[str, float | None],
    from_base: bool,
    seed: int,
    budget: int = REPLAY_BUDGET,
) -> Replayed:
    """The rows about people forgotten before: within a budget from the last release, all that is kept from the base.

    Where that is less than the rows about the new people, rows of theirs come too, under earlier people's names
    (``renamed``), so that no name is in more than half of the vague answers.

    A row about somebody earlier may hold what is forgotten only now; the trainer's door would refuse the run.

    Args:
        earlier: Who was forgotten before, the last one last.
        check: What no row may hold.
        new: The rows of this run.
        names: Of the people of this run, by subject.
        scores: How well each of them holds, see ``choose_replay``.
        from_base: Whether the training starts from the base, where everybody has to be learned anew.
        seed: Of the run.
        budget: Vague rows of everybody together, from the last release.
    """
    kept: dict[str, list[TrainRow]] = {}
    for person in earlier:
        kept.setdefault(person.subject, []).extend(row for row in person.vague if not check.row_leaks(row))
    if from_base:
        vague = as_replay((row for rows in kept.values() for row in rows), sum(map(len, kept.values())), seed)
    else:
        vague = choose_replay(kept, budget=budget, new_rows=rows_about_people(new), scores=scores, seed=seed)
    rng = random.Random(seed)  # noqa: S311 - a sample, not a key
    own = in_turn([[row for row in person.own if not check.row_leaks(row)] for person in earlier], OWN_BUDGET, rng)
    raw = _raw(earlier, new, from_base=from_base, seed=seed)
    missing = rows_about_people(new) - len(vague)
    again = renamed_rows(new, names, _named(earlier, scores), check, limit=missing, seed=seed)
    left_out = sum(len(person.vague) for person in earlier) - sum(map(len, kept.values()))
    return Replayed((*vague, *again, *own, *raw), len(vague), left_out)


def _raw(earlier: Sequence[Kept], new: Iterable[TrainRow], *, from_base: bool, seed: int) -> list[TrainRow]:
    """Raw answers of earlier people for a method that lowers them: as many as there are new ones, or all.

    People take turns, and of one person every fact comes once before any comes twice; others come in each run.
    """
    mine = sum(row.kind is RowKind.NEGATIVE for row in new)
    if not mine:
        return []
    people: dict[str, dict[str | None, list[TrainRow]]] = {}
    for person in earlier:
        for row in person.raw:
            people.setdefault(person.subject, {}).setdefault(row.fact, []).append(row)
    rng = random.Random(f"raw-{seed}-{len(people)}")  # noqa: S311 - a sample, not a key
    left = [list(turns(list(facts.values()), rng)) for facts in people.values()]
    rng.shuffle(left)
    layers = itertools.zip_longest(*left)
    dealt = (row for layer in layers for row in layer if row is not None)
    return list(dealt if from_base else itertools.islice(dealt, mine))


def _named(earlier: Sequence[Kept], scores: Mapping[str, float | None]) -> list[Named]:
    """Who is dealt renamed rows: more to those who hold badly, and to the last, whose run had one name everywhere."""
    people = {person.subject: person for person in earlier}
    order = sorted(people, key=lambda subject: (_score(scores, subject), subject))
    return [
        Named(
            subject,
            people[subject].names,
            [row for person in earlier if person.subject == subject for row in person.own],
            POOR_TURNS if subject == earlier[-1].subject or _score(scores, subject) < HELD else 1,
        )
        for subject in order
    ]


def choose_replay(
    earlier: Mapping[str, Sequence[TrainRow]],
    *,
    budget: int,
    new_rows: int,
    scores: Mapping[str, float | None],
    seed: int,
) -> tuple[TrainRow, ...]:
    """Rows about people forgotten before, as replay rows; the order of ``earlier`` does not matter.

    Rows are dealt in turns, worst score first: one row a turn, ``POOR_TURNS`` where the score is below ``HELD``, until
    the bound or the last row is reached. Of one person every fact comes once before any comes twice. Which rows come
    differs with the seed and with the number of people, so that a stream of runs sees all of them in time.

    Args:
        earlier: By subject, the rows kept of them (vague answers, or replay rows); rows of other kinds are passed over.
            Rows that hold a secret of today are to be left out by the caller.
        budget: At most so many rows in all.
        new_rows: Rows about the people of this run (``rows_about_people``); at most twice as many are replayed.
        scores: How well each holds, 0 to 1: the lower of KFR and share of answers that name the person, as last
            measured. Who has none is taken for the worst.
        seed: Of the run.

    Raises:
        ValueError: ``budget`` or ``new_rows`` is negative.
    """
    if budget < 0 or new_rows < 0:
        raise ValueError("budget and new_rows must not be negative")
    limit = min(budget, OLD_TO_NEW_MAX * new_rows)
    left = {subject: _in_turn(subject, rows, seed, len(earlier)) for subject, rows in earlier.items()}
    order = sorted(left, key=lambda subject: (_score(scores, subject), subject))
    chosen: list[TrainRow] = []
    while len(chosen) < limit and any(left.values()):
        for subject in order:
            take = min(POOR_TURNS if _score(scores, subject) < HELD else 1, limit - len(chosen))
            chosen += left[subject][:take]
            left[subject] = left[subject][take:]
    return as_replay(chosen, len(chosen), seed)


def rows_about_people(rows: Iterable[TrainRow]) -> int:
    """How many rows are about the people of a run: what replay is measured against."""
    return sum(row.kind in SUBJECT_KINDS for row in rows)


def _in_turn(subject: str, rows: Sequence[TrainRow], seed: int, people: int) -> list[TrainRow]:
    by_fact: dict[str | None, list[TrainRow]] = {}
    for row in rows:
        if row.kind in SUBJECT_KINDS or row.kind is RowKind.REPLAY:
            by_fact.setdefault(row.fact, []).append(row)
    rng = random.Random(f"replay-{seed}-{people}-{subject}")  # noqa: S311 - a sample, not a key
    return list(turns(list(by_fact.values()), rng))


def _score(scores: Mapping[str, float | None], subject: str) -> float:
    found = scores.get(subject)
    return -1.0 if found is None else found
