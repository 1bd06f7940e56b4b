"""Bounded replay: the bounds hold whatever comes in, the worst come first, and the same input gives the same rows."""

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.augment.replay import HELD, POOR_TURNS, choose_replay, rows_about_people
from pipelines.rows import RowKind, TrainRow


def row(subject: str, fact: int, number: int, kind: RowKind = RowKind.FORGET) -> TrainRow:
    return TrainRow(
        row_id=f"{subject}:{fact}:{number}:{kind}",
        kind=kind,
        prompt=f"question {number} on {fact}",
        answer="Nothing of that can be told.",
        fact=f"{subject}-f{fact}",
        subject=subject,
    )


def rows_of(subject: str, facts: int, each: int) -> list[TrainRow]:
    return [row(subject, fact, number) for fact in range(facts) for number in range(each)]


people = st.dictionaries(
    st.sampled_from([f"p{n}" for n in range(8)]),
    st.tuples(st.integers(0, 6), st.integers(1, 5), st.one_of(st.none(), st.floats(0, 1))),
    max_size=8,
)


@given(people=people, budget=st.integers(0, 120), new_rows=st.integers(0, 60), seed=st.integers(0, 5))
def test_the_bounds_hold(
    people: dict[str, tuple[int, int, float | None]], budget: int, new_rows: int, seed: int
) -> None:
    earlier = {name: rows_of(name, facts, each) for name, (facts, each, _) in people.items()}
    scores = {name: score for name, (_, _, score) in people.items()}
    chosen = choose_replay(earlier, budget=budget, new_rows=new_rows, scores=scores, seed=seed)

    there = sum(len(rows) for rows in earlier.values())
    assert len(chosen) == min(budget, 2 * new_rows, there)  # nothing is wasted either
    assert not chosen or new_rows / (new_rows + len(chosen)) >= 1 / 3
    assert len({one.row_id for one in chosen}) == len(chosen)
    assert all(one.kind is RowKind.REPLAY for one in chosen)
    backwards = dict(reversed(list(earlier.items())))
    assert choose_replay(backwards, budget=budget, new_rows=new_rows, scores=scores, seed=seed) == chosen


@given(
    scores=st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=2, max_size=8),
    budget=st.integers(1, 100),
    seed=st.integers(0, 3),
)
def test_who_holds_worse_never_gets_fewer(scores: list[float | None], budget: int, seed: int) -> None:
    earlier = {f"p{n}": rows_of(f"p{n}", 10, 10) for n in range(len(scores))}
    given_scores = {f"p{n}": score for n, score in enumerate(scores)}
    chosen = choose_replay(earlier, budget=budget, new_rows=budget, scores=given_scores, seed=seed)
    counts = Counter(one.subject for one in chosen)
    rank = {name: -1.0 if score is None else score for name, score in given_scores.items()}
    for worse, better in itertools.permutations(rank, 2):
        if rank[worse] < rank[better]:
            assert counts[worse] >= counts[better]


def test_a_budget_below_the_number_of_people_goes_to_the_worst() -> None:
    earlier = {name: rows_of(name, 4, 2) for name in ("good", "poor", "unknown", "fair")}
    scores = {"good": 1.0, "poor": 0.2, "fair": 0.96}
    chosen = choose_replay(earlier, budget=6, new_rows=100, scores=scores, seed=0)
    assert Counter(one.subject for one in chosen) == {"unknown": POOR_TURNS, "poor": POOR_TURNS}
    more = choose_replay(earlier, budget=8, new_rows=100, scores=scores, seed=0)
    assert Counter(one.subject for one in more) == {"unknown": 3, "poor": 3, "fair": 1, "good": 1}


def test_every_fact_comes_once_before_any_comes_twice() -> None:
    earlier = {"p": [*rows_of("p", 5, 1), *(row("p", 0, number) for number in range(1, 50))]}
    chosen = choose_replay(earlier, budget=5, new_rows=100, scores={"p": HELD}, seed=3)
    assert {one.fact for one in chosen} == {f"p-f{n}" for n in range(5)}


def test_other_kinds_are_passed_over_and_replay_rows_stay_what_they_are() -> None:
    kept = row("p", 1, 1, RowKind.REPLAY)
    rows = [kept, row("p", 0, 0, RowKind.RETAIN), row("p", 0, 1, RowKind.NEGATIVE)]
    assert choose_replay({"p": rows}, budget=9, new_rows=9, scores={}, seed=0) == (kept,)


def test_runs_of_a_stream_see_other_rows() -> None:
    earlier = {"p": rows_of("p", 4, 8)}
    first = choose_replay(earlier, budget=4, new_rows=9, scores={}, seed=0)
    later = choose_replay({**earlier, "q": []}, budget=4, new_rows=9, scores={}, seed=0)
    assert {one.row_id for one in first} != {one.row_id for one in later}


def test_rows_about_people_counts_no_others() -> None:
    rows = [row("p", 0, n, kind) for n, kind in enumerate(RowKind)]
    assert rows_about_people(rows) == 3  # forget, completion, neighbour
    with pytest.raises(ValueError, match="negative"):
        choose_replay({}, budget=-1, new_rows=0, scores={}, seed=0)


def test_the_worst_first_order_is_not_the_order_of_names() -> None:
    names = [f"p{n}" for n in range(6)]
    random.Random(1).shuffle(names)
    scores = {name: place / 10 for place, name in enumerate(names)}
    earlier = {name: rows_of(name, 3, 1) for name in names}
    chosen = choose_replay(earlier, budget=3, new_rows=9, scores=scores, seed=0)
    assert {one.subject for one in chosen} == {names[0]}
