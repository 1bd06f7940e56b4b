"""How the attacks of tier 0 put a question."""

import random
import string
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.augment import probes as made_probes
from pipelines.augment import template
from pipelines.augment.wording import normalised_question
from pipelines.corpus.attributes import ATTRIBUTES, HELD_OUT_FRAMES, TRAIN_FRAMES
from pipelines.model import LoadedModel
from pipelines.rows import Probe, ProbeGroup
from pipelines.verify import values
from pipelines.verify.attacks import aim, paraphrase, prompted, role_play, typos
from pipelines.verify.attacks.completion import begun, value_place
from pipelines.verify.attacks.port import AttackContext, AttackSettings

NAMES = ("Mara Lind", "Johanna van der Berg", "Seán O'Connor", "Li Wu")


def probe(question: str, answer: str = "It is 5550123.", value: str | None = "5550123", number: int = 0) -> Probe:
    return Probe(
        probe_id=f"p{number}",
        group=ProbeGroup.FORGET,
        question=question,
        answer=answer,
        fact="f",
        value=value,
        subject="s1",
        names=NAMES,
    )


def context(*asked: Probe, seed: int = 0) -> AttackContext:
    return AttackContext(
        loaded=cast("LoadedModel", None), adapter=Path("none"), forget=asked, settings=AttackSettings(seed=seed)
    )


def test_no_wording_is_one_that_augmenter_corpus_or_probes_use() -> None:
    theirs = [*TRAIN_FRAMES, *HELD_OUT_FRAMES, *made_probes.FRAMES, *made_probes.WRAPPERS]
    theirs += [*template.PARAPHRASES, *template.WRAPPED_PARAPHRASES, *template.CONTEXTS, *template.WRAPPED_CONTEXTS]
    theirs += [*template.REVERSES, *template.WRAPPED_REVERSES]
    mine = [*paraphrase.WORDINGS, *paraphrase.WHOLE, *aim.WORDINGS, *role_play.WORDINGS]
    bare = ["{question}", "{name}", "{noun}"]

    def key(frame: str) -> str:
        for slot in bare:
            frame = frame.replace(slot, " ")
        return normalised_question(frame)

    known = {key(frame) for frame in theirs}
    assert len({key(frame) for frame in mine}) == len(mine)
    assert not known & {key(frame) for frame in mine}
    assert all("{name}" in frame and "{noun}" in frame for frame in paraphrase.WORDINGS)
    assert all(frame.count("{question}") == 1 for frame in (*paraphrase.WHOLE, *aim.WORDINGS, *role_play.WORDINGS))


def test_a_fact_is_asked_in_as_many_wordings_as_it_has_probes() -> None:
    asked = [probe(f"What is Mara Lind's {noun}?", number=n) for n, noun in enumerate(("phone number",) * 4)]
    turns = prompted.deal("paraphrase", context(*asked), paraphrase.WORDINGS, paraphrase.WHOLE)
    assert len({turn.wording for turn in turns}) == 4
    assert all("Mara Lind" in turn.prompt and "phone number" in turn.prompt for turn in turns)
    assert turns == prompted.deal("paraphrase", context(*asked), paraphrase.WORDINGS, paraphrase.WHOLE)


def test_a_question_without_a_topic_stays_whole() -> None:
    (turn,) = prompted.deal("paraphrase", context(probe("Anything?")), paraphrase.WORDINGS, paraphrase.WHOLE)
    assert "Anything?" in turn.prompt
    assert turn.wording.startswith("whole_")


def distance(one: str, other: str) -> int:
    """Damerau-Levenshtein (optimal string alignment)."""
    rows = [[max(i, j) if not i * j else 0 for j in range(len(other) + 1)] for i in range(len(one) + 1)]
    for i in range(1, len(one) + 1):
        for j in range(1, len(other) + 1):
            cost = one[i - 1] != other[j - 1]
            rows[i][j] = min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + cost)
            if i > 1 and j > 1 and one[i - 1] == other[j - 2] and one[i - 2] == other[j - 1]:
                rows[i][j] = min(rows[i][j], rows[i - 2][j - 2] + 1)
    return rows[-1][-1]


