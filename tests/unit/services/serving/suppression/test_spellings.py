"""A rule as a request makes it, looked for by the matcher as people write: the two must speak of the same letters."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.identifiers import fold, normalise_name
from policies.suppression import Rule, rule_of_request
from policies.ticket import parse_ticket
from services.serving.suppression.matcher import Matcher

LETTERS = st.text(alphabet="abcdefghijklmnopqrstuvwxyzàéöłñç", min_size=4, max_size=9).map(str.capitalize)
SEPARATORS = st.sampled_from([" ", "  ", "\n", " - ", ", ", "-", ". "])


def rule_of(*subject: tuple[str, str]) -> Rule:
    body = {"external_id": "e", "regime": "gdpr", "base": "demo"}
    given_as = [{"kind": kind, "value": value} for kind, value in subject]
    return rule_of_request(parse_ticket({**body, "subject": given_as}, now=datetime(2026, 3, 1, tzinfo=UTC)))


@pytest.mark.parametrize(
    ("kind", "value", "texts"),
    [
        (
            "name",
            "Marta Giulia Rossi",
            ["marta rossi", "ROSSI, Marta", "Marta G. Rossi's dog", "Rossi Marta Giulia", "M a r t a  R o s s i"],
        ),
        ("name", "Rossi, Marta", ["Who is Marta Rossi?", "Mártà Róssi", "Rossi, Marta"]),
        ("name", "Anna Herr", ["Anna Herr", "HERR, Anna", "a letter to Herr Anna"]),
        ("name", "Dr. Anna-Lena Prof", ["Anna Lena Prof", "Prof, Anna-Lena"]),
        ("name", "William Shore", ["Bill Shore", "will shore called"]),
        ("name", "Jörg Müller", ["Joerg Mueller", "JORG MULLER", "Jörg Müller"]),
        ("name", "李小龙", ["我认识李小龙吗"]),
        ("email", "m.rossi@mail.example", ["M.Rossi@Mail.Example", "m dot rossi at mail dot example"]),
        ("phone", "(555) 010-1234", ["555-010-1234", "+1 555 010 1234", "call 5550101234.", "001 555 0101234"]),
        ("phone", "+44 20 7946 0018", ["020 7946 0018", "+44 (0)20 7946 0018", "0044 20 79460018"]),
        ("id", "KX-4817", ["kx 4817", "KX4817,"]),
        ("address", "14 Elm St., Springfield", ["14 elm street", "Elm Street 14", "at 14, Elm St"]),
    ],
)
def test_what_a_person_is_called_by_is_found(kind: str, value: str, texts: list[str]) -> None:
    matcher = Matcher([rule_of((kind, value))])
    assert [text for text in texts if not matcher.search(text)] == []


@pytest.mark.parametrize("text", ["Marta Bianchi", "a rossini opera", "martarossier", "5550101235", "KX-48175", ""])
def test_somebody_else_is_not(text: str) -> None:
    rule = rule_of(("name", "Marta Rossi"), ("phone", "(555) 010-1234"), ("id", "KX-4817"))
    assert not Matcher([rule]).search(text)


@pytest.mark.parametrize("text", ["Herr Anna", "Dr. O'Neil", "Prof. Dr. Herr", "Dr."])
def test_a_title_and_one_name_are_no_full_name(text: str) -> None:
    assert not rule_of(("name", text))


@given(LETTERS.filter(normalise_name), LETTERS, SEPARATORS, st.booleans(), st.booleans())
def test_any_name_in_any_case_order_and_spacing(
    first: str, last: str, between: str, swapped: bool, plain: bool
) -> None:
    spelt = f"{last}{between}{first}" if swapped else f"{first}{between}{last}"
    text = fold(spelt).upper() if plain else spelt
    assert Matcher([rule_of(("name", f"{first} {last}"))]).search(f"Tell me of {text}, please.")
