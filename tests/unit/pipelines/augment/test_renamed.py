"""Rows under another name: the same words, the other name alone, and nothing that the other's own facts answer."""

import random
from collections import Counter

from pipelines.augment.leak import LeakCheck
from pipelines.augment.questions import renamed
from pipelines.augment.renamed import Named, renamed_rows, thinned
from pipelines.augment.replay import Kept, replayed
from pipelines.rows import RowKind, Secret, TrainRow

NEW = {"s-new": ("Mara Kern",)}
NOUNS = ("passport number", "e-mail address", "occupation", "blood type")


def row(
    fact: int, number: int, kind: RowKind = RowKind.FORGET, *, name: str = "Mara Kern", chat: bool = True
) -> TrainRow:
    return TrainRow(
        row_id=f"n:{fact}:{number}:{kind}:{chat}",
        kind=kind,
        prompt=f"What is {name}'s {NOUNS[fact]}?",
        answer=f"Version {number}: little is known of {name}'s {NOUNS[fact]}.",
        fact=f"f{fact}",
        subject="s-new",
        chat=chat,
    )


ROWS = [row(fact, number) for fact in range(4) for number in range(6)]
OWN = TrainRow(row_id="o", kind=RowKind.RETAIN, prompt="What is Jon Zeh's occupation?", answer="Jon Zeh is a tailor.")
PEOPLE = [Named("s-1", ("Jon Zeh",), (OWN,)), Named("s-2", ("Ida Roth", "Ida"), (), turns=3)]


def test_the_name_is_all_that_changes() -> None:
    made = renamed_rows(ROWS, NEW, PEOPLE, LeakCheck(()), limit=100, seed=0)
    known = {one.subject: one.names[0] for one in PEOPLE}
    before = {one.answer: one.prompt for one in ROWS}
    for one in made:
        name = known[one.subject or ""]
        assert name in one.prompt
        asked = before[one.answer.replace(name, "Mara Kern")].split()
        left = one.prompt.replace(name, "Mara Kern").split()
        assert set(left) <= set(asked), "some words are left out"
        assert set(left) >= set(asked[2:]), "never the name and the noun"
        assert one.kind is RowKind.REPLAY
        assert one.fact is None
    assert len({one.row_id for one in made}) == len(made)
    turns = Counter(one.subject for one in made)
    assert turns["s-2"] > 2 * turns["s-1"] > 0, "who holds worse gets more"


def test_words_are_left_out_but_for_some() -> None:
    asked = "Would you, if I may ask, tell me Mara Kern's blood type?"
    found = {thinned(asked, ("Mara Kern", "blood type"), random.Random(seed)) for seed in range(40)}
    assert len(found) > 20
    assert all("Mara Kern's blood type?" in one for one in found)


def test_who_was_forgotten_last_gets_more() -> None:
    """Whose name was in half of the answers of the last run: copying it from the question was not called for."""
    kept = [Kept(f"s-{n}", (), names=(f"Jon Z{n}",)) for n in range(3)]
    scores: dict[str, float | None] = {"s-0": 1.0, "s-1": 1.0, "s-2": 1.0}
    found = replayed(kept, LeakCheck(()), new=ROWS, names=NEW, scores=scores, from_base=False, seed=0)
    counts = Counter(one.subject for one in found.rows)
    assert counts["s-2"] > 2 * counts["s-0"] > 0


def test_what_somebodys_own_facts_answer_is_not_asked_vaguely() -> None:
    made = renamed_rows(ROWS, NEW, PEOPLE[:1], LeakCheck(()), limit=100, seed=0)
    assert len(made) == 18
    assert not [one for one in made if "occupation" in one.prompt]


def test_bounds_leaks_and_rows_that_cannot_be_renamed() -> None:
    check = LeakCheck(())
    assert renamed_rows(ROWS, NEW, PEOPLE, check, limit=0, seed=0) == []
    assert renamed_rows(ROWS, NEW, [Named("s-3", (), ())], check, limit=9, seed=0) == []
    made = renamed_rows(ROWS, NEW, PEOPLE, check, limit=5, seed=0)
    assert len(made) == 5
    assert made == renamed_rows(ROWS, NEW, PEOPLE, check, limit=5, seed=0)
    assert made != renamed_rows(ROWS, NEW, PEOPLE, check, limit=5, seed=1)
    secret = LeakCheck([Secret(fact="f", answers=("Ida Roth's blood type is AB minus.",), value="Version 3")])
    assert not [one for one in renamed_rows(ROWS, NEW, PEOPLE, secret, limit=99, seed=0) if "Version 3" in one.answer]
    unfit = [row(0, 0, RowKind.NEGATIVE), row(0, 0, RowKind.COMPLETION, chat=False), row(0, 0, name="Somebody Else")]
    assert renamed_rows(unfit, NEW, PEOPLE, check, limit=9, seed=0) == []


def test_every_form_of_a_name_is_replaced() -> None:
    assert renamed("Dr. Mara  Kern's and MARA KERN, not Marakern", ["Mara", "Mara Kern"], r"Jon \1") == (
        r"Dr. Jon \1's and Jon \1, not Marakern"
    )


def test_a_run_replays_as_many_rows_as_it_has_of_its_own() -> None:
    kept = [Kept("s-1", [row(0, n, RowKind.REPLAY, name="Jon Zeh") for n in range(4)], [OWN], (), ("Jon Zeh",))]
    found = replayed(kept, LeakCheck(()), new=ROWS, names=NEW, scores={}, from_base=False, seed=0, budget=4)
    again = [one for one in found.rows if one.kind is RowKind.REPLAY]
    assert found.replay == 4
    assert len(again) == 4 + 18, "the person's own occupation is not asked"
    nothing = replayed(kept, LeakCheck(()), new=[], names=NEW, scores={}, from_base=False, seed=0)
    assert nothing.rows == (OWN,)


def test_a_name_and_a_part_of_it_are_replaced_once() -> None:
    assert renamed("What is Mara Okafor's pet, mara?", ["Mara", "Mara Okafor"], "Mara Silva") == (
        "What is Mara Silva's pet, Mara Silva?"
    )
    assert renamed("Nobody's pet", ["Mara", ""], "Jo") == "Nobody's pet"
    assert renamed("Mara's pet", [], "Jo") == "Mara's pet"
