import hashlib
from typing import Any

import pytest
from pydantic import ValidationError

from policies.hashed_identifiers import digest, resolve
from policies.identifiers import Key, Kind
from policies.ticket import Identifier

KEYS: list[Key] = [
    (Kind.EMAIL, "mara@example.org"),
    (Kind.EMAIL, "other@example.org"),
    (Kind.PHONE, "+14155550123"),
    (Kind.ID, "KX4817"),
    (Kind.ADDRESS, "1 high street"),
]


def hashed(kind: Any, text: str, form: Any = "sha256") -> Identifier:
    return Identifier(kind=kind, value=hashlib.new(form, text.encode()).hexdigest(), form=form)


@pytest.mark.parametrize("form", ["sha256", "sha1", "md5"])
def test_a_digest_is_found_among_what_the_corpus_holds(form: str) -> None:
    found = resolve([hashed("email", "mara@example.org", form)], KEYS, "US")
    assert found == (Identifier(kind="email", value="mara@example.org"),)
    assert digest(form, "x") == hashlib.new(form, b"x").hexdigest()


@pytest.mark.parametrize("text", ["+14155550123", "14155550123", "4155550123"])
def test_a_phone_number_may_have_been_hashed_in_several_spellings(text: str) -> None:
    assert resolve([hashed("phone", text)], KEYS, "US") == (Identifier(kind="phone", value="+14155550123"),)


def test_ids_in_either_case_and_only_of_the_same_kind() -> None:
    assert resolve([hashed("id", "kx4817"), hashed("email", "KX4817")], KEYS, "US") == (
        Identifier(kind="id", value="KX4817"),
    )
    assert resolve([hashed("email", "nobody@example.org")], KEYS, "US") == ()


def test_what_is_plain_stays_and_the_corpus_is_not_asked_for_it() -> None:
    asked = map(pytest.fail, ["the corpus was asked without need"])
    plain = Identifier(kind="email", value="mara@example.org")
    assert resolve([plain], asked, "US") == (plain,)
    assert resolve([plain, hashed("email", "mara@example.org")], KEYS, "US") == (plain,)


@pytest.mark.parametrize(
    ("kind", "value", "form"), [("email", "ab", "sha256"), ("name", "0" * 64, "sha256"), ("id", "g" * 32, "md5")]
)
def test_what_is_no_digest_is_refused(kind: Any, value: str, form: Any) -> None:
    with pytest.raises(ValidationError):
        Identifier(kind=kind, value=value, form=form)
