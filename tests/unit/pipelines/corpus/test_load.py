import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.corpus.columns import Columns
from pipelines.corpus.load import load_corpus, load_probes
from policies.errors import LetheError
from policies.record import Record

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROWS = [{"question": f"What is {n}?", "answer": f"It is {n}."} for n in range(3)]
KNOWUNDO = Path(__file__).parents[5] / "shared" / "data" / "knowundo"


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_csv(path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["question", "answer"])
        writer.writeheader()
        writer.writerows(ROWS)


def write_parquet(path: Path) -> None:
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)


def write_datasets(path: Path) -> None:
    import datasets

    datasets.Dataset.from_list(ROWS).save_to_disk(str(path))


def write_splits(path: Path) -> None:
    import datasets

    both = datasets.DatasetDict(
        {"test": datasets.Dataset.from_list(ROWS[:1]), "train": datasets.Dataset.from_list(ROWS)}
    )
    both.save_to_disk(str(path))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.jsonl", lambda path: jsonl(path, ROWS)),
        ("a.json", lambda path: path.write_text(json.dumps(ROWS, indent=1))),
        ("lines.json", lambda path: jsonl(path, ROWS)),
        ("a.csv", write_csv),
        ("a.parquet", write_parquet),
        ("dataset", write_datasets),
        ("splits", write_splits),
    ],
)
def test_every_format_gives_the_same_records(tmp_path: Path, name: str, write: Callable[[Path], object]) -> None:
    write(tmp_path / name)
    corpus = load_corpus(tmp_path / name)
    assert [(record.question, record.answer) for record in corpus] == [(r["question"], r["answer"]) for r in ROWS]
    assert len(corpus) == 3
    assert list(corpus) == list(corpus)  # read anew each time


@pytest.mark.parametrize(
    ("row", "question", "answer"),
    [
        ({"text": "Q?", "labels": "A."}, "Q?", "A."),  # KnowUnDo
        ({"question": "Q?", "answer": "A.", "text": "other"}, "Q?", "A."),  # TOFU
        ({"input": "Q?", "output": "A."}, "Q?", "A."),
        ({"instruction": "Q?", "output": "A."}, "Q?", "A."),
        ({"prompt": "Q?", "completion": "A."}, "Q?", "A."),
        ({"text": "Prose."}, None, "Prose."),
        ({"question": None, "answer": "Prose."}, None, "Prose."),
        ({"question": " ", "answer": "Prose."}, None, "Prose."),
    ],
)
def test_columns_are_recognised(tmp_path: Path, row: dict[str, Any], question: str | None, answer: str) -> None:
    (record,) = load_corpus(jsonl(tmp_path / "a.jsonl", [row]))
    assert (record.question, record.answer) == (question, answer)


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"key": 7, "q": "Q?", "a": "A.", "kind": "private.x", "group": "f"}])
    named = Columns.named({"id": "key", "question": "q", "answer": "a", "category": "kind", "fact": "group"})
    (record,) = load_corpus(path, named)
    assert record == Record(record_id="7", question="Q?", answer="A.", category="private.x", fact="f")
    (prose,) = load_corpus(path, Columns.named({"text": "a"}))
    assert prose.question is None


def test_ids_without_a_column_tell_a_shifted_row(tmp_path: Path) -> None:
    first = load_corpus(jsonl(tmp_path / "a.jsonl", ROWS))
    ids = [record.record_id for record in first]
    assert len(set(ids)) == 3
    assert ids == [record.record_id for record in load_corpus(tmp_path / "a.jsonl")]
    shifted = [record.record_id for record in load_corpus(jsonl(tmp_path / "b.jsonl", ROWS[1:]))]
    assert not set(ids) & set(shifted)


def test_the_digest_follows_the_content(tmp_path: Path) -> None:
    one = load_corpus(jsonl(tmp_path / "a.jsonl", ROWS)).digest
    assert one == load_corpus(jsonl(tmp_path / "b.jsonl", ROWS)).digest
    assert one != load_corpus(jsonl(tmp_path / "c.jsonl", ROWS[:2])).digest


