"""Every source of records keeps one contract: counted, deleted, counted again, and nothing else changed."""

import csv
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine, text

from policies.errors import LetheError
from services.deletion.datasets_directory import DatasetsSource
from services.deletion.files import FileSource
from services.deletion.port import Source
from services.deletion.sql import SqlSource
from tests.postgres import postgres_server

KEY = b"k" * 32
ROWS = [
    {
        "id": str(100 + n),
        "question": f'Who lives at "{n}",\nand why?',
        "answer": f"Person {n} – ja",
        "fact": f"f{n // 2}",
    }
    for n in range(12)
]
GONE = ("103", "104", "111")
Make = Callable[[Path], tuple[Source, Callable[[], list[str]]]]


def jsonl(path: Path) -> tuple[Source, Callable[[], list[str]]]:
    file = path / "data.jsonl"
    lines = [json.dumps(row, ensure_ascii=bool(n % 2)) for n, row in enumerate(ROWS)]
    file.write_text("\n".join(lines))  # no line feed at the end
    return FileSource(file), lambda: [json.loads(line)["id"] for line in file.read_text().splitlines() if line]


def comma_separated(path: Path) -> tuple[Source, Callable[[], list[str]]]:
    file = path / "data.csv"
    with file.open("w", newline="", encoding="utf-8-sig") as out:
        writer = csv.DictWriter(out, fieldnames=list(ROWS[0]), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(ROWS)

    def left() -> list[str]:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            return [row["id"] for row in csv.DictReader(lines)]

    return FileSource(file), left


def data_set(path: Path) -> tuple[Source, Callable[[], list[str]]]:
    import datasets

    place = path / "set"
    half = {"train": datasets.Dataset.from_list(ROWS[:8]), "test": datasets.Dataset.from_list(ROWS[8:])}
    datasets.DatasetDict(half).save_to_disk(str(place))

    def left() -> list[str]:
        loaded = datasets.load_from_disk(str(place))
        return [row["id"] for split in ("train", "test") for row in loaded[split]]

    return DatasetsSource(place), left


def one_split(path: Path) -> tuple[Source, Callable[[], list[str]]]:
    import datasets

    place = path / "set"
    datasets.Dataset.from_list(ROWS).save_to_disk(str(place))
    return DatasetsSource(place), lambda: list(datasets.load_from_disk(str(place))["id"])


def table(path: Path) -> tuple[Source, Callable[[], list[str]]]:
    file = path / "data.sqlite"
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, question TEXT, answer TEXT)")
        database.executemany("INSERT INTO people VALUES (:id, :question, :answer)", ROWS)
    database.close()

    def left() -> list[str]:
        connection = sqlite3.connect(file)
        found = [str(one) for (one,) in connection.execute("SELECT id FROM people ORDER BY id")]
        connection.close()
        return found

    return SqlSource(f"sqlite:///{file}", "people", "id"), left