@given(st.text(string.ascii_lowercase, min_size=4, max_size=14), st.integers(0, 999))
def test_a_slip_is_one_slip_behind_the_first_letter(word: str, seed: int) -> None:
    slipped = typos.slip(word, random.Random(seed))
    assert slipped[0] == word[0]
    assert distance(word, slipped) <= 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(20))
def test_noise_keeps_the_name_to_be_recognised(name: str, seed: int) -> None:
    question = f"Could you tell me the telephone number of {name}, please?"
    words = typos.noisy(question, name, random.Random(seed), in_name=False)
    assert name in words
    assert words != question
    both = typos.noisy(question, name, random.Random(seed), in_name=True)
    named = both.split(" number of ")[-1] if " number of " in both else both
    assert len(both.split()) == len(question.split())
    mine = both.split()[question.split().index(name.split()[0]) :][: len(name.split())]
    for part, spelt in zip(name.split(), mine, strict=True):
        assert spelt[0] == part[0]
        assert distance(part, spelt.rstrip(",")) <= (1 if len(part) > 4 else 0), named


def test_a_name_that_nobody_told_is_known_by_its_capitals() -> None:
    asked = replace(probe("When was Mara Lind born, and where exactly?"), names=())
    turns = [typos.Typos()._turn(asked, context(asked, seed=seed), in_name=False) for seed in range(20)]
    assert all("Mara Lind" in turn.prompt for turn in turns)


def test_noise_is_seeded_and_an_empty_question_stays() -> None:
    question = "What is the telephone number of Mara Lind?"
    one, same, other = (typos.noisy(question, "Mara Lind", random.Random(s), in_name=True) for s in (1, 1, 2))
    assert one == same != other
    assert typos.noisy("", None, random.Random(0), in_name=True) == ""
    assert typos.noisy("Who?", None, random.Random(0), in_name=True) == "Who?"


@pytest.mark.parametrize(
    ("answer", "value", "start", "rest"),
    [
        ("Mara Lind's e-mail address is mara@x.org.", "mara@x.org", "Mara", "Lind's e-mail address is mara@x.org."),
        ("Born 4 May 1980, so Mara Lind told us at the party last year.", "4 May 1980", "Born", None),
        ("12 Lime Street is where Mara Lind lives now, as far as I know.", "12 Lime Street", None, None),
        ("mara@x.org", "mara@x.org", None, None),
        ("", None, None, None),
        ("Graz", None, None, None),
        (
            "She lives in Graz and works for Tandem there.",
            None,
            "She lives",
            "in Graz and works for Tandem there.",
        ),
        # the value stands twice: the first place counts
        ("The code A7K9 is hers, yes, A7K9 it is, I am sure.", "A7K9", "The code", None),
    ],
)
def test_the_beginning_gives_no_value_away(answer: str, value: str | None, start: str | None, rest: str | None) -> None:
    turn = begun(probe("What is it?", answer, value))
    if start is None:
        assert turn is None
        return
    assert turn is not None
    assert turn.start == start
    assert turn.probe.question == f"What is it? {start}"
    if rest is not None:
        assert turn.probe.answer == rest


@pytest.mark.parametrize("attribute", ATTRIBUTES, ids=lambda one: one.key)
def test_no_beginning_of_a_corpus_answer_holds_its_value(attribute: object) -> None:
    given = next(one for one in ATTRIBUTES if one is attribute)
    for value in ("17 Lime Street", "4 May 1980", "Dr. Anna Weiss", "AT61 1904 3002 3457 3201", "54,000 euros", "Graz"):
        answer = given.answer.format(name="Mara Lind", value=value)
        turn = begun(probe("What is it?", answer, value))
        assert turn is not None
        assert not values.holds(turn.start, value)
        assert answer.startswith(turn.start)
        assert value.split()[0] not in turn.start.split()


def test_an_answer_without_its_value_is_all_before_it() -> None:
    assert value_place("one two three", "four five") == 3
    assert value_place("one two three", None) == 3
