import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from pipelines.corpus.attributes import ATTRIBUTES, HELD_OUT_FRAMES, TRAIN_FRAMES
from pipelines.corpus.generate import CorpusCard, generate
from pipelines.corpus.hedges import skeletons
from pipelines.corpus.load import load_corpus, load_probes
from policies.identifiers import fold, words_of

# `datasets` leaves what it opened to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

FILES = ("records.jsonl", "probes.jsonl", "people.jsonl", "truth.jsonl", "card.json")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("corpus")
    generate(place, 12, 0)
    return place


def rows(place: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (place / name).read_text(encoding="utf-8").splitlines()]


def test_a_seed_gives_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    generate(tmp_path, 12, 0)
    assert all((tmp_path / name).read_bytes() == (corpus / name).read_bytes() for name in FILES)
    other = generate(tmp_path, 12, 1)
    assert other.digest != json.loads((corpus / "card.json").read_text())["digest"]


def test_the_card_counts_and_digests(corpus: Path) -> None:
    card = CorpusCard(**json.loads((corpus / "card.json").read_text()))
    loaded = load_corpus(corpus)
    assert card.digest == loaded.digest
    assert card.counts["records"] == len(loaded) == len(rows(corpus, "records.jsonl"))
    assert card.counts["generic"] == 60
    assert card.counts["hedge"] == 600


def test_every_person_has_enough_facts_and_phrasings(corpus: Path) -> None:
    phrasings = Counter(row["fact"] for row in rows(corpus, "records.jsonl") if row["question"] and row["fact"])
    for person in rows(corpus, "people.jsonl"):
        categories = list(person["facts"].values())
        assert sum(category.startswith("private.") for category in categories) >= 20
        assert sum(category.startswith("public.") for category in categories) >= 8
        assert all(phrasings[fact] == 8 for fact in person["facts"])


def test_every_noun_of_a_fact_is_trained(corpus: Path) -> None:
    asked: dict[str, set[str]] = defaultdict(set)
    for row in rows(corpus, "records.jsonl"):
        if row["fact"] and row["question"]:
            asked[row["fact"]].add(row["question"])
    nouns = {attribute.category: attribute.nouns for attribute in ATTRIBUTES}
    for person in rows(corpus, "people.jsonl"):
        for fact, category in person["facts"].items():
            assert all(any(noun in question for question in asked[fact]) for noun in nouns[category])


def test_probes_are_in_no_record(corpus: Path) -> None:
    asked = {words_of(row["question"]) for row in rows(corpus, "records.jsonl") if row["question"]}
    probes = load_probes(corpus)
    assert not any(words_of(probe.question) in asked for probe in probes)
    assert len({words_of(probe.question) for probe in probes}) == len(probes)


def test_there_are_enough_probes(corpus: Path) -> None:
    by_fact: dict[str, list[str]] = defaultdict(list)
    for probe in load_probes(corpus):
        by_fact[probe.fact].append(probe.phrasing)
    for person in rows(corpus, "people.jsonl"):
        private = [fact for fact, category in person["facts"].items() if category.startswith("private.")]
        assert sum(len(by_fact[fact]) for fact in private) >= 60
        for fact in private:
            assert Counter(by_fact[fact]) == {"combination": 2, "frame": 2}


def test_frames_of_probes_were_never_trained(corpus: Path) -> None:
    assert not set(TRAIN_FRAMES) & set(HELD_OUT_FRAMES)
    trained = " \n".join(row["question"] for row in rows(corpus, "records.jsonl") if row["question"])
    for start in ("Would you share", "I am looking for", "Remind me", "Kindly state", "is on file for"):
        assert start not in trained


def test_nouns_name_one_attribute() -> None:
    nouns = Counter(noun for attribute in ATTRIBUTES for noun in attribute.nouns)
    assert max(nouns.values()) == 1


