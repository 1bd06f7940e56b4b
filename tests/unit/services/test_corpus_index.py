"""The installation's index: built when it has to be, and never again with what was forgotten."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pipelines.corpus.load import Corpus
from policies.errors import LetheError
from services import corpus_index
from services.corpus_index import erase_from_index, index_path, note_erased, open_index
from services.installation import Installation
from services.settings import CorpusSettings
from services.store.tables import ErasedRecord
from tests.unit.services.place import Place


@pytest.fixture
def own(make_place: Callable[..., Place], corpus: Path, tmp_path: Path) -> Place:
    """A place whose corpus the test may change."""
    directory = tmp_path / "corpus"
    shutil.copytree(corpus, directory)
    return make_place(corpus={"path": str(directory)})


def stamp(place: Place) -> int:
    return index_path(place.installation).stat().st_mtime_ns


def ids(place: Place) -> set[str]:
    with closing(sqlite3.connect(index_path(place.installation))) as index:
        return {one for (one,) in index.execute("SELECT record_id FROM record")}


def add_record(place: Place, record_id: str = "extra") -> None:
    row = {"id": record_id, "question": "Who is new?", "answer": "Nobody.", "category": None}
    with Path(place.installation.settings.corpus.path, "records.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def test_an_index_that_fits_is_opened_and_not_built(place: Place) -> None:
    before = stamp(place)
    for _ in range(2):
        open_index(place.installation, place.store).close()
    assert stamp(place) == before


def test_a_corpus_that_changed_is_indexed_anew(own: Place) -> None:
    open_index(own.installation, own.store).close()
    assert "extra" not in ids(own)
    add_record(own)
    open_index(own.installation, own.store).close()
    assert "extra" in ids(own)


def test_a_corpus_that_did_not_change_is_not_read_again(own: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    open_index(own.installation, own.store).close()
    monkeypatch.setattr(Corpus, "digest", property(lambda _: pytest.fail("the corpus was read")))
    open_index(own.installation, own.store).close()


def test_an_index_that_cannot_be_read_is_built_anew(place: Place) -> None:
    before = ids(place)
    index_path(place.installation).write_bytes(b"cut")
    open_index(place.installation, place.store).close()
    assert ids(place) == before


def test_an_index_never_stands_there_with_forgotten_records_in_it(own: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = sorted(own.people[0].records)[:5]
    ticket_id = own.file(("name", own.people[0].names[0]))
    with own.store.write() as session:
        note_erased(session, ticket_id, gone)
    erase_from_index(own.installation, gone)
    add_record(own)
    with monkeypatch.context() as broken:
        broken.setattr(corpus_index, "remove_records", _crash)
        with pytest.raises(RuntimeError):
            open_index(own.installation, own.store)
    assert not ids(own) & set(gone)
    open_index(own.installation, own.store).close()
    assert not ids(own) & set(gone)
    assert "extra" in ids(own)


def _crash(*_: object) -> None:
    raise RuntimeError("a crash")


def test_forgotten_records_stay_out_of_every_later_index(own: Place) -> None:
    gone = sorted(own.people[0].records)[:20]
    ticket_id = own.file(("name", own.people[0].names[0]))
    for _ in range(2):
        with own.store.write() as session:
            note_erased(session, ticket_id, gone)
    erase_from_index(own.installation, gone)
    erase_from_index(own.installation, gone)
    assert not ids(own) & set(gone)
    add_record(own)
    open_index(own.installation, own.store).close()
    assert not ids(own) & set(gone)
    assert "extra" in ids(own)
    with own.store.read() as session:
        rows = session.query(ErasedRecord).all()
    assert len(rows) == 20
    assert not {row.record_digest for row in rows} & set(gone)


@pytest.mark.parametrize(("path", "code"), [("", "corpus.not_set"), ("/nowhere/at/all", "corpus.not_found")])
def test_no_corpus_is_a_clear_error(place: Place, path: str, code: str) -> None:
    settings = place.installation.settings.model_copy(update={"corpus": CorpusSettings(path=path)})
    with pytest.raises(LetheError) as caught:
        open_index(Installation(settings), place.store)
    assert caught.value.code == code
