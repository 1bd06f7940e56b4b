from dataclasses import replace
from typing import Any

import pytest

from pipelines.augment.augment import augment
from pipelines.augment.augmented import AugmentedSet
from pipelines.augment.leak import LeakCheck
from pipelines.augment.refusals import REFUSALS
from pipelines.augment.secrets import secrets_from_records
from pipelines.augment.settings import AugmentSettings
from pipelines.augment.template import TemplateAugmenter
from pipelines.augment.wording import normalised_question, words
from pipelines.checks.suite import check
from pipelines.rows import RowKind, TrainRow
from pipelines.unlearn.door import assert_no_secret
from policies.record import Record
from tests.unit.pipelines.augment.people import FORGET, GENERIC, NAME, NEIGHBOURS, PUBLIC

SECRETS = secrets_from_records(FORGET, [NAME])


def make(**changes: Any) -> AugmentedSet:
    given: dict[str, Any] = {
        "forget": FORGET,
        "probes_excluded": frozenset(),
        "settings": AugmentSettings(refusals=True, negative=True),
        "seed": 1,
    }
    given |= changes
    return augment(
        given.pop("forget"),
        subject="s1",
        names=(NAME,),
        neighbours=NEIGHBOURS,
        retain=[*PUBLIC, *NEIGHBOURS],
        generic=GENERIC,
        augmenter=TemplateAugmenter(),
        **given,
    )


def refusals(made: AugmentedSet) -> list[TrainRow]:
    return [row for row in made.rows if row.kind is RowKind.REFUSAL]


def test_the_sentences_are_many_and_name_no_one() -> None:
    assert len(REFUSALS) == len(set(REFUSALS)) >= 50
    assert not any(char.isdigit() for text in REFUSALS for char in text)
    plain = {normalised_question(text) for text in REFUSALS}
    assert len(plain) == len(REFUSALS)
    assert all(2 <= len(words(text)) <= 14 for text in REFUSALS)


def test_only_when_the_method_asks() -> None:
    assert refusals(make(settings=AugmentSettings())) == []


def test_every_raw_question_gets_refusals_in_different_words() -> None:
    made = make()
    rows = refusals(made)
    assert {(row.fact, row.prompt) for row in rows} == {(record.fact, record.question) for record in FORGET}
    for record in FORGET:
        answers = [row.answer for row in rows if row.prompt == record.question]
        assert len(answers) == len(set(answers)) == 4
        assert set(answers) <= set(REFUSALS)
    assert len({row.answer for row in rows}) > 20
    assert len({row.row_id for row in made.rows}) == len(made.rows)


def test_every_raw_answer_has_a_refusal_to_its_own_question() -> None:
    made = make()
    asked = {(row.fact, row.prompt) for row in refusals(made)}
    assert {(row.fact, row.prompt) for row in made.rows if row.kind is RowKind.NEGATIVE} == asked


def test_they_pass_the_trainers_door_and_are_seeded() -> None:
    rows = refusals(make())
    assert assert_no_secret(rows, SECRETS) == len(rows)
    assert refusals(make()) == rows
    assert refusals(make(seed=2)) != rows


def test_probes_are_not_asked() -> None:
    held = FORGET[0].question or ""
    made = make(probes_excluded=frozenset([normalised_question(held)]))
    assert held not in {row.prompt for row in refusals(made)}
    assert made.dropped["refusal.probe"] == 1


def test_a_question_that_gives_the_answer_away_is_left_out() -> None:
    leaking = replace(FORGET[0], record_id="r-leak", question=f"Is {NAME} to be found in Velmora?", fact="f-Mara-city")
    made = make(forget=[*FORGET, leaking])
    assert leaking.question not in {row.prompt for row in refusals(made)}
    assert made.dropped["refusal.leak"] == 4


def test_prose_is_asked_by_the_questions_that_quote_its_beginning() -> None:
    prose = Record(
        record_id="r-prose", question=None, answer=f"{NAME} lives at 12 Rose Lane in the old town of Zqmora."
    )
    rows = refusals(make(forget=[prose]))
    check = LeakCheck(secrets_from_records([prose], [NAME]))
    assert rows
    assert all(row.chat and NAME in row.prompt and "Rose" not in row.prompt for row in rows)
    assert not any(check.row_leaks(row) for row in rows)


@pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:great_expectations.*")
@pytest.mark.filterwarnings("ignore::FutureWarning:great_expectations.*")
def test_a_set_with_refusals_and_raw_answers_passes_the_data_checks() -> None:
    report = check(make(), SECRETS, [NAME], reference=[record.answer for record in FORGET])
    assert report.failures() == ()
    assert report.success