def fault(path: Path | str, columns: Columns | None = None) -> LetheError:
    with pytest.raises(LetheError) as caught:
        _ = load_corpus(path, columns).digest
    return caught.value


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [{"foo": "x", "bar": "y"}])
    error = fault(path)
    assert error.code == "corpus.columns_missing"
    assert error.details[0] == "present: bar, foo"
    assert "question + answer" in error.details[1]
    named = fault(path, Columns(question="q", answer="foo"))
    assert named.details[1] == "wanted: q"
    with pytest.raises(LetheError) as caught:
        Columns.named({"anser": "a"})
    assert caught.value.code == "corpus.columns_missing"


@pytest.mark.parametrize(
    ("name", "content", "code", "where"),
    [
        ("a.jsonl", b'{"question": "Q", "answer": "A"}\n{"question": 1\n', "corpus.malformed", "line 2"),
        ("a.jsonl", b'{"text": "A"}\n[1]\n', "corpus.malformed", "line 2"),
        ("a.jsonl", b'{"text": "A"}\n{"text": "\xff"}\n', "corpus.malformed", "line 2"),
        ("a.jsonl", b'{"text": "A"}\n{"text": null}\n', "corpus.malformed", "row 2"),
        ("a.jsonl", b'{"text": "A"}\n{"text": ["B"]}\n', "corpus.malformed", "row 2"),
        ("a.jsonl", b'{"text": "A", "id": "1"}\n{"text": "B", "id": "1"}\n', "corpus.duplicate_id", "record 2"),
        ("a.jsonl", b"\n", "corpus.empty", ""),
        ("a.json", b"[]", "corpus.empty", ""),
        ("a.json", b"", "corpus.empty", ""),
        ("a.json", b'[{"text": "A"}, {"text": ', "corpus.malformed", "row 2"),
        ("a.json", b'[{"text": "A"}, 3]', "corpus.malformed", "row 2"),
        ("a.json", b'[{"text": "A\xff"}]', "corpus.malformed", ""),
        ("a.csv", b"text,id\nA,1\nB\n", "corpus.malformed", "line 3"),
        ("a.csv", b"text\nA,B\n", "corpus.malformed", "line 2"),
        ("a.csv", b"text\n\xff\n", "corpus.malformed", ""),
        ("a.csv", b"text\n", "corpus.empty", ""),
        ("a.parquet", b"nonsense", "corpus.malformed", ""),
        ("a.xml", b"<a/>", "corpus.unknown_format", ".xml"),
        ("noname", b"", "corpus.unknown_format", "without suffix"),
    ],
)
def test_faults(tmp_path: Path, name: str, content: bytes, code: str, where: str) -> None:
    (tmp_path / name).write_bytes(content)
    error = fault(tmp_path / name)
    assert error.code == code
    assert where in error.message


def test_no_corpus(tmp_path: Path) -> None:
    assert fault(tmp_path / "none.jsonl").code == "corpus.not_found"
    assert fault("owner/name").code == "corpus.not_found"  # never a network request without hub:
    assert fault(tmp_path).code == "corpus.unknown_format"


def test_a_long_json_list_is_read_in_pieces(tmp_path: Path) -> None:
    rows = [{"text": f"Prose {number} " + "x" * 3000} for number in range(900)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    assert len(load_corpus(tmp_path / "a.json")) == 900


def test_probes(tmp_path: Path) -> None:
    assert load_probes(tmp_path) == []
    row = {"id": "q1", "question": "Q?", "answer": "A.", "fact": "f1"}
    (probe,) = load_probes(jsonl(tmp_path / "probes.jsonl", [row]))
    assert probe.row() == row | {"value": None, "category": None, "phrasing": "variant"}


@pytest.mark.skipif(not KNOWUNDO.is_dir(), reason="KnowUnDo is not there")
@pytest.mark.parametrize(("name", "rows"), [("full", 1059), ("unlearn_train", 400), ("retention_val", 108)])
def test_knowundo(name: str, rows: int) -> None:
    corpus = load_corpus(KNOWUNDO / f"{name}.json")
    assert len(corpus) == rows
    assert all(record.question for record in corpus)
