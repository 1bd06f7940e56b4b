import json
from pathlib import Path

import pytest

from pipelines.corpus.attributes import ATTRIBUTES, TRAIN_FRAMES
from pipelines.corpus.fresh import fresh_people
from pipelines.corpus.generate import generate
from pipelines.corpus.load import load_corpus, load_probes
from pipelines.corpus.people import invent
from pipelines.corpus.values import ValueSource
from pipelines.rows import ProbeGroup
from policies.errors import LetheError

PEOPLE, SEED = 6, 3


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("corpus")
    generate(directory, people=PEOPLE, seed=SEED, phrasings=3)
    return directory


def test_nothing_of_them_stands_in_the_corpus(corpus: Path) -> None:
    texts = [record.text.casefold() for record in load_corpus(corpus)]
    probes = fresh_people(corpus, 12)
    assert len(probes) >= 1000
    for word in {str(one.value).casefold() for one in probes} | {name.casefold() for p in probes for name in p.names}:
        assert not [text for text in texts if f" {word} " in f" {text.strip('.?')} "], word
    assert len({name for one in probes for name in one.names}) == 12


def test_they_are_of_the_same_source_and_asked_in_the_same_way(corpus: Path) -> None:
    """The people that the corpus would have had next; exchangeable with those that it has."""
    next_ones = {one.name for one in invent(ValueSource(SEED), PEOPLE + 3, SEED, PEOPLE)}
    probes = fresh_people(corpus, 3)
    assert {name for one in probes for name in one.names} == next_ones
    private = {one.category for one in load_probes(corpus) if (one.category or "").startswith("private.")}
    assert len({one.fact for one in probes}) > 3 * (len(private) - 4)
    assert [one.phrasing for one in probes[:4]] == ["combination", "combination", "frame", "frame"]
    for one in probes:
        assert str(one.value) in one.answer
        assert one.names[0] in one.question
        assert one.names[0] in one.answer
        assert (one.group, one.subject) == (ProbeGroup.RETAIN, None)
    known = {one.fact for one in load_probes(corpus)} | {one.probe_id for one in load_probes(corpus)}
    assert not known & {word for one in probes for word in (one.fact, one.probe_id)}
    assert len({one.probe_id for one in probes}) == len(probes)


def test_in_the_form_of_the_rows(corpus: Path) -> None:
    rows = fresh_people(corpus, 2, form="trained")
    assert len(rows) == 3 * len({one.fact for one in rows})
    nouns = {noun for attribute in ATTRIBUTES for noun in attribute.nouns}
    for one in rows:
        assert any(
            one.question == frame.format(name=one.names[0], noun=noun) for frame in TRAIN_FRAMES for noun in nouns
        )
    assert not {one.probe_id for one in rows} & {one.probe_id for one in fresh_people(corpus, 2)}


def test_the_same_seed_gives_the_same_people_and_another_gives_others(corpus: Path) -> None:
    one, again, other = fresh_people(corpus, 2, 1), fresh_people(corpus, 2, 1), fresh_people(corpus, 2, 2)
    assert one == again
    assert not {p.names for p in one} & {p.names for p in other}
    group = {p.group for p in fresh_people(corpus, 1, group=ProbeGroup.FORGET)}
    assert group == {ProbeGroup.FORGET}


def test_whoever_stands_in_the_corpus_after_all_is_passed_over(corpus: Path, tmp_path: Path) -> None:
    first, second = (one for one in invent(ValueSource(SEED), PEOPLE + 2, SEED, PEOPLE))
    known = str(next(f.value for f in second.facts if f.attribute.key == "phone"))
    for file in corpus.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    added = [
        {"id": "x1", "question": f"Who is {first.name.upper()}?", "answer": "Nobody knows.", "category": "hedge"},
        {"id": "x2", "question": None, "answer": f"Call {known}.", "category": "private.note"},
    ]
    with (tmp_path / "records.jsonl").open("a") as records:
        records.writelines(json.dumps(row) + "\n" for row in added)
    found = fresh_people(tmp_path, 2)
    names = {name for one in found for name in one.names}
    assert first.name not in names
    assert second.name in names
    assert len(names) == 2
    assert known not in {one.value for one in found}
    assert known in {one.value for one in fresh_people(corpus, 2)}


def test_where_nobody_is_left_it_says_so(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.corpus.fresh._unknown", lambda *_: [])
    with pytest.raises(LetheError) as raised:
        fresh_people(corpus, 1)
    assert raised.value.code == "corpus.no_fresh_people"


@pytest.mark.parametrize("card", [None, "{", "{}"])
def test_a_corpus_of_ones_own_has_no_generator(tmp_path: Path, card: str | None) -> None:
    (tmp_path / "records.jsonl").write_text('{"id": "1", "question": "q", "answer": "a"}\n')
    if card is not None:
        (tmp_path / "card.json").write_text(card)
    with pytest.raises(LetheError) as raised:
        fresh_people(tmp_path, 1)
    assert raised.value.code == "control.corpus_not_generated"
    with pytest.raises(ValueError, match="at least one person"):
        fresh_people(tmp_path, 0)
