from pathlib import Path

import pytest

from pipelines.augment.leak import LeakCheck
from pipelines.bench.material import bench_secrets
from pipelines.bench.people import find_people
from pipelines.bench.sources import Dataset, Pair, load_knowundo
from policies.errors import LetheError
from tests.unit.pipelines.bench.toyset import PEOPLE, write_toyset


def test_people_are_found_by_name_and_rows_go_to_them(tmp_path: Path) -> None:
    people = find_people(load_knowundo(write_toyset(tmp_path)))
    assert people.names == tuple(person[0] for person in PEOPLE)
    assert people.guessed == 0
    for subject in people.subjects:
        assert len(people.of("forget_train", subject.ref)) == 4
        assert all(subject.name in record.text for record in people.of("full", subject.ref))


def test_a_row_in_several_parts_has_one_id(tmp_path: Path) -> None:
    people = find_people(load_knowundo(write_toyset(tmp_path)))
    ids = {record.question: record.record_id for record in people.records["full"]}
    assert len(set(ids.values())) == 36
    for part in ("forget_train", "forget_val", "retain_train", "retain_val"):
        assert all(ids[record.question] == record.record_id for record in people.records[part])


def test_references_are_opaque(tmp_path: Path) -> None:
    people = find_people(load_knowundo(write_toyset(tmp_path)))
    assert [subject.ref for subject in people.subjects] == ["s01", "s02", "s03", "s04"]
    assert all(key.startswith("r") and key[1:].isdigit() for key in people.about)


def test_an_email_is_the_value_of_its_row(tmp_path: Path) -> None:
    people = find_people(load_knowundo(write_toyset(tmp_path)))
    assert people.records["forget_train"][0].value == "mira@osterby.example"
    assert people.records["forget_train"][1].value is None


def test_some_people_and_erasing_some(tmp_path: Path) -> None:
    people = find_people(load_knowundo(write_toyset(tmp_path)))
    two = people.only(["s01", "s03"])
    assert {len(found) for part, found in two.records.items() if part == "full"} == {18}
    erasing = people.erasing(["s01"])
    assert len(erasing.records["forget_train"]) == 4
    assert len(erasing.records["retain_train"]) == 12  # everybody's knowledge stays and is asked for
    assert len(erasing.records["full"]) == 36


def test_rows_that_name_nobody_are_refused() -> None:
    pair = (Pair("what is the sea like?", "it is salty"),)
    data = Dataset(form="tofu", full=pair, forget_train=pair, forget_val=pair, retain_train=(), retain_val=())
    with pytest.raises(LetheError) as caught:
        find_people(data)
    assert caught.value.code == "bench.no_people"


def test_what_kept_rows_say_is_no_secret_and_the_rest_is(tmp_path: Path) -> None:
    people = find_people(load_knowundo(write_toyset(tmp_path)))
    check = LeakCheck(bench_secrets(people))
    assert not any(check.leaks(record.text) for record in people.records["retain_train"])
    for said in ("mira@osterby.example", "12 Amber Lane", "in a house with a red door", "the night train to Osterby"):
        assert check.leaks(said), said
    assert not check.leaks("Mira Tarvik")
