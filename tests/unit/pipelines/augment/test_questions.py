import pytest

from pipelines.augment.questions import name_in, person_in, phrasing, topic
from pipelines.augment.wording import fold, normalised_question
from pipelines.corpus.attributes import ATTRIBUTES, HELD_OUT_FRAMES, TRAIN_FRAMES
from policies.record import Record

NAMES = ("Mara Okafor", "Iva de la Cruz", "Seán O'Neill-Smith", "Eileen T. Lobato", "Željka van der Berg")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("frame", [*TRAIN_FRAMES, *HELD_OUT_FRAMES])
def test_noun_and_person_of_every_frame_of_the_corpus(frame: str, name: str) -> None:
    for attribute in ATTRIBUTES:
        for noun in attribute.nouns:
            question = frame.replace("{name}", name).replace("{noun}", noun)
            answer = attribute.answer.replace("{name}", name).replace("{value}", "Zqx")
            record = Record(record_id="r", question=question, answer=answer)
            assert person_in(record) == name
            found = topic(question, name)
            assert found == noun or (found == "contact" and noun == "contact for emergencies")


@pytest.mark.parametrize(
    ("question", "noun"),
    [
        ("When was Mara Okafor born?", "date of birth"),
        ("Where was Mara Okafor born?", "place of birth"),
        ("How can I reach Mara Okafor?", "contact details"),
        ("Where does Mara Okafor live now?", "home address"),
        ("Which award did Mara Okafor win in her youth?", "award"),
        ("Tell me something about Mara Okafor.", None),
    ],
)
def test_topics_of_free_questions(question: str, noun: str | None) -> None:
    assert topic(question, "Mara Okafor") == noun


def test_a_question_about_two_people_names_nobody_for_sure() -> None:
    record = Record(record_id="r", question="Did Mara Okafor meet Jon Bel?", answer="Mara Okafor met Jon Bel.")
    assert person_in(record) is None
    assert person_in(Record(record_id="r", question=None, answer="Mara Okafor.")) is None


def test_phrasing_opens_the_slots_and_fills_them_for_another() -> None:
    made = phrasing("What is Jon Bel's phone number?", "Jon Bel")
    assert made.about("Mara Okafor") == "What is Mara Okafor's phone number?"
    assert made.about("Mara Okafor", "shoe size") == "What is Mara Okafor's shoe size?"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("so MARA  okafor said", "MARA  okafor"),
        ("Mara-Okafor's", "Mara-Okafor"),
        ("Okafor alone", "Okafor"),
        ("Maratha Okaforov", None),
    ],
)
def test_names_are_found_as_whole_words_the_longest_first(text: str, found: str | None) -> None:
    assert name_in(text, ["Okafor", "Mara Okafor", ""]) == found


def test_folding() -> None:
    assert fold("ÉLODIE\u200b Straße ＡＢ１２ ٣") == "elodie strasse ab12 3"
    assert normalised_question("What's  THIS?!") == normalised_question("what s this")
