import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.identifiers import (
    Fit,
    Identifiers,
    Kind,
    blocking_keys,
    emails_in,
    fit,
    fold,
    ids_in,
    keys_in,
    near,
    normalise_address,
    normalise_email,
    normalise_id,
    normalise_name,
    normalise_phone,
    phones_in,
    words_of,
)

WORDS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=4, max_size=9)


@given(st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(st.text())
def test_normalising_an_id_twice_changes_nothing(text: str) -> None:
    once = normalise_id(text)
    assert once is None or normalise_id(once) == once


@given(st.text())
def test_normalising_an_address_twice_changes_nothing(text: str) -> None:
    once = normalise_address(text)
    assert once is None or normalise_address(once) == once


@given(st.emails())
def test_normalising_an_email_twice_changes_nothing(email: str) -> None:
    once = normalise_email(email)
    assert once is None or normalise_email(once) == once


@given(st.integers(2012000000, 9899999999))
def test_normalising_a_phone_twice_changes_nothing(number: int) -> None:
    once = normalise_phone(str(number))
    assert once is None or normalise_phone(once) == once


@given(st.text())
def test_words_are_stable(text: str) -> None:
    assert words_of(" ".join(words_of(text))) == words_of(text)


@pytest.mark.parametrize(
    ("given_form", "normal"),
    [
        ("Q.Fox@MailBird.Example", "q.fox@mailbird.example"),
        ("a+shop@b.example", "a+shop@b.example"),  # a tag may be another mailbox
        ("ａ@b.example", "a@b.example"),  # full-width letters
        ("not an address", None),
        ("", None),
    ],
)
def test_emails(given_form: str, normal: str | None) -> None:
    assert normalise_email(given_form) == normal


@pytest.mark.parametrize(
    ("given_form", "region", "normal"),
    [
        ("(314) 556-5461", "US", "+13145565461"),
        ("314.556.5461", "US", "+13145565461"),
        ("+1 314 556 5461", "DE", "+13145565461"),
        ("030 901820", "DE", "+4930901820"),
        ("12", "US", None),
        ("no digits", "US", None),
    ],
)
def test_phones(given_form: str, region: str, normal: str | None) -> None:
    assert normalise_phone(given_form, region) == normal


def test_ids_and_addresses() -> None:
    assert normalise_id("kx-48 17") == "KX4817"
    assert normalise_id("--") is None
    assert normalise_address("12 Quill Ave., Tibbon") == "12 quill avenue"
    assert normalise_address("Quill Avenue 12") == "12 quill avenue"
    assert normalise_address(" , Tibbon") is None


def test_identifiers_in_text() -> None:
    text = "Mail Q.Fox@b.example, or call (314) 556-5461; staff DN-7144, born 12 June 1963, 42,220 euros."
    assert emails_in(text) == {"q.fox@b.example"}
    assert phones_in(text) == {"+13145565461"}
    assert ids_in("staff DN-7144, born 12 June 1963, 42,220 euros.") == {"DN7144"}
    assert (Kind.ID, "3145565461") not in keys_in("314-556-5461")
    assert emails_in("nobody") == set()


def test_what_is_no_identifier_is_left_out() -> None:
    given_forms = Identifiers(emails=("nonsense",), phones=("0",), ids=("-",), addresses=(",",), names=("M. Rossi",))
    assert given_forms.keys() == ()
    assert Identifiers(ids=("a-1234", "A1234")).keys() == ((Kind.ID, "A1234"),)


@pytest.mark.parametrize(
    ("asked", "seen", "how"),
    [
        ("Marta Rossi", "Rossi, Marta", Fit.EXACT),
        ("José Łukaszewicz", "Jose Lukaszewicz", Fit.EXACT),
        ("Dr. Marta Rossi", "Marta Rossi", Fit.EXACT),
        ("Anna Herr", "Herr, Anna", Fit.EXACT),  # a title is a surname where no other is
        ("Dr. Anna Herr", "Anna Herr", Fit.EXACT),
        ("Anna Herr", "Anna Frau", None),
        ("Anna Herr", "Frau Anna", None),
        ("Marta Rossi", "ROSSI Marta", Fit.ORDER),
        ("Marta Rossi", "M. Rossi", Fit.INITIAL),
        ("Eileen T. Lobato", "Eileen Lobato", Fit.VARIANT),
        ("Eileen T. Lobato", "Eileen Tamara Lobato", Fit.VARIANT),
        ("Eileen T. Lobato", "Eileen G. Lobato", None),
        ("Maria Garcia Lopez", "Maria Garcia", Fit.VARIANT),
        ("Michael Swatek", "Mike Swatek", Fit.DIMINUTIVE),
        ("Marta Rossi", "Marta Rosssi", Fit.TYPO),
        ("Marta Rossi", "Marta Rsosi", Fit.TYPO),
        ("Piermaria Siwa", "Piermaria Swa", Fit.TYPO),
        ("Marta Rossi", "Anna Rossi", None),
        ("Marta Rossi", "Rossi", None),
        ("Li Wei", "Li Wen", None),  # too short for a slip
    ],
)
def test_how_names_fit(asked: str, seen: str, how: Fit | None) -> None:
    one, other = normalise_name(asked), normalise_name(seen)
    assert fit(one, other) is how
    assert fit(other, one) is how


def slips(word: str) -> set[str]:
    dropped = {word[:at] + word[at + 1 :] for at in range(len(word))}
    swapped = {word[:at] + word[at + 1] + word[at] + word[at + 2 :] for at in range(len(word) - 1)}
    return (dropped | swapped) - {word}


@given(WORDS)
def test_every_slip_is_near_and_shares_a_block(word: str) -> None:
    for slip in slips(word):
        assert near(word, slip)
        assert near(slip, word)
        assert blocking_keys(word) & blocking_keys(slip)


@given(WORDS, WORDS)
def test_near_words_share_a_block(one: str, other: str) -> None:
    if near(one, other):
        assert blocking_keys(one) & blocking_keys(other)
    assert near(one, other) is near(other, one)


def test_two_slips_are_not_near() -> None:
    assert not any(near("rossi", word) for word in itertools.chain(["rissa", "rss", "rossini"]))
