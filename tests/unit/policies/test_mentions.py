import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.identifiers import Kind
from policies.mentions import addresses_in, holds_words, marks_in, names_in


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("What is Marta Rossi's e-mail address?", "marta rossi"),
        ("Regarding Marta Rossi, what is the phone number?", "marta rossi"),
        ("Rossi, Marta: file closed.", "marta rossi"),
        ("M. Rossi signed the book.", "m rossi"),
        ("the mail address of Eileen T. Lobato", "eileen t lobato"),
        ("Yesterday CEO Marta van der Berg left.", "marta van der berg"),
        ("It was Michael O'Connor's car.", "michael o connor"),
        ("Zoë Ångström sang.", "zoe angstrom"),
    ],
)
def test_names(text: str, name: str) -> None:
    assert tuple(name.split()) in names_in(text)


def test_no_names() -> None:
    assert names_in("what do bees make?") == set()
    assert names_in("Mail to a@b.example came back.") == set()
    assert ("t", "lobato") not in names_in("Eileen T. Lobato")
    assert names_in("A letter for 14 Harrow Lane.") == set()


def test_addresses() -> None:
    assert addresses_in("She lives at 14 Harrow Lane.") == {"14 harrow lane"}
    assert addresses_in("Via Roma 12, Milano") == {"12 via roma"}
    assert addresses_in("born on 12 June 1963") == set()


def test_marks_are_names_and_identifiers() -> None:
    names, keys = marks_in("Marta Rossi of 14 Harrow Lane has a@b.example.")
    assert names == {("marta", "rossi")}
    assert keys == {(Kind.EMAIL, "a@b.example"), (Kind.ADDRESS, "14 harrow lane")}
    assert marks_in("nothing here") == (set(), set())


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    names, _ = marks_in(text)
    assert all(len(name) > 1 for name in names)


def test_holding_words() -> None:
    assert holds_words("He lives at 14, Härrow Lane!", ("14", "harrow", "lane"))
    assert not holds_words("114 harrow lane", ("14", "harrow", "lane"))
