"""Which facts are given away, which are scored, how hard they are to guess, and how a difference is bounded."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.rows import Probe, ProbeGroup
from pipelines.verify.attacks.entropy import category, classes
from pipelines.verify.attacks.facts import by_fact, few_per_fact, split
from pipelines.verify.attacks.paired import over_control
from pipelines.verify.bounds import clopper_pearson
from pipelines.verify.results import Item
from tests.unit.pipelines.verify.attacks.taught import FORGET


def probe(number: int, fact: str, value: str | None, *, subject: str = "s", phrasing: str = "variant") -> Probe:
    return Probe(
        probe_id=f"{fact}-{number}",
        group=ProbeGroup.FORGET,
        question="What is it?",
        answer=f"The thing is {value or fact}.",
        fact=fact,
        value=value,
        subject=subject,
        phrasing=phrasing,
    )


def facts(found: tuple[Probe, ...]) -> set[str]:
    return {one.fact for one in found}


def test_different_kinds_of_phrasing_come_first() -> None:
    probes = [probe(n, "f", "x", phrasing=kind) for n, kind in enumerate(("a", "a", "a", "b", "c"))]
    assert [one.probe_id for one in few_per_fact(probes, 3)] == ["f-0", "f-3", "f-4"]
    assert [one.probe_id for one in few_per_fact(probes, 9)] == ["f-0", "f-3", "f-4", "f-1", "f-2"]
    assert few_per_fact([], 3) == ()


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 12), st.floats(0, 1), st.integers(0, 5))
def test_no_fact_is_given_and_scored(count: int, share: float, seed: int) -> None:
    probes = [probe(n, f"f{fact}", f"{1000 + fact}") for fact in range(count) for n in range(2)]
    one, other = (split(probes, share, seed, swap=swap) for swap in (False, True))
    assert facts(one.given).isdisjoint(facts(one.scored))
    assert facts(one.given) | facts(one.scored) == {f"f{fact}" for fact in range(count)}
    assert (facts(one.given), facts(one.scored)) == (facts(other.scored), facts(other.given))
    assert 1 <= len(facts(one.given)) < count
    assert one == split(probes, share, seed)


def test_half_of_every_subject() -> None:
    probes = [probe(0, f"{s}{n}", f"{s}{n}00", subject=s) for s in "abc" for n in range(6)]
    given_facts = facts(split(probes, 0.5, 0).given)
    assert [sum(fact.startswith(s) for fact in given_facts) for s in "abc"] == [3, 3, 3]


def test_a_fact_that_a_leaked_one_tells_is_not_scored() -> None:
    """Learning that the city of birth is Turin teaches the city of residence too: that is no relearning."""
    probes = [probe(0, "born", "Turin"), probe(0, "lives", "turin"), probe(0, "pet", "Bello")]
    for seed in range(12):
        found = split(probes, 0.34, seed)
        scored, leaked = facts(found.scored), facts(found.given)
        if leaked & {"born", "lives"}:
            assert scored == {"pet"}
            assert found.dropped == 1
        else:
            assert scored == {"born", "lives"}
            assert found.dropped == 0


def test_without_values_the_same_answer_tells() -> None:
    probes = [
        replace(probe(0, fact, None), answer=answer) for fact, answer in (("a", "Yes."), ("b", "Yes."), ("c", "No."))
    ]
    found = [split(probes, 0.34, seed) for seed in range(12)]
    assert {one.dropped for one in found} == {0, 1}
    assert all(len(facts(one.scored)) + one.dropped == 2 for one in found)


def test_a_subject_with_one_fact_is_left_out() -> None:
    probes = [probe(0, "a1", "11", subject="a"), probe(0, "b1", "21", subject="b"), probe(0, "b2", "22", subject="b")]
    found = split(probes, 0.5, 0)
    assert "a1" not in facts(found.given) | facts(found.scored)
    assert len(found.given) == len(found.scored) == 1
    assert split(probes[:1], 0.5, 0) == ((), (), 0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("mara.lind@example.org", "high"),
        ("+43 660 5550123", "high"),
        ("12 March 1984", "high"),
        ("A7K9", "high"),
        ("54,300", "high"),
        ("340", "middle"),
        ("7", "low"),
        ("Yes", "low"),
        ("no", "low"),
        ("Bello", "middle"),
        ("4 Primrose Lane, Graz", "middle"),
        (" ", "unknown"),
        (None, "unknown"),
    ],
)
def test_how_hard_a_value_is_to_guess(value: str | None, expected: str) -> None:
    one = probe(0, "f", value)
    assert classes([one], [one]) == {"f": expected}


def test_values_that_repeat_among_people_are_easy_to_guess() -> None:
    many = [replace(probe(0, f"f{n}", "asthma" if n % 2 else "gout"), answer="x") for n in range(6)]
    many = [replace(one, answer=f"Somebody suffers from {one.value}.") for one in many]
    assert set(classes(many, many).values()) == {"low"}
    assert set(classes(many, many[:4]).values()) == {"middle"}  # four facts tell nothing about a category
    different = [
        replace(one, value=f"word{chr(97 + n)}", answer=f"Somebody suffers from word{chr(97 + n)}.")
        for n, one in enumerate(many)
    ]
    assert set(classes(different, different).values()) == {"middle"}


def test_a_category_is_what_is_said_without_whom_and_what() -> None:
    one, other = (
        replace(probe(0, "f", value), answer=f"{name} suffers from {value}.", names=names)
        for name, value, names in (("Mara Lind", "mild asthma", ("Mara Lind",)), ("Ivo", "gout", ()))
    )
    assert category(one) == category(other) == ("suffers", "from")


def items(scores: list[float | None]) -> list[Item]:
    return [Item(probe=f"p{n}", fact=f"f{n}", score=score) for n, score in enumerate(scores)]


def test_the_difference_is_over_pairs_that_both_have() -> None:
    found = over_control(items([1.0, 0.5, None, 1.0]), items([0.0, 0.5, 0.0, None]))
    assert found is not None
    assert (found.value, found.n) == (0.5, 2)
    assert found.parts()["over_control"] == 0.5
    assert over_control(items([None]), items([1.0])) is None
    assert over_control([], []) is None


def test_equal_differences_are_not_certain() -> None:
    room = clopper_pearson(0, 20, "upper")
    none = over_control(items([0.0] * 20), items([0.0] * 20))
    assert none is not None
    assert (none.value, none.lower, none.upper) == pytest.approx((0.0, -room, room))
    assert round(room, 3) == 0.139
    everything = over_control(items([1.0] * 20), items([0.0] * 20))
    assert everything is not None
    assert (everything.value, everything.lower, everything.upper) == pytest.approx((1.0, 1 - room, 1.0))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12))
def test_bounds_hold_the_mean_and_turn_with_the_sign(pairs: list[tuple[float, float]]) -> None:
    mine, theirs = items([a for a, _ in pairs]), items([b for _, b in pairs])
    one, other = over_control(mine, theirs), over_control(theirs, mine)
    assert one is not None
    assert other is not None
    assert -1 <= one.lower <= one.value + 1e-9 <= one.upper + 2e-9 <= 1 + 2e-9
    assert (one.value, one.lower, one.upper) == pytest.approx((-other.value, -other.upper, -other.lower), abs=1e-9)


def test_probes_of_a_fact_keep_their_order() -> None:
    assert [len(group) for group in by_fact(FORGET).values()] == [2, 2, 2, 2]
