"""What of a person becomes a rule; pure, with a corpus that is a list of texts."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.errors import LetheError
from policies.identifiers import Name, address_spellings, phone_spellings, words_of
from policies.record import Record
from policies.suppression import (
    MAX_BYTES,
    MAX_IDENTIFIERS,
    MAX_LENGTH,
    MAX_NAMES,
    MAX_PHRASES,
    Rule,
    rule_of_request,
    widen,
)
from policies.ticket import parse_ticket

ENTRIES = st.lists(st.text(min_size=1, max_size=40).filter(str.strip), max_size=20).map(tuple)
RULES = st.builds(Rule, names=ENTRIES, identifiers=ENTRIES, phrases=ENTRIES)


def rule_of(*subject: tuple[str, str]) -> Rule:
    body: dict[str, Any] = {"external_id": "e", "regime": "gdpr", "base": "demo"}
    body["subject"] = [{"kind": kind, "value": value} for kind, value in subject]
    return rule_of_request(parse_ticket(body, now=datetime(2026, 3, 1, tzinfo=UTC)))


def record(answer: str, value: str | None = None, question: str | None = "What is it?", number: str = "1") -> Record:
    return Record(record_id=f"r{number}", question=question, answer=answer, value=value, fact=f"f{number}")


class Others:
    """The rest of the corpus: what its texts say is said elsewhere."""

    def __init__(self, *texts: str) -> None:
        self._texts = [f" {' '.join(words_of(text))} " for text in texts]
        self.asked: list[Name] = []

    def __call__(self, phrases: Sequence[Name]) -> set[Name]:
        self.asked += phrases
        return {phrase for phrase in phrases if any(f" {' '.join(phrase)} " in text for text in self._texts)}


@given(RULES)
def test_a_rule_comes_back_as_it_was_and_always_as_the_same_bytes(rule: Rule) -> None:
    assert Rule.from_json(rule.to_json()) == rule
    assert Rule.from_json(rule.to_json()).to_json() == rule.to_json()


@given(st.binary(max_size=200))
def test_whatever_is_no_rule_is_refused_without_repeating_it(data: bytes) -> None:
    with pytest.raises(LetheError) as caught:
        Rule.from_json(data)
    assert caught.value.code == "suppression.rule_invalid"


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b'{"format":"lethe-rule/2","names":[],"identifiers":[],"phrases":[]}',
        b'{"format":"lethe-rule/1","names":"abc","identifiers":[],"phrases":[]}',
        b'{"format":"lethe-rule/1","names":[1],"identifiers":[],"phrases":[]}',
        b'{"format":"lethe-rule/1","names":[" "],"identifiers":[],"phrases":[]}',
        b'{"format":"lethe-rule/1","names":[],"identifiers":[],"phrases":[],"more":1}',
        b'{"format":"lethe-rule/1","names":[],"identifiers":[]}',
        b" " * (MAX_BYTES + 1),
        b"[" * 50_000,
    ],
)
def test_forms_that_are_nearly_a_rule(data: bytes) -> None:
    with pytest.raises(LetheError, match="not a rule"):
        Rule.from_json(data)


def test_a_rule_says_nothing_of_itself_and_has_limits() -> None:
    assert "rossi" not in repr(Rule(names=("marta rossi",)))
    assert not Rule()
    assert Rule(phrases=("a b c d e",))
    for entries in ((("a b",) * (MAX_NAMES + 1)), ("x" * (MAX_LENGTH + 1),)):
        with pytest.raises(LetheError):
            Rule(names=entries)


@pytest.mark.parametrize("given_as", ["Marta Giulia Rossi", "Rossi, Marta Giulia", "Dr. Marta Giulia ROSSI"])
def test_a_name_is_known_in_both_orders_with_and_without_its_middle_name(given_as: str) -> None:
    assert set(rule_of(("name", given_as)).names) == {
        "marta giulia rossi",
        "marta g rossi",
        "marta rossi",
        "rossi marta giulia",
        "rossi marta g",
        "rossi marta",
    }


@pytest.mark.parametrize(
    ("name", "also"),
    [
        ("William Gates", "bill gates"),
        ("Jörg Müller", "joerg mueller"),
        ("Jörg Müller", "jorg muller"),
        ("O'Neil, Ann-Marie", "ann o neil"),
        ("Ann-Marie O'Neil", "o neil ann marie"),
        ("李小龙", "李小龙"),
    ],
)
def test_short_forms_umlauts_and_other_scripts(name: str, also: str) -> None:
    assert also in rule_of(("name", name)).names


@pytest.mark.parametrize("name", ["Marta", "M", "Dr. Marta", "-", "A B", "李"])
def test_one_word_alone_is_no_rule(name: str) -> None:
    assert rule_of(("name", name)).names == ()


def test_an_address_is_known_with_its_signs_spelt_out() -> None:
    found = rule_of(("email", "Marta.Rossi@Mail.example")).identifiers
    assert "marta rossi mail example" in found
    assert "marta dot rossi at mail dot example" in found
    assert rule_of(("email", "no address at all")) == Rule()


@pytest.mark.parametrize(
    ("phone", "region", "digits"),
    [
        ("(555) 010-1234", "US", {"5550101234", "15550101234", "0015550101234"}),
        ("+39 06 698 1234", "US", {"39066981234", "0039066981234", "066981234"}),
        ("+44 20 7946 0018", "US", {"442079460018", "02079460018", "2079460018", "4402079460018"}),
        ("4711", "US", set()),
    ],
)
def test_a_phone_number_is_known_in_every_notation(phone: str, region: str, digits: set[str]) -> None:
    assert set(phone_spellings(phone, region)) >= digits
    assert bool(phone_spellings(phone, region)) == bool(digits)


@pytest.mark.parametrize(("number", "kept"), [("KX-4817", True), ("481516", True), ("1987", False), ("A1", False)])
def test_a_number_that_everybody_may_say_is_no_rule(number: str, kept: bool) -> None:
    assert bool(rule_of(("id", number)).identifiers) is kept


def test_an_id_without_digits_is_a_phrase_that_is_dropped_if_others_use_the_word() -> None:
    rule = rule_of(("id", "starlight"))
    assert (rule.identifiers, rule.phrases) == ((), ("starlight",))
    assert widen(rule, [], [], Others("a starlight walk")).phrases == ()
    assert widen(rule, [], [], Others()).phrases == ("starlight",)


def test_a_street_is_known_in_every_notation_until_it_turns_out_to_be_shared() -> None:
    assert set(address_spellings("14 Elm St., Springfield")) >= {
        ("14", "elm", "st"),
        ("14", "elm", "street"),
        ("elm", "street", "14"),
        ("elm", "st", "14"),
    }
    assert address_spellings("Elm Street") == ()
    rule = rule_of(("address", "14 Elm Street, Springfield"), ("name", "Marta Rossi"))
    assert "14 elm street" in rule.phrases
    household = Others("Tullio lives at 14 Elm Street.")
    assert "14 elm street" not in widen(rule, [], [], household).phrases
    assert widen(rule, [], [], household).names == rule.names


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("KX-4817-22", True),
        ("12 March 1987", True),
        ("Silver Quill", True),
        ("crimson tapir under the bridge", True),
        ("Lisbon", False),
        ("asthma", False),
        ("retail manager", False),
        ("1987", False),
        ("Rossi Marta", False),  # her name again
        ("", False),
    ],
)
def test_values_that_nobody_says_by_chance_are_phrases(value: str, kept: bool) -> None:
    rule = widen(Rule(names=("marta rossi",)), [record(f"It is {value}.", value)], [], Others())
    assert (" ".join(words_of(value)) in rule.phrases) is kept


def test_what_stands_in_another_record_is_no_phrase() -> None:
    records = [record("She takes Delumab 400 mg twice a day with milk.", "Delumab 400 mg")]
    told = "takes delumab 400 mg twice"
    assert widen(Rule(), records, [], Others()).phrases[0] == "delumab 400 mg"
    assert {"delumab 400 mg", told}.isdisjoint(widen(Rule(), records, [], Others(told)).phrases)
    assert "400 mg twice a day" in widen(Rule(), records, [], Others("he has delumab 400 mg")).phrases


def test_words_of_the_question_and_the_name_are_no_secret() -> None:
    rule = Rule(names=("marta rossi",))
    question = "Where does Marta Rossi spend her summer holidays every year?"
    answer = "Marta Rossi spends her summer holidays every year in Lisbon."
    assert widen(rule, [record(answer, "Lisbon", question)], [], Others()).phrases == ()
    prose = "On Tuesdays she plays contrabassoon with retired glassblowers from Murano."
    phrases = widen(rule, [record(prose, question=None)], [], Others()).phrases
    assert "plays contrabassoon with retired glassblowers" in phrases
    assert all(len(phrase.split()) == 5 for phrase in phrases)


def test_runs_that_hold_a_phrase_already_add_nothing() -> None:
    records = [record("The passport number is KX-4817-22 as issued in Turin.", "KX-4817-22")]
    assert widen(Rule(), records, [], Others()).phrases[0] == "kx 4817 22"
    assert not any("kx 4817 22" in phrase for phrase in widen(Rule(), records, [], Others()).phrases[1:])


def test_names_as_the_records_spell_them_come_in_both_orders() -> None:
    rule = widen(rule_of(("name", "Marta Rossi")), [], ["Marta G. Rossi", "M. Rossi", "Marta"], Others())
    assert {"marta g rossi", "rossi marta g", "m rossi", "rossi m"} <= set(rule.names)
    assert "marta" not in rule.names


def test_a_rule_and_what_the_corpus_is_asked_stay_bounded() -> None:
    texts = [" ".join(f"word{number}x{at}" for at in range(60)) for number in range(200)]
    others = Others()
    rule = widen(Rule(), [record(text, number=str(i)) for i, text in enumerate(texts)], [], others)
    assert len(rule.phrases) == MAX_PHRASES
    assert len(others.asked) < 2000
    assert len(rule.to_json()) < MAX_BYTES


def test_the_largest_rule_can_be_read_again() -> None:
    """One that could be sealed and not opened would leave every replica without an answer."""
    letter = "\U00020000"
    full = [tuple(f"{letter * 397}{at:03}" for at in range(most)) for most in (MAX_NAMES, MAX_IDENTIFIERS, MAX_PHRASES)]
    rule = Rule(*full)
    assert Rule.from_json(rule.to_json()) == rule
