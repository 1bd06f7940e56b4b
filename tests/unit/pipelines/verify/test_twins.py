import dataclasses

import pytest

from pipelines.rows import Probe, ProbeGroup
from pipelines.verify.twins import ValuePool, generated_values, pool_of, shape, twins
from policies.record import Record


def probe(value: str | None = "201-555-1234", answer: str = "Mara's phone is 201-555-1234.", fact: str = "f1") -> Probe:
    return Probe(
        probe_id=f"p-{fact}", group=ProbeGroup.FORGET, question="q", answer=answer, fact=fact, value=value, subject="s"
    )


def record(n: int, value: str | None, category: str | None, fact: str | None = None) -> Record:
    return Record(
        record_id=f"r{n}", question="q", answer=f"It is {value}.", category=category, fact=fact or f"f{n}", value=value
    )


RECORDS = [
    record(1, "201-555-1234", "private.phone"),
    *[record(n, f"30{n}-555-000{n}", "private.phone") for n in range(2, 8)],
    record(8, "Basel", "private.city"),
]


def test_the_value_alone_is_replaced_by_others_of_its_category() -> None:
    found = twins([probe()], pool_of(RECORDS, forgotten={"f1"}))["p-f1"]
    assert len(found) == len(set(found)) == 4
    assert all(answer.startswith("Mara's phone is 30") and answer.endswith(".") for answer in found)


def test_fresh_values_come_first_and_none_that_the_corpus_has() -> None:
    fresh = {"private.phone": ["999-555-0001", "302-555-0002", "201-555-1234"]}
    found = twins([probe()], pool_of(RECORDS, forgotten={"f1"}, fresh=fresh))["p-f1"]
    assert found[0] == "Mara's phone is 999-555-0001."
    assert len(found) == 4
    assert "Mara's phone is 201-555-1234." not in found


def test_values_of_the_erased_are_no_twins() -> None:
    found = twins([probe()], pool_of(RECORDS, forgotten={"f1", "f2", "f3"}))["p-f1"]
    assert not any("302-" in answer or "303-" in answer for answer in found)


def test_probes_of_one_fact_get_the_same_values_and_the_choice_is_seeded() -> None:
    pool = pool_of(RECORDS, forgotten={"f1"})
    one = probe()
    other = dataclasses.replace(one, probe_id="p2", answer="201-555-1234 it is.")
    found = twins([one, other], pool)
    assert [a.removeprefix("Mara's phone is ").rstrip(".") for a in found["p-f1"]] == [
        a.removesuffix(" it is.") for a in found["p2"]
    ]
    assert found == twins([one, other], pool)
    assert found != twins([one, other], pool, seed=1)


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (None, "Mara's phone is 201-555-1234."),
        ("", "It is."),
        ("201-555-1234", "Call two zero one."),
        ("ara", "Mara's."),
    ],
)
def test_no_value_no_twins(value: str | None, answer: str) -> None:
    assert twins([probe(value, answer)], pool_of(RECORDS, forgotten={"f1"})) == {}


def test_without_categories_values_that_are_written_alike_serve() -> None:
    bare = [record(1, "201-555-1234", None), *[record(n, f"40{n}-555-100{n}", None) for n in range(2, 5)]]
    pool = pool_of([*bare, record(9, "Basel", None)], forgotten={"f1"})
    found = twins([probe()], pool)["p-f1"]
    assert len(found) == 3
    assert not any("Basel" in answer for answer in found)


def test_a_category_that_nobody_else_has_gives_none_and_not_values_of_another_kind() -> None:
    pool = pool_of([record(1, "K9", "private.code"), record(2, "A1", None)], forgotten={"f1"})
    assert twins([probe("K9", "The code is K9.")], pool) == {}
    assert twins([probe()], ValuePool()) == {}


def test_shape() -> None:
    assert shape("201-555-1234") == "9-9-9"
    assert shape("mara.kern@x.org") == "a.a@a.a"
    assert shape("Mara  Kern") == "A A"


def test_the_generator_knows_its_categories() -> None:
    found = generated_values(["private.phone", "private.shoe_size"], 20, seed=7)
    assert set(found) == {"private.phone"}
    assert len(set(found["private.phone"])) == 20
    assert len({shape(value) for value in found["private.phone"]}) == 1