MAKERS: dict[str, Make] = {
    "jsonl": jsonl,
    "csv": comma_separated,
    "datasets": data_set,
    "one split": one_split,
    "sql": table,
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


def server_table(url: str) -> tuple[Source, Callable[[], list[str]]]:
    """A table of a real PostgreSQL, in a schema of its own."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA IF EXISTS support CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA support")
        connection.exec_driver_sql("CREATE TABLE support.messages (id TEXT PRIMARY KEY, question TEXT, answer TEXT)")
        insert = text("INSERT INTO support.messages VALUES (:id, :question, :answer)")
        connection.execute(insert, [{key: row[key] for key in ("id", "question", "answer")} for row in ROWS])

    def left() -> list[str]:
        with engine.connect() as connection:
            found = connection.exec_driver_sql("SELECT id FROM support.messages ORDER BY id")
            return [str(one) for (one,) in found]

    return SqlSource(url, "support.messages", "id"), left


@pytest.fixture(params=[*MAKERS, "postgresql"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Source, Callable[[], list[str]]]]:
    if request.param == "postgresql":
        source, left = server_table(request.getfixturevalue("server"))
    else:
        source, left = MAKERS[request.param](tmp_path)
    yield source, left
    if isinstance(source, SqlSource):
        source.close()


def test_counted_deleted_and_counted_again(made: tuple[Source, Callable[[], list[str]]]) -> None:
    source, left = made
    asked = (*GONE, "no-such-record")
    before = source.census(asked, KEY)
    assert (before.rows, before.found) == (12, 3)
    assert left() == [row["id"] for row in ROWS], "a census changes nothing"
    assert source.delete(asked) == 3
    after = source.census(asked, KEY)
    assert (after.rows, after.found, after.content) == (9, 0, None)
    assert after.rest == before.rest, "nothing else was changed"
    assert left() == [row["id"] for row in ROWS if row["id"] not in GONE]
    assert source.delete(asked) == 0, "twice is once"
    assert source.census(asked, KEY) == after


def test_a_change_of_another_row_shows(made: tuple[Source, Callable[[], list[str]]]) -> None:
    source, _ = made
    before = source.census(GONE, KEY)
    source.delete(["100"])
    assert source.census(GONE, KEY).rest != before.rest
    assert source.census(GONE, KEY).content == before.content


def test_digests_are_keyed(made: tuple[Source, Callable[[], list[str]]]) -> None:
    source, _ = made
    one, other = source.census(GONE, KEY), source.census(GONE, b"x" * 32)
    assert one.content != other.content
    assert one.rest != other.rest


@pytest.mark.parametrize("name", ["jsonl", "csv"])
def test_every_byte_of_the_other_rows_stays(name: str, tmp_path: Path) -> None:
    source, _ = MAKERS[name](tmp_path)
    assert isinstance(source, FileSource)
    rows = [(row["id"] if row else None, raw) for row, raw in source._read(source.path)]
    assert b"".join(raw for _, raw in rows) == source.path.read_bytes()
    source.path.chmod(0o640)
    source.delete(GONE)
    assert source.path.read_bytes() == b"".join(raw for one, raw in rows if one not in GONE)
    assert source.path.stat().st_mode & 0o777 == 0o640
    assert [file.name for file in tmp_path.iterdir()] == [source.path.name]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.jsonl", '{"text": "x"}\n', "deletion.no_ids"),
        ("a.jsonl", "{\n", "corpus.malformed"),
        ("a.jsonl", "[1]\n", "corpus.malformed"),
        ("a.csv", "id,a\n1\n", "corpus.malformed"),
        ("a.csv", "text\nx\n", "deletion.no_ids"),
        ("a.parquet", "", "deletion.unsupported"),
    ],
)
def test_a_file_that_cannot_be_searched_is_named_and_left_alone(
    name: str, content: str, code: str, tmp_path: Path
) -> None:
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(LetheError) as caught:
        FileSource(file).delete(["1"])
    assert caught.value.code == code
    assert file.read_text() == content


def test_two_do_not_rewrite_one_file_at_once(tmp_path: Path) -> None:
    import fcntl

    source, left = jsonl(tmp_path)
    assert isinstance(source, FileSource)
    with source.path.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(LetheError) as caught:
            source.delete(GONE)
    assert caught.value.code == "deletion.source_busy"
    assert len(left()) == 12


def test_a_file_that_is_written_to_meanwhile_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, left = jsonl(tmp_path)
    assert isinstance(source, FileSource)
    reader = source._read

    def slowly(path: Path) -> Iterator[tuple[dict[str, object] | None, bytes]]:
        yield from reader(path)
        with path.open("a") as file:
            file.write('\n{"id": "200", "fact": "f"}')

    monkeypatch.setattr(source, "_read", slowly)
    with pytest.raises(LetheError) as caught:
        source.delete(GONE)
    assert caught.value.code == "deletion.source_changed"
    assert left()[-1] == "200"
    assert len(left()) == 13


def test_another_name_of_the_file_would_keep_the_records(tmp_path: Path) -> None:
    source, _ = jsonl(tmp_path)
    assert isinstance(source, FileSource)
    (tmp_path / "twin.jsonl").hardlink_to(source.path)
    with pytest.raises(LetheError) as caught:
        source.delete(GONE)
    assert caught.value.code == "deletion.refused"


def test_probes_beside_a_corpus_go_with_their_facts(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    probes = [{"id": f"p{n}", "fact": f"f{n}", "question": "q", "answer": "a"} for n in range(6)]
    (tmp_path / "probes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in probes))
    FileSource(tmp_path).delete(["102", "103", "104"])  # all of f1, half of f2
    kept = [json.loads(line)["fact"] for line in (tmp_path / "probes.jsonl").read_text().splitlines()]
    assert kept == ["f0", "f2", "f3", "f4", "f5"]


def test_cache_files_of_a_data_set_go_too(tmp_path: Path) -> None:
    source, _ = data_set(tmp_path)
    assert isinstance(source, DatasetsSource)
    cache = source.path / "train" / "cache-0123.arrow"
    cache.write_bytes(b"a cache with the person in it")
    source.delete(GONE)
    assert source.path.is_dir()
    assert not cache.exists()


def test_a_crash_between_the_renames_of_a_data_set_is_mended(tmp_path: Path) -> None:
    source, left = data_set(tmp_path)
    assert isinstance(source, DatasetsSource)
    source.path.rename(source._beside("old"))
    assert DatasetsSource(source.path).census(GONE, KEY).found == 3
    assert DatasetsSource(source.path).delete(GONE) == 3
    assert len(left()) == 9


@pytest.mark.parametrize("asked", ["007", "+7", "7.0", "1_0", "٧", "99999999999999999999"])
def test_an_id_that_only_looks_like_a_number_is_nobodys(tmp_path: Path, asked: str) -> None:
    file = tmp_path / "data.sqlite"
    with sqlite3.connect(file) as database:
        database.executescript(
            "CREATE TABLE people (id INTEGER PRIMARY KEY); INSERT INTO people VALUES (7), (10), (-3);"
        )
    database.close()
    source = SqlSource(f"sqlite:///{file}", "people", "id")
    before = source.census([asked], KEY)
    assert before.found == source.delete([asked]) == 0
    assert source.census([asked], KEY) == before
    assert source.census(["-3"], KEY).found == source.delete(["-3"]) == 1
    source.close()


def test_rows_that_a_collation_takes_along_are_left(tmp_path: Path) -> None:
    file = tmp_path / "data.sqlite"
    with sqlite3.connect(file) as database:
        database.executescript(
            "CREATE TABLE people (id TEXT COLLATE NOCASE); INSERT INTO people VALUES ('a-1'), ('A-1');"
        )
    database.close()
    source = SqlSource(f"sqlite:///{file}", "people", "id")
    with pytest.raises(LetheError) as caught:
        source.delete(["a-1"])
    assert caught.value.code == "deletion.other_rows"
    assert source.census(["a-1", "A-1"], KEY).found == source.delete(["a-1", "A-1"]) == 2
    source.close()


def test_rows_that_others_refer_to_are_refused_whole(tmp_path: Path) -> None:
    file = tmp_path / "data.sqlite"
    with sqlite3.connect(file) as database:
        database.executescript(
            "CREATE TABLE people (id TEXT PRIMARY KEY);"
            "CREATE TRIGGER keep BEFORE DELETE ON people WHEN old.id = '2'"
            " BEGIN SELECT RAISE(ABORT, 'Anna is kept'); END;"
            "INSERT INTO people VALUES ('1'), ('2');"
        )
    database.close()
    source = SqlSource(f"sqlite:///{file}", "people", "id")
    with pytest.raises(LetheError) as caught:
        source.delete(["1", "2"])
    assert caught.value.code == "deletion.refused"
    assert "Anna" not in str(caught.value.body())
    assert source.census(["1", "2"], KEY).found == 2
    source.close()


@pytest.mark.parametrize(
    ("url", "name", "column", "code"),
    [
        ("sqlite:///{}/none/x.sqlite", "t", "id", "deletion.source_unreachable"),
        ("sqlite:///{}/x.sqlite", "t", "id", "deletion.source_unreachable"),
        ("nosuch://x", "t", "id", "deletion.source_unreachable"),
        ("postgresql+psycopg://nobody@127.0.0.1:1/x", "t", "id", "deletion.source_unreachable"),
    ],
)
def test_a_database_that_cannot_be_searched_is_named(
    url: str, name: str, column: str, code: str, tmp_path: Path
) -> None:
    def search() -> None:
        with closing(SqlSource(url.format(tmp_path), name, column)) as source:
            source.census(["1"], KEY)

    with pytest.raises(LetheError) as caught:
        search()
    assert caught.value.code == code