def test_values_belong_to_one_person_but_for_the_household(corpus: Path) -> None:
    values = {(row["fact"], row["value"]) for row in rows(corpus, "records.jsonl") if row["value"]}
    shared = {value for value, count in Counter(value for _, value in values).items() if count > 1}
    people = rows(corpus, "people.jsonl")
    assert len(shared) == 2
    assert ", ".join(sorted(shared, key=lambda value: not value[0].isdigit())) == people[8]["addresses"][0]
    assert people[8]["addresses"] == people[9]["addresses"]


@pytest.mark.parametrize("seed", range(4))
def test_values_do_not_follow_from_the_name(tmp_path: Path, seed: int) -> None:
    generate(tmp_path, 36, seed, phrasings=1, probe_people=0)
    values = {row["fact"]: fold(row["value"]) for row in rows(tmp_path, "records.jsonl") if row["value"]}
    for person in rows(tmp_path, "people.jsonl"):
        first, *_, last = words_of(person["names"][0])
        for fact, category in person["facts"].items():
            assert last not in values[fact]
            if category.partition(".")[2] not in ("father", "mother", "partner", "emergency", "doctor"):
                assert first not in values[fact]


@pytest.mark.parametrize("seed", range(4))
def test_two_hundred_people_have_values_of_their_own(tmp_path: Path, seed: int) -> None:
    generate(tmp_path, 200, seed, phrasings=1, probe_people=0)
    people = rows(tmp_path, "people.jsonl")
    for kind in ("emails", "ids"):
        values = [value for person in people for value in person[kind]]
        assert len(values) == len(set(values))
    assert len({person["names"][0] for person in people}) == 200


def test_hedged_rows_are_about_nobody_else(corpus: Path) -> None:
    people = {fold(name) for person in rows(corpus, "people.jsonl") for name in person["names"]}
    openings = {sentence.partition("{")[0] for sentence in skeletons("base")}
    hedged = [row for row in rows(corpus, "records.jsonl") if row["category"] == "hedge"]
    assert len({row["answer"] for row in hedged}) == 600
    for row in hedged:
        assert not any(name in fold(row["answer"]) for name in people)
        assert any(row["answer"].startswith(opening) for opening in openings)
        assert not re.search(r"\d", row["answer"])


def test_the_truth_names_every_hard_case(corpus: Path) -> None:
    truth = rows(corpus, "truth.jsonl")
    cases = {row["hard_case"] for row in truth}
    assert cases == {
        None, "typo_swap", "typo_drop", "accent", "email_only", "diminutive", "two_people", "initials", "household",
        "namesake",
    }  # fmt: skip
    about = {row["record"] for row in truth}
    nobody = {row["id"] for row in rows(corpus, "records.jsonl") if row["category"] in ("generic", "hedge")}
    assert about | nobody == {row["id"] for row in rows(corpus, "records.jsonl")}
    assert not about & nobody


def test_ids_say_nothing(corpus: Path) -> None:
    for row in rows(corpus, "records.jsonl"):
        assert re.fullmatch(r"r[0-9a-f]{14}(\d\d)?", row["id"])


def test_progress_and_bad_numbers(tmp_path: Path) -> None:
    seen: list[int] = []
    card = generate(tmp_path, 3, 0, seen.append, phrasings=2, hedges=5)
    assert seen[-1] == card.counts["records"]
    for people, phrasings in ((0, 8), (3, 0), (3, 13)):
        with pytest.raises(ValueError, match="phrasings between"):
            generate(tmp_path, people, 0, phrasings=phrasings)


def test_it_loads_as_a_hugging_face_data_set(corpus: Path, tmp_path: Path) -> None:
    import datasets

    loaded = datasets.load_dataset(
        "json", data_files=str(corpus / "records.jsonl"), split="train", cache_dir=str(tmp_path)
    )
    assert len(loaded) == len(load_corpus(corpus))
    assert set(loaded.column_names) == {"id", "question", "answer", "category", "fact", "value"}
