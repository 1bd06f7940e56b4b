import json
from pathlib import Path

import pytest

from pipelines.bench.people import find_people
from pipelines.bench.sources import load_knowundo, load_tofu
from policies.errors import LetheError
from tests.unit.pipelines.bench.toyset import PEOPLE, write_tofu, write_toyset

SHARED = Path(__file__).resolve().parents[5] / "shared" / "data" / "knowundo"


def change(directory: Path, name: str, rows: object) -> None:
    (directory / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")


def code_of(directory: Path) -> tuple[str, str]:
    with pytest.raises(LetheError) as caught:
        load_knowundo(directory)
    return caught.value.code, f"{caught.value.message} {' '.join(caught.value.details)}"


def test_the_parts_of_knowundo_are_read(tmp_path: Path) -> None:
    data = load_knowundo(write_toyset(tmp_path))
    assert data.sizes() == {"full": 36, "forget_train": 16, "forget_val": 4, "retain_train": 12, "retain_val": 4}
    assert data.unseen_val
    assert data.forget_train[0].question == "What is Mira Tarvik's email address?"


def test_a_missing_directory_and_a_missing_file_are_told(tmp_path: Path) -> None:
    assert code_of(tmp_path / "nowhere")[0] == "bench.data_not_found"
    write_toyset(tmp_path)
    (tmp_path / "unlearn_val.json").unlink()
    code, text = code_of(tmp_path)
    assert code == "bench.data_not_found"
    assert "unlearn_val" in text


@pytest.mark.parametrize(
    "rows",
    [
        [{"text": "Where does Mira Tarvik live?"}],
        [{"text": "Where does Mira Tarvik live?", "labels": 7}],
        [{"text": " ", "labels": "a house"}],
        ["Where does Mira Tarvik live?"],
        [],
    ],
)
def test_a_row_that_is_no_pair_of_texts_is_told_without_its_text(tmp_path: Path, rows: object) -> None:
    write_toyset(tmp_path)
    change(tmp_path, "unlearn_train", rows)
    code, text = code_of(tmp_path)
    assert code == "bench.data_malformed"
    assert "unlearn_train.json" in text
    assert "Mira" not in text


def test_a_file_that_is_no_json_is_told(tmp_path: Path) -> None:
    write_toyset(tmp_path)
    (tmp_path / "full.json").write_text("[{", encoding="utf-8")
    assert code_of(tmp_path)[0] == "bench.data_malformed"


def test_a_row_may_not_be_erased_and_kept(tmp_path: Path) -> None:
    write_toyset(tmp_path)
    rows = json.loads((tmp_path / "unlearn_train.json").read_text())
    kept = json.loads((tmp_path / "retention_val.json").read_text())
    change(tmp_path, "retention_val", [*kept, {"text": rows[0]["text"].upper(), "labels": "x y z"}])
    code, text = code_of(tmp_path)
    assert code == "bench.data_malformed"
    assert "1 questions are in forget_train and in retain_val" in text


def test_what_is_erased_must_have_been_learnt(tmp_path: Path) -> None:
    write_toyset(tmp_path)
    full = json.loads((tmp_path / "full.json").read_text())
    change(tmp_path, "full", full[1:])
    assert "not in full" in code_of(tmp_path)[1]


def test_tofu_is_scored_on_what_is_erased(tmp_path: Path) -> None:
    data = load_tofu(write_tofu(tmp_path), "forget10")
    assert not data.unseen_val
    assert data.forget_val == data.forget_train
    assert len(data.full) == len(data.forget_train) + len(data.retain_train)
    with pytest.raises(LetheError, match="forget01, forget05 and forget10") as caught:
        load_tofu(tmp_path, "forget50")
    assert caught.value.code == "bench.data_not_found"
    with pytest.raises(LetheError, match="forget05"):
        load_tofu(tmp_path, "forget05")


def test_rows_of_tofu_that_name_nobody_go_with_the_row_before(tmp_path: Path) -> None:
    people = find_people(load_tofu(write_tofu(tmp_path)))
    assert people.names == tuple(person[0] for person in PEOPLE)
    assert people.guessed == len(PEOPLE)
    for record in people.records["forget_train"]:
        if "which town" in (record.question or ""):
            number = int((record.question or "")[-2])
            assert people.about[record.record_id] == f"s{number + 1:02d}"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not beside this checkout")
def test_the_real_knowundo_is_read() -> None:
    data = load_knowundo(SHARED)
    assert data.sizes() == {
        "full": 1059,
        "forget_train": 400,
        "forget_val": 110,
        "retain_train": 441,
        "retain_val": 108,
    }
    people = find_people(data)
    assert len(people.subjects) == 55
    assert people.guessed == 0
    assert all(len(people.of("forget_val", subject.ref)) == 2 for subject in people.subjects)
