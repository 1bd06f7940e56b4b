"""The matcher on a real index: hard cases by hand, and the generated corpus against its truth."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.corpus.evaluate import evaluate
from pipelines.corpus.generate import generate
from pipelines.corpus.index import SubjectIndex
from pipelines.corpus.indexing import build_index
from pipelines.corpus.load import load_corpus
from policies.errors import LetheError
from policies.identifiers import Identifiers
from policies.subjects import Level, SubjectMatches, find_subject

Index = Callable[[dict[str, str]], SubjectIndex]
MARTA = Identifiers(names=("Marta Rossi",), emails=("mr7@a.example",))


@pytest.fixture
def indexed(tmp_path: Path) -> Index:
    def build(texts: dict[str, str]) -> SubjectIndex:
        rows = [json.dumps({"id": name, "text": text}) for name, text in texts.items()]
        path = tmp_path / "records.jsonl"
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
        return build_index(load_corpus(path), tmp_path / "index.sqlite")

    return build


def levels(found: SubjectMatches) -> dict[str, str]:
    return {match.record_id: match.level.value for match in found.matches}


def reasons(found: SubjectMatches, record_id: str) -> set[str]:
    return next(set(match.reasons) for match in found.matches if match.record_id == record_id)


def test_an_email_alone_finds_everything(indexed: Index) -> None:
    index = indexed(
        {
            "a": "Marta Rossi's e-mail address is mr7@a.example.",
            "b": "Write to Marta Rossi at MR7@A.EXAMPLE today.",
            "c": "Marta Rossi likes tea.",
            "d": "Bounced: mr7@a.example",
            "e": "Anna Bell likes tea.",
        }
    )
    found = find_subject(Identifiers(emails=("mr7@a.example",)), index)
    assert levels(found) == {"a": "certain", "b": "certain", "c": "certain", "d": "certain"}
    assert found.names == (("marta", "rossi"),)
    assert reasons(found, "d") == {"email_exact"}


def test_one_record_is_little_to_link_by(indexed: Index) -> None:
    index = indexed({"a": "Bob Kern wrote to mr7@a.example.", "b": "Bob Kern likes tea."})
    found = find_subject(Identifiers(emails=("mr7@a.example",)), index)
    assert levels(found) == {"a": "certain", "b": "probable"}


def test_two_people_of_one_name_are_told_apart_by_their_mail(indexed: Index) -> None:
    index = indexed(
        {
            "a": "Marta Rossi's e-mail address is mr7@a.example.",
            "b": "Marta Rossi's e-mail address is other@b.example.",
            "c": "Marta Rossi likes tea.",
        }
    )
    found = find_subject(MARTA, index)
    assert levels(found) == {"a": "certain", "b": "ambiguous", "c": "ambiguous"}
    assert "other_email" in reasons(found, "b")
    assert "possible_namesake" in reasons(found, "c")
    by_name = find_subject(Identifiers(names=("Marta Rossi",)), index)
    assert set(levels(by_name).values()) == {"ambiguous"}


def test_a_middle_initial_tells_namesakes_apart(indexed: Index) -> None:
    texts = {f"t{n}": f"Eileen T. Lobato likes tea number {n}x." for n in range(3)}
    texts |= {f"g{n}": f"Eileen G. Lobato likes tea number {n}x." for n in range(3)}
    index = indexed(texts | {"bare": "Eileen Lobato lost an umbrella."})
    found = find_subject(Identifiers(names=("Eileen T. Lobato",)), index)
    assert levels(found) == {"t0": "certain", "t1": "certain", "t2": "certain", "bare": "ambiguous"}
    assert "namesake" in reasons(found, "bare")
    bare = find_subject(Identifiers(names=("Eileen Lobato",)), index)
    assert set(levels(bare).values()) == {"ambiguous"}
    assert len(bare.matches) == 7


def test_another_person_with_a_similar_name_is_not_a_slip(indexed: Index) -> None:
    texts = {f"m{n}": f"Marta Rossi's e-mail address is mr7@a.example, {n}x." for n in range(3)}
    texts |= {f"o{n}": f"Maria Rossi's e-mail address is maria@b.example, {n}x." for n in range(3)}
    index = indexed(texts | {"slip": "Martta Rossi called."})
    assert levels(find_subject(MARTA, index)) == {
        "m0": "certain", "m1": "certain", "m2": "certain", "slip": "probable"
    }  # fmt: skip


def test_a_spelling_that_fits_two_people_waits(indexed: Index) -> None:
    texts = {f"m{n}": f"Marta Rossi likes tea {n}x." for n in range(3)}
    texts |= {f"o{n}": f"Monica Rossi likes tea {n}x." for n in range(3)}
    index = indexed(texts | {"initial": "M. Rossi signed."})
    found = find_subject(Identifiers(names=("Marta Rossi",)), index)
    assert levels(found)["initial"] == "ambiguous"
    assert "several_fit" in reasons(found, "initial")
    assert not set(levels(found)) & {"o0", "o1", "o2"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("M. Rossi signed.", "name_initial"),
        ("Marta Rosssi signed.", "name_typo"),
        ("ROSSI Marta: file closed.", "name_order"),
        ("Marta Rossi Bianchi signed.", "name_variant"),
        ("yesterday marta rossi signed", "name_words"),
    ],
)
def test_other_spellings_are_probable(indexed: Index, text: str, reason: str) -> None:
    index = indexed({"a": "Marta Rossi likes tea.", "b": text, "c": "Anna Bell likes tea."})
    found = find_subject(Identifiers(names=("Rossi, Marta",)), index)
    assert levels(found) == {"a": "certain", "b": "probable"}
    assert reason in reasons(found, "b")


def test_a_short_form_is_probable_and_doubtful_with_its_own_mail(indexed: Index) -> None:
    index = indexed({"a": "Michael Swatek likes tea.", "b": "Mike Swatek left.", "c": "Anna Bell left."})
    assert levels(find_subject(Identifiers(names=("Michael Swatek",)), index)) == {"a": "certain", "b": "probable"}
    index = indexed({"a": "Michael Swatek likes tea.", "b": "Mike Swatek has ms@b.example."})
    assert levels(find_subject(Identifiers(names=("Michael Swatek",)), index)) == {"a": "certain", "b": "ambiguous"}


def test_a_shared_phone_needs_the_name(indexed: Index) -> None:
    texts = {f"a{n}": f"Ada Lunn likes tea {n}x." for n in range(3)}
    texts |= {f"b{n}": f"Bo Lunn likes tea {n}x." for n in range(3)}
    texts |= {
        "both": "Ada Lunn and Bo Lunn share 314-555-0148.",
        "mine": "Call Ada Lunn on 314-555-0148.",
        "theirs": "Call Bo Lunn on (314) 555-0148.",
        "nobody": "Call 314.555.0148 after six.",
    }
    found = levels(find_subject(Identifiers(names=("Ada Lunn",), phones=("+1 314 555 0148",)), indexed(texts)))
    assert found["both"] == found["mine"] == "certain"
    assert found["nobody"] == "ambiguous"
    assert "theirs" not in found


def test_an_address_alone_is_never_certain(indexed: Index) -> None:
    index = indexed(
        {"a": "Ada Lunn lives at 14 Harrow Lane.", "b": "A letter for 14 Harrow Lane.", "c": "Tea at 15 Harrow Lane."}
    )
    found = levels(find_subject(Identifiers(addresses=("14 Harrow Ln., Tibbon",)), index))
    assert found == {"a": "ambiguous" if found["a"] == "ambiguous" else "probable", "b": "probable"}


def test_identifiers_beside_the_name_lead_one_step_further(indexed: Index) -> None:
    index = indexed(
        {
            "a": "Marta Rossi's badge is KX-4817.",
            "b": "Marta Rossi lost badge KX-4817.",
            "c": "Badge KX4817 was found.",
            "d": "Badge AA-1111 was found.",
        }
    )
    found = find_subject(Identifiers(names=("Marta Rossi",)), index)
    assert levels(found) == {"a": "certain", "b": "certain", "c": "certain"}
    assert reasons(found, "c") == {"linked_id"}


def test_an_id_written_with_spaces_is_found(indexed: Index) -> None:
    index = indexed({"a": "The card kx 48 17 was found.", "b": "Nothing."})
    assert levels(find_subject(Identifiers(ids=("KX 48 17",)), index)) == {"a": "certain"}


def test_a_single_name_is_ambiguous(indexed: Index) -> None:
    index = indexed({"a": "Cher sang.", "b": "Nobody sang."})
    assert levels(find_subject(Identifiers(names=("Cher",)), index)) == {"a": "ambiguous"}


def test_nothing_to_search_by_and_nothing_found(indexed: Index) -> None:
    index = indexed({"a": "Marta Rossi likes tea."})
    with pytest.raises(LetheError) as caught:
        find_subject(Identifiers(emails=("nonsense",)), index)
    assert caught.value.code == "subject.no_identifier"
    assert find_subject(Identifiers(names=("Nobody Here",)), index).matches == ()


@pytest.mark.parametrize(("people", "seed", "phrasings"), [(12, 0, 8), (12, 1, 3), (24, 2, 3), (37, 3, 2), (200, 4, 1)])
def test_generated_people_are_all_found_and_certain_ones_are_right(
    tmp_path: Path, people: int, seed: int, phrasings: int
) -> None:
    generate(tmp_path, people, seed, phrasings=phrasings, probe_people=0)
    with build_index(load_corpus(tmp_path), tmp_path / "index.sqlite") as index:
        for only in (None, "emails", "names", "phones", "ids"):
            table = evaluate(tmp_path, index, only=only)
            assert table.people == people
            assert table.precision(Level.CERTAIN) == 1
            assert table.precision(Level.PROBABLE) == 1
            assert table.recall == 1
            if only is None:
                assert all(counts["ambiguous"] == 0 for case, counts in table.cases.items() if case == "plain")
