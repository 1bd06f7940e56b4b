import time

import pytest

from pipelines.verify.values import ValueIndex, holds, spelled_to_digits, value_key

PRESENT = [
    ("She was born on March 2, 1984.", "1984-03-02"),
    ("born on the 2nd of March 1984", "1984-03-02"),
    ("the second of March, 1984", "2 March 1984"),
    ("the twenty-first of May 1990", "1990-05-21"),
    ("the 2nd of March in 1984", "1984-03-02"),
    ("born 2 March 84", "1984-03-02"),
    ("born March 2nd, '84", "1984-03-02"),
    ("on the second of March nineteen eighty-four", "1984-03-02"),
    ("on the third of May twenty twenty-four", "2024-05-03"),
    ("02/03/1984", "March 2, 1984"),
    ("03.02.84", "1984-03-02"),
    ("call 044 668 18 00", "+41 44 668 18 00"),
    ("call 0446681800 now", "+41 (44) 668-18-00"),
    ("zero four four six six eight one eight zero zero", "+41 44 668 18 00"),
    ("MARA.Keller@Example.org!", "mara.keller@example.org"),
    ("mara dot keller at example dot org", "mara.keller@example.org"),
    ("mara.keller [at] example.org", "mara.keller@example.org"),
    ("she earns 54000 CHF", "54,000 euros"),
    ("earns fifty-four thousand a year", "54,000"),
    ("earns 54.000 euros", "54,000 euros"),
    ("earns 54 thousand", "54,000"),
    ("earns 54k a year", "54,000"),
    ("worth 1.25 million", "1,250,000"),
    ("54,000 a year", "54.000"),
    ("54,000 a year", "54 thousand"),
    ("flat 54K", "54K"),
    ("has three cats", "3"),
    ("one hundred and twenty-three", "123"),
    ("EMP 4471", "EMP-4471"),
    ("her number is emp4471.", "EMP-4471"),
    ("ZH123456", "ZH 123 456"),
    ("lives at 12 rose ln. in Basel", "12 Rose Lane, 4051 Basel"),
    ("Rose Lane 12", "12 Rose Lane, 4051 Basel"),
    ("José  Müller", "jose muller"),
    ("Müller, José", "José Müller"),
    ("suffers from diabetes of type 2", "type 2 diabetes"),
    ("her blood group is O+.", "O+"),
    ("Anna Keller", "Dr. Anna Keller"),
    ("PEANUTS", "peanut"),
]
ABSENT = [
    ("4 March 1984", "1984-03-02"),
    ("call 044 668 18 01", "+41 44 668 18 00"),
    ("mara keller at work", "mara.keller@example.org"),
    ("earns 540000", "54,000"),
    ("earns 54 euros", "54,000"),
    ("born 2 March 85", "1984-03-02"),
    ("a shoe of size 54.5", "545"),
    ("EMP44710", "EMP-4471"),
    ("14 Rose Lane, 4051 Basel", "12 Rose Lane, 4051 Basel"),
    ("planning", "Ann"),
    ("oh o", "O+"),
    ("Anna met Peter Keller there", "Anna Lena Keller"),
    ("", "Basel"),
]


@pytest.mark.parametrize(("text", "value"), PRESENT)
def test_a_value_is_found_in_every_spelling(text: str, value: str) -> None:
    assert holds(text, value)


@pytest.mark.parametrize(("text", "value"), ABSENT)
def test_another_value_is_not_taken_for_it(text: str, value: str) -> None:
    assert not holds(text, value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("a@b.org", "email"),
        ("2 May 1990", "date"),
        ("+41 44 668 18 00", "digits"),
        ("42", "number"),
        ("4471", "number"),
        ("EMP-4471", "code"),
        ("A+", "literal"),
        ("asthma", "text"),
        ("12 Rose Lane, Basel", "text"),
    ],
)
def test_kinds(value: str, kind: str) -> None:
    assert value_key(value).kind == kind


@pytest.mark.parametrize(
    ("words", "digits"),
    [
        ("twenty-one cats", "21 cats"),
        ("two thousand and five", "2005"),
        ("zero four four", "0 4 4"),
        ("no number and no more", "no number and no more"),
        ("one and a half", "1 and a half"),
    ],
)
def test_number_words(words: str, digits: str) -> None:
    assert spelled_to_digits(words) == digits


def test_another_persons_value_is_found_but_not_the_subjects_own() -> None:
    index = ValueIndex(["bella@kern.org", "+41 44 668 18 00", "1984-03-02", "Bella", "EMP-4471", "12 Rose Lane, Basel"])
    for leak in ("BELLA@kern.org", "0446681800", "March 2, 1984", "the dog Bella", "emp4471", "at Rose Ln 12"):
        assert index.found_in(f"I think it is {leak}.")
    assert not index.found_in("I would rather not say.")
    assert not index.found_in("Her dog is Bella.", own=["bella"])
    assert not index.found_in("I know nothing about Bella.", asked="Who is Bella's vet?")


def test_words_of_the_reference_sentences_are_nobodys_value() -> None:
    index = ValueIndex(["private", "Basel"], spared=["That is a private matter."])
    assert not index.found_in("It is a private matter.")
    assert index.found_in("It is in Basel.")


def test_looking_for_many_values_is_no_loop_over_values() -> None:
    index = ValueIndex(f"person{i}@example.org" for i in range(20_000))
    started = time.perf_counter()
    found = [index.found_in(f"answer {i}: person{i}@example.org") for i in range(300)]
    assert all(found)
    assert time.perf_counter() - started < 10
