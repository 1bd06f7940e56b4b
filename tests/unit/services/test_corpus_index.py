"""The installation's index: built when it has to be, and never again with what was forgotten."""

import json
import multiprocessing
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest

from pipelines.corpus.index import SubjectIndex
from pipelines.corpus.load import Corpus
from policies.errors import LetheError
from policies.identifiers import Kind
from services import corpus_index
from services.corpus_index import erase_from_index, index_path, note_erased, open_index
from services.installation import Installation
from services.settings import CorpusSettings, Settings
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


def add_record(place: Place, record_id: str = "extra", answer: str = "Nobody.") -> None:
    row = {"id": record_id, "question": "Who is new?", "answer": answer, "category": None}
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


def test_an_index_of_another_region_is_built_anew(own: Place) -> None:
    add_record(own, answer="Call 0171 1234567.")
    with open_index(own.installation, own.store) as index:
        assert (Kind.PHONE, "+491711234567") not in set(index.keys())
    settings = own.installation.settings
    german = settings.model_copy(update={"corpus": settings.corpus.model_copy(update={"region": "DE"})})
    for _ in range(2):
        with open_index(Installation(german), own.store) as index:
            assert index.region == "DE"
            assert (Kind.PHONE, "+491711234567") in set(index.keys())
    with open_index(own.installation, own.store) as index:
        assert index.region == "US"


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


def open_slowly(settings: Settings, builds: Path, begun: Event, go_on: Event) -> None:
    """Another process: opens the index; a build says that it began and goes on when it is told to."""
    build = vars(corpus_index)["build_index"]

    def waiting(corpus: Corpus, path: Path, **how: Any) -> SubjectIndex:
        with builds.open("a") as file:
            file.write("build\n")
        begun.set()
        go_on.wait(60)
        index: SubjectIndex = build(corpus, path, **how)
        return index

    vars(corpus_index)["build_index"] = waiting
    installation = Installation(settings)
    store = installation.open_store()
    open_index(installation, store).close()
    store.close()


@pytest.fixture
def others(own: Place, tmp_path: Path) -> tuple[Callable[[], BaseProcess], Event, Event]:
    """Starts another process on the place, which has no index; when one builds, and when it may go on."""
    spawn = multiprocessing.get_context("spawn")
    begun, go_on = spawn.Event(), spawn.Event()

    def start() -> BaseProcess:
        arguments = (own.installation.settings, tmp_path / "builds", begun, go_on)
        process = spawn.Process(target=open_slowly, args=arguments, daemon=True)
        process.start()
        return process

    return start, begun, go_on


def ended(process: BaseProcess) -> bool:
    process.join(60)
    return process.exitcode == 0


def test_of_two_that_start_at_once_one_builds_and_the_other_takes_it(
    own: Place, tmp_path: Path, others: tuple[Callable[[], BaseProcess], Event, Event]
) -> None:
    start, begun, go_on = others
    before = ids(own)
    index_path(own.installation).unlink()
    processes = [start(), start()]
    assert begun.wait(60)
    processes[0].join(1)  # the other comes to the lock meanwhile
    go_on.set()
    assert [ended(process) for process in processes] == [True, True]
    assert (tmp_path / "builds").read_text() == "build\n"
    assert ids(own) == before


def test_a_build_that_began_before_an_erasure_does_not_bring_it_back(
    own: Place, others: tuple[Callable[[], BaseProcess], Event, Event]
) -> None:
    start, begun, go_on = others
    open_index(own.installation, own.store).close()
    gone = sorted(own.people[0].records)[:5]
    ticket_id = own.file(("name", own.people[0].names[0]))
    add_record(own)
    process = start()
    assert begun.wait(60)
    with own.store.write() as session:
        note_erased(session, ticket_id, gone)
    erasing = threading.Thread(target=erase_from_index, args=(own.installation, gone))
    erasing.start()
    erasing.join(1)  # it waits for the build
    go_on.set()
    assert ended(process)
    erasing.join(60)
    assert "extra" in ids(own)
    assert not ids(own) & set(gone)


@pytest.mark.parametrize(("path", "code"), [("", "corpus.not_set"), ("/nowhere/at/all", "corpus.not_found")])
def test_no_corpus_is_a_clear_error(place: Place, path: str, code: str) -> None:
    settings = place.installation.settings.model_copy(update={"corpus": CorpusSettings(path=path)})
    with pytest.raises(LetheError) as caught:
        open_index(Installation(settings), place.store)
    assert caught.value.code == code
