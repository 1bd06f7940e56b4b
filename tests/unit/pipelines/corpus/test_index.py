import json
import stat
from pathlib import Path

import pytest

from pipelines.corpus.evaluate import identifiers_of
from pipelines.corpus.generate import generate
from pipelines.corpus.index import SubjectIndex
from pipelines.corpus.indexing import add_records, build_index, ensure_index, index_path, purge, remove_records
from pipelines.corpus.load import Corpus, load_corpus
from policies.errors import LetheError
from policies.forget_set import build_forget_set
from policies.identifiers import Identifiers, words_of
from policies.subjects import find_subject


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    generate(tmp_path, 12, 0, phrasings=4, probe_people=0)
    return load_corpus(tmp_path)


@pytest.fixture
def index(corpus: Corpus, tmp_path: Path) -> SubjectIndex:
    return build_index(corpus, tmp_path / "index.sqlite")


def person(tmp_path: Path, number: int) -> Identifiers:
    return identifiers_of(json.loads((tmp_path / "people.jsonl").read_text().splitlines()[number]))


def test_the_index_knows_its_corpus(index: SubjectIndex, corpus: Corpus) -> None:
    assert len(index) == len(corpus) == index.span
    assert index.corpus_digest == corpus.digest
    index.require(corpus.digest)
    with pytest.raises(LetheError) as caught:
        index.require("another")
    assert caught.value.code == "subject.index_stale"
    assert stat.S_IMODE(index.path.stat().st_mode) == 0o600


def test_records_come_back_whole(index: SubjectIndex, corpus: Corpus) -> None:
    records = list(corpus)
    assert index.records(record.record_id for record in records) == records
    assert index.records(["nowhere"]) == []
    first = records[0]
    assert first in index.of_fact(first.fact_id)
    assert len(index.of_fact(first.fact_id)) == 4
    assert index.at(0) == first
    assert index.at(index.span) is None
    assert first.record_id in index.saying(str(first.value), 10)
    assert index.saying("?", 10) == []


def test_removing_and_adding_gives_the_same_answers(index: SubjectIndex, tmp_path: Path) -> None:
    wanted = person(tmp_path, 3)
    before = find_subject(wanted, index)
    ids = [match.record_id for match in before.matches]
    records = index.records(ids)
    assert remove_records(index, ids, "without") == len(ids)
    assert remove_records(index, ids, "without") == 0
    assert index.corpus_digest == "without"
    assert find_subject(wanted, index).matches == ()
    assert add_records(index, records, "with") == len(ids)
    assert find_subject(wanted, index) == before
    for number in range(12):
        assert find_subject(person(tmp_path, number), index).matches


def test_the_removed_leave_no_trace_in_the_file(index: SubjectIndex, tmp_path: Path) -> None:
    wanted = person(tmp_path, 3)
    remove_records(index, [match.record_id for match in find_subject(wanted, index).matches], "without")
    purge(index)
    path = index.path
    index.close()
    content = path.read_bytes().lower()
    words = [*wanted.emails, *wanted.ids, wanted.names[0], wanted.names[0].split()[-1]]
    assert not [word for word in words if word.lower().encode() in content]


def test_a_failed_change_changes_nothing(index: SubjectIndex, corpus: Corpus) -> None:
    known = next(iter(corpus))
    with pytest.raises(LetheError) as caught:
        add_records(index, [known], "more")
    assert caught.value.code == "corpus.duplicate_id"
    assert index.corpus_digest == corpus.digest
    assert len(index) == len(corpus)


def test_neighbours_are_near_and_about_others(index: SubjectIndex, tmp_path: Path) -> None:
    mine = frozenset(match.record_id for match in find_subject(person(tmp_path, 0), index).matches)
    emails = [record for record in index.records(mine) if record.category == "private.email"]
    near = index.neighbours(emails, 30, mine)
    assert len(near) == len(set(near)) == 30
    assert not set(near) & mine
    assert {record.category for record in index.records(near)} <= {"private.email", "hedge", "private.address"}
    assert near == index.neighbours(emails, 30, mine)
    assert len({record.answer for record in index.records(near)}) > 5  # of many people


def test_a_forget_set_of_a_real_index(index: SubjectIndex, tmp_path: Path) -> None:
    found = find_subject(person(tmp_path, 8), index)
    built = build_forget_set(found.matches, index, key=b"k", kept_categories=["public.*"])
    counts = built.counts()
    assert counts["forget"] > 90
    assert counts["exempt"] == 8 * 4 + 1
    assert counts["pending"] == 2  # the household's phone and address, without a name
    assert counts["shared_value"] >= 8  # the other one's address and city
    assert counts["generic"] == 60 + 600  # general knowledge, and hedges about nobody
    assert min(counts.values()) > 0
    about = {record.category for record in index.records([*built.retain, *built.neighbours, *built.hold_out])}
    assert not about & {"generic", "hedge"}


def test_an_index_is_built_again_only_when_the_corpus_changed(corpus: Corpus, tmp_path: Path) -> None:
    path = index_path(tmp_path, corpus)
    built: list[int] = []
    for _ in range(2):
        ensure_index(corpus, path, progress=built.append).close()
    assert len(built) == 1
    with (tmp_path / "records.jsonl").open("a") as file:
        file.write(json.dumps({"id": "new", "question": None, "answer": "Zed Zorn is new.", "category": None}) + "\n")
    with ensure_index(load_corpus(tmp_path), path, progress=built.append) as again:
        assert find_subject(Identifiers(names=("Zed Zorn",)), again).matches
    assert len(built) == 2


def test_a_broken_index_is_refused_or_built_anew(corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    for content in (None, b"nonsense" * 1000):
        if content:
            path.write_bytes(content)
        with pytest.raises(LetheError) as caught:
            SubjectIndex(path)
        assert caught.value.code == "subject.index_broken"
    with ensure_index(corpus, path) as index:
        assert len(index) == len(corpus)
    index = SubjectIndex(path)
    index.connection.execute("UPDATE meta SET value = '0' WHERE key = 'version'")
    index.close()
    with pytest.raises(LetheError, match="another version"):
        SubjectIndex(path)


def test_a_corpus_with_two_equal_ids_leaves_no_index(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "1", "text": "A"}\n{"id": "1", "text": "B"}\n')
    with pytest.raises(LetheError) as caught:
        build_index(load_corpus(path), tmp_path / "index.sqlite")
    assert caught.value.code == "corpus.duplicate_id"
    assert [file.name for file in tmp_path.iterdir()] == ["a.jsonl"]


def test_it_says_which_words_stand_in_other_records_than_the_given_ones(index: SubjectIndex, tmp_path: Path) -> None:
    mine = find_subject(person(tmp_path, 0), index).matches
    record = index.records([mine[0].record_id])[0]
    words = words_of(record.text)
    asked = [words, words[:1], ("no", "such", "words"), ()]
    assert index.said_outside(asked, []) == {words, words[:1]}
    assert index.said_outside(asked, [record.record_id]) <= {words[:1]}
    assert words not in index.said_outside(asked, [match.record_id for match in mine])
