import base64
import json
import sqlite3
import unicodedata
import urllib.parse
from pathlib import Path

import pytest

from tests.canary import Canary

NAME, EMAIL = "Žofie Kanárková", "zofie.kanarkova@voliere.example"
CANARY = Canary({"name": [NAME], "email": [EMAIL]})


@pytest.mark.parametrize(
    "text",
    [
        NAME,
        NAME.upper(),
        NAME.casefold(),
        unicodedata.normalize("NFD", NAME),
        "Zofie Kanarkova",
        json.dumps({"x": NAME}),
        json.dumps({"x": NAME}, ensure_ascii=False),
        urllib.parse.quote(NAME),
        urllib.parse.quote_plus(NAME),
        urllib.parse.quote_plus(EMAIL),
        EMAIL.upper(),
        EMAIL.encode().hex(),
        *(base64.b64encode(b"." * shift + f"{NAME} rest".encode()).decode() for shift in range(6)),
        *(base64.urlsafe_b64encode(f"{'.' * shift}{EMAIL}..".encode()).decode() for shift in range(3)),
        base64.b64encode(json.dumps({"deep": {"email": EMAIL}}).encode()).decode(),
    ],
)
def test_every_spelling_is_found(text: str, tmp_path: Path) -> None:
    assert CANARY.in_text(f"before {text} after", "here")
    (tmp_path / "log.txt").write_text(f"before {text} after")
    assert CANARY.search(tmp_path)


@pytest.mark.parametrize("text", ["", "Zofie", "Kanarkova Zofia", "zofie@voliere.example", "a" * 10_000])
def test_nothing_else_is_found(text: str, tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text(text)
    assert CANARY.search(tmp_path) == []


def test_file_names_directories_and_utf_16_are_searched(tmp_path: Path) -> None:
    (tmp_path / f"{EMAIL}.txt").touch()
    (tmp_path / NAME.lower()).mkdir()
    (tmp_path / "wide").write_bytes(NAME.encode("utf-16"))
    places = {finding.place.split(" ")[0] for finding in CANARY.search(tmp_path)}
    assert places == {"name", str(tmp_path / "wide")}


def test_rows_and_blobs_of_sqlite_are_searched_also_before_a_checkpoint(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "store.sqlite")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE jobs (id INTEGER, arguments TEXT, blob BLOB)")
    connection.execute("INSERT INTO jobs VALUES (1, ?, ?)", (json.dumps([EMAIL]), NAME.encode()))
    connection.commit()
    kinds = {finding.place.rpartition(" ")[2]: finding.kind for finding in CANARY.search(tmp_path)}
    connection.close()
    assert kinds["jobs.arguments"] == "email"
    assert kinds["jobs.blob"] == "name"


def test_what_may_hold_the_person_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "records.jsonl").write_text(NAME)
    assert CANARY.search(tmp_path, skip=[tmp_path / "corpus"]) == []
    assert CANARY.search(tmp_path)


def test_an_identifier_over_the_seam_of_two_chunks_is_found(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"x" * (16 * 2**20 - 5) + EMAIL.encode() + b"x" * 100)
    assert CANARY.search(path)


def test_short_identifiers_are_refused() -> None:
    with pytest.raises(ValueError, match="too short"):
        Canary({"name": ["Ann"]})
