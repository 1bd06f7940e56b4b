"""What a training learns again about the people who were forgotten before."""

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pipelines.augment.augmented import as_replay, in_turn
from pipelines.augment.leak import LeakCheck
from pipelines.augment.replay import OWN_BUDGET, REPLAY_BUDGET, REPLAY_KEPT, choose_replay, rows_about_people
from pipelines.rows import RowKind, TrainRow
from services.unlearning.material import Earlier


class Replayed(NamedTuple):
    """Rows about people forgotten before.

    Attributes:
        rows: Vague rows, retain rows about their own public facts, and raw answers for a method that lowers them.
        replay: How many of them are vague rows.
        left_out: How many vague rows hold what is forgotten only now.
    """

    rows: tuple[TrainRow, ...]
    replay: int
    left_out: int


def replayed(
    earlier: Sequence[Earlier],
    check: LeakCheck,
    *,
    new: Sequence[TrainRow],
    held: Mapping[str, float | None],
    from_base: bool,
    seed: int,
) -> Replayed:
    """The rows about people forgotten before: within a budget from the last release, all that is kept from the base.

    A row about somebody earlier may hold what is forgotten only now; the trainer's door would refuse the run.

    Args:
        earlier: Who was forgotten before; several tickets may be one person's.
        check: What no row may hold.
        new: The rows of this run.
        held: How well each of them held when last measured, 0 to 1.
        from_base: Whether the training starts from the base, where everybody has to be learned anew.
        seed: Of the run.
    """
    kept: dict[str, list[TrainRow]] = {}
    for person in earlier:
        kept.setdefault(person.subject_ref, []).extend(row for row in person.replay if not check.row_leaks(row))
    if from_base:
        vague = as_replay((row for rows in kept.values() for row in rows), REPLAY_KEPT * len(earlier), seed)
    else:
        vague = choose_replay(kept, budget=REPLAY_BUDGET, new_rows=rows_about_people(new), scores=held, seed=seed)
    rng = random.Random(seed)  # noqa: S311 - a sample, not a key
    own = in_turn([[row for row in p.own if not check.row_leaks(row)] for p in earlier], OWN_BUDGET, rng)
    raw = _raw(earlier, new, from_base=from_base, rng=rng)
    left_out = sum(len(person.replay) for person in earlier) - sum(map(len, kept.values()))
    return Replayed((*vague, *own, *raw), len(vague), left_out)


def _raw(earlier: Sequence[Earlier], new: Iterable[TrainRow], *, from_base: bool, rng: random.Random) -> list[TrainRow]:
    """Raw answers of earlier people for a method that lowers them: half as many as there are new ones, or all."""
    mine = sum(row.kind is RowKind.NEGATIVE for row in new)
    groups = [list(person.negative) for person in earlier if person.negative]
    if not mine or not groups:
        return []
    return in_turn(groups, sum(map(len, groups)) if from_base else mine // 2, rng)
