import random
import sys
import threading

import pytest

from policies.suppression import Rule, rule_of_request
from policies.ticket import TicketRequest
from services.serving.suppression.matcher import Matcher, patterns_of
from services.store.types import utc_now

RULES = (
    Rule(
        names=("marta rossi", "ann lee", "al pine", "olena петренко"),
        identifiers=("marta example org", "kx 48 1722", "44 20 7946 0958"),
        phrases=("lives in the green house", "rivermouth"),
    ),
    Rule(names=("田中太郎", "김철수", "José Łukasz")),
)
MATCHER = Matcher(RULES)


@pytest.mark.parametrize(
    "text",
    [
        "Do you know Marta Rossi?",
        "MARTA  ROSSI's phone",
        "M a r t a   R o s s i",
        "Mar-\nta Ros\u00adsi",
        "M\u0301a\u0308rta Rossí",
        "Ma\u200brta\ufeff Rossi",
        "\u202eMarta\u202c Rossi",
        "ＭＡＲＴＡ Ｒｏｓｓｉ",
        "𝓜𝓪𝓻𝓽𝓪 𝕽𝖔𝖘𝖘𝖎",
        "mаrtа rоssі",  # Cyrillic letters that look Latin
        "@MartaRossi",
        "marta_rossi",
        "**Marta** Rossi",
        "Ann Lee",
        "a-n-n l-e-e",
        "Marta@Example.org",
        "marta@example . org",
        "k-x-4-8-1-7-2-2",
        "KX.481.722",
        "+44 (20) 7946-0958",
        "٤٤٢٠٧٩٤٦٠٩٥٨",
        "she LIVES, in the\tgreen\r\nhouse",
        "彼は田中太郎さんです",
        "김철수는 어디에",
        "jose lukasz",
        "Jo\u0301se Lukasz",
        "Олена Петренко, Olena Петренко",
    ],
)
def test_found_however_it_is_written(text: str) -> None:
    assert MATCHER.search(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Marta",
        "Rossi, Marta",  # another order is another entry of the rule
        "Martas Rossi",
        "xMarta Rossi",
        "Marta Rossini",
        "Marta B. Rossi",
        "Mann Leeds",
        "annlee",
        "an alpine hut",
        "alpine",
        "kx 48 17",
        "1kx481722",
        "lives in the green houses",
        "rivermouths",
        "田中太朗",
        "\ud800\udfff",
    ],
)
def test_not_found_where_nobody_is_meant(text: str) -> None:
    assert not MATCHER.search(text)


@pytest.mark.parametrize(
    ("text", "found", "name"),
    [
        ("Where does M\u0301arta\n Rossi's sister live?", "M\u0301arta\n Rossi", True),
        ("Is kx-481722 the number of Marta Rossi?", "Marta Rossi", True),
        ("Whose is marta@example.org?", "marta@example.org", False),
        ("ﬀ ＫＸ４８１７２２!", "ＫＸ４８１７２２", False),
        ("太田中太郎君", "田中太郎", True),
    ],
)
def test_span_is_of_the_text_as_it_was_given(text: str, found: str, name: bool) -> None:
    span = MATCHER.find(text)
    assert span is not None
    assert (text[span.start : span.end], span.name) == (found, name)


def test_what_is_too_short_or_one_word_is_no_pattern() -> None:
    rule = Rule(
        names=("madonna", "j d", "李"),
        identifiers=("12345", "ab1", "mouse"),
        phrases=("red", "12 34", "李"),
    )
    assert patterns_of(rule) == ()
    assert not Matcher([rule]).search("Madonna, 12345, AB1, mouse, red")


def test_whatever_a_request_says_is_looked_for() -> None:
    given = {
        "name": ["Marta Bianca Rossi", "Jo Li", "田中太郎", "Madonna"],
        "email": ["jo@li.example"],
        "phone": ["+39 02 1234567"],
        "id": ["AB12", "123456", "martar"],
        "address": ["12 Rose Lane, Perworth"],
    }
    subject = tuple({"kind": kind, "value": value} for kind, values in given.items() for value in values)
    request = {"external_id": "t", "regime": "gdpr", "base": "b", "subject": subject, "received_at": utc_now()}
    rule = rule_of_request(TicketRequest.model_validate(request))
    assert rule.names
    assert rule.phrases
    entries = {"".join(entry.split()) for entry in (*rule.names, *rule.identifiers, *rule.phrases)}
    assert {letters for letters, _, _ in patterns_of(rule)} == entries
    assert all(map(Matcher([rule]).search, ("Marta Rossi", "jo at li dot example", "AB-12", "123456", "@martar")))


def test_rules_come_and_go_without_a_rebuild() -> None:
    shared = "44 20 7946 0958"
    one, two = Rule(names=("marta rossi",), identifiers=(shared,)), Rule(names=("ann lee",), identifiers=(shared,))
    matcher = Matcher([one, two])
    assert matcher.search("+44 20 7946 0958")
    matcher.update([two])
    assert not matcher.search("Marta Rossi")
    assert matcher.search("Ann Lee")
    assert matcher.search("+44 20 7946 0958"), "the other one of the household still has it"
    matcher.update([])
    assert len(matcher) == 0
    assert not matcher.search("Ann Lee, +44 20 7946 0958")
    matcher.update([one])
    assert matcher.search("Marta Rossi")


def test_a_short_name_of_two_people_is_cut_where_either_of_them_is() -> None:
    matcher = Matcher([Rule(names=("al pine",)), Rule(names=("alp ine",))])
    assert matcher.search("Al Pine")
    assert matcher.search("Alp Ine")
    assert not matcher.search("alpi ne")


def test_equals_a_search_word_by_word() -> None:
    """The plain definition: letters from a word's beginning to a word's end are an entry."""
    rng = random.Random(3)
    syllables = ("ab", "a", "b", "ba", "c")

    def sentence(most: int) -> list[str]:
        return ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(rng.randint(1, most))]

    for _ in range(200):
        entries = {" ".join(words) for words in (sentence(3) for _ in range(20)) if len("".join(words)) >= 8}
        matcher = Matcher([Rule(phrases=tuple(sorted(entries)))])
        wanted = {entry.replace(" ", "") for entry in entries}
        parts = sentence(30)
        runs = {"".join(parts[i:j]) for i in range(len(parts)) for j in range(i + 1, len(parts) + 1)}
        assert matcher.search(" ".join(parts)) == bool(wanted & runs)


def test_read_while_it_is_updated() -> None:
    stays = Rule(names=("marta rossi",))
    matcher = Matcher([stays])
    missed: list[int] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            if not matcher.search("I know Marta Rossi."):
                missed.append(1)

    reader = threading.Thread(target=look)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        reader.start()
        for turn in range(30):
            matcher.update([stays, *(Rule(names=(f"marta r{'o' * (turn + at)}ss",)) for at in range(30))])
    finally:
        done.set()
        reader.join()
        sys.setswitchinterval(interval)
    assert not missed


@pytest.mark.parametrize(
    "text",
    [
        "a" * (1 << 20),
        "m a r t a r o s s " * (1 << 16),
        "Marta " * (1 << 17),
        "a" + "\u0301" * (1 << 20),
        "m\u200b" * (1 << 19),
        "\u202eא" * (1 << 19),
        "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000)))),
        "\ud800" * (1 << 18),
    ],
    ids=["one-word", "spaced", "first-names", "marks", "zero-width", "right-to-left", "all-of-unicode", "surrogates"],
)
def test_a_mebibyte_of_anything(text: str) -> None:
    assert MATCHER.search(text + " Marta Rossi")
