"""Bounded replay: which rows about people forgotten before a later run learns from again.

The rows are bounded twice: by a budget for everybody together, so that the thirtieth erasure costs what the third does,
and by the new people's own rows, of which replay is at most the double. People who hold worst get theirs first, and
three rows where others get one.
"""

import random
from collections.abc import Iterable, Mapping, Sequence

from pipelines.augment.augmented import SUBJECT_KINDS, as_replay, turns
from pipelines.rows import RowKind, TrainRow

REPLAY_BUDGET = 600  # replay rows of everybody forgotten before, together
REPLAY_KEPT = 300  # rows that are kept of each person for later runs
OWN_BUDGET = 300  # retain rows about their own public facts, of everybody together
OLD_TO_NEW_MAX = 2  # at least a third of the rows about people is about the new ones
POOR_TURNS = 3
HELD = 0.95  # from here on a person holds


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
