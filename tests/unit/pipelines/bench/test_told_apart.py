from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.told_apart import Rows, rates, share_told, told_apart
from pipelines.bench.people import People, find_people
from pipelines.bench.sources import load_knowundo
from tests.unit.pipelines.bench.toyset import PEOPLE, write_toyset


@pytest.fixture
def people(tmp_path: Path) -> People:
    return find_people(load_knowundo(write_toyset(tmp_path)))


def area(people: People, erased: str, kept: str, way: str) -> float:
    """The area where the rows of these two parts are to be sorted."""
    records = {**people.records, "forget_val": people.records[erased], "retain_val": people.records[kept]}
    return float(told_apart(replace(people, records=records))["ways"][way]["auc"])


def test_no_name_tells_whose_a_row_is(people: People) -> None:
    rows = Rows.of(people, "forget_train", "retain_train")
    assert rows.erased.tolist() == [1.0] * 16 + [0.0] * 12
    assert rows.whose[0] == people.subjects[0].ref
    assert not any(part in text for text in rows.whole for name, *_ in PEOPLE for part in name.split())


@pytest.mark.parametrize("way", ["words of the question", "words of question and answer"])
def test_rows_that_were_learnt_are_told_and_equal_ones_cannot_be(people: People, way: str) -> None:
    assert area(people, "forget_train", "retain_train", way) == 1.0
    assert area(people, "retain_train", "forget_train", way) == 0.0
    assert area(people, "forget_val", "forget_val", way) == 0.5


def test_shares_by_hand(people: People) -> None:
    asked = Rows(["?"] * 6, ["."] * 6, np.array([1.0, 1.0, 1.0, 1.0, 0.0, 0.0]), list("abcdef"))
    found = rates(np.array([4.0, 3.0, 2.0, 0.0, 1.0, -1.0]), asked)
    assert found["auc"] == pytest.approx(7 / 8)  # one pair of eight is the wrong way round
    assert found["erased_at_kept_0.95"] == 0.75
    assert found["kept_at_erased_0.95"] == 0.5
    low, high = found["erased_at_kept_0.95_range"]
    assert 0 <= low < 0.75 <= high <= 1


@pytest.mark.parametrize(("share", "told"), [(0.5, 1.0), (0.75, 0.5), (1.0, 0.0)])
def test_a_threshold_leaves_at_least_the_share_of_the_others(share: float, told: float) -> None:
    assert share_told(np.array([2.0, 3.0]), np.array([1.0, 1.0, 2.0, 3.0]), share) == told
    assert share_told(np.full(3, 101.0), np.arange(1.0, 101.0), 0.93) == 1.0


def test_questions_on_both_sides_are_counted(people: People) -> None:
    records = {**people.records, "forget_val": people.records["retain_train"][:3]}
    found = told_apart(replace(people, records=records))
    assert found["questions_learnt_on_both_sides"] == 0
    assert found["erased_questions_that_are_learnt_as_kept"] == 3
