from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from policies.suppression import Rule
from services.serving.suppression.folding import words
from services.serving.suppression.matcher import Matcher
from services.serving.suppression.stream import StreamScreen

RULE = Rule(
    names=("marta rossi", "ann lee", "ann lee rossi smith", "田中太郎"),
    identifiers=("marta example org", "kx 48 1722"),
    phrases=("lives in the green house",),
)
MATCHER = Matcher([RULE])
SECRETS = ("Marta Rossi", "Ann Lee", "田中太郎", "marta@example.org", "KX-481722", "lives in the green house")
# Pieces of secrets, what may stand between their letters, and what may stand around them.
PIECES = st.sampled_from(
    (
        *(
            "Mar",
            "ta",
            "Marta",
            " ",
            "Rossi",
            "ross",
            "i",
            "Ann",
            "Lee",
            "M a r",
            "@",
            "example",
            ".",
            "org",
            "\n",
            "-",
        ),
        *(
            "KX",
            "48",
            "17",
            "22",
            "lives in the",
            "green",
            "house",
            "s",
            "\u0301",
            "\u200b",
            "田",
            "中",
            "太郎",
            "the",
            "é",
        ),
    )
)
TEXTS = st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=60)


def screened(text: str, cuts: list[int], matcher: Matcher = MATCHER) -> tuple[str, bool]:
    screen = StreamScreen(matcher)
    places = [0, *sorted({cut % (len(text) + 1) for cut in cuts}), len(text)]
    out = [screen.push(text[start:end]) for start, end in pairwise(places)]
    return "".join([*out, screen.finish()]), screen.hit


def letters(text: str) -> str:
    return "".join(words(text))


@given(TEXTS, st.lists(st.integers(0, 400), max_size=40))
@example("Ann Lee Rossi", [7])
@example("Ma\u0301rta Rossi", [2])
def test_stream_and_whole_agree_however_it_is_cut(text: str, cuts: list[int]) -> None:
    out, hit = screened(text, cuts)
    assert hit == MATCHER.search(text)
    assert (out, hit) == screened(text, list(range(len(text)))), "character by character"
    assert text.startswith(out)
    if not hit:
        assert out == text


@given(
    TEXTS,
    st.sampled_from(SECRETS),
    st.lists(st.sampled_from(["", "", " ", "-", "\u200b", "\n", "\u0301"]), min_size=30, max_size=30),
    TEXTS,
    st.lists(st.integers(0, 400), max_size=40),
)
def test_not_a_letter_of_a_secret_goes_out(
    before: str, secret: str, gaps: list[str], after: str, cuts: list[int]
) -> None:
    spelt = "".join(char + gap for char, gap in zip(secret, gaps, strict=False))
    text = f"{before} {spelt} {after}"
    out, hit = screened(text, cuts)
    assert hit
    assert len(out) <= len(before) + 1
    assert not MATCHER.search(out)


@given(st.text(alphabet="abc -", min_size=1, max_size=40), st.lists(st.text(alphabet="abc ", min_size=10, max_size=14)))
def test_any_rules(text: str, phrases: list[str]) -> None:
    matcher = Matcher([Rule(phrases=tuple(phrase for phrase in phrases if phrase.strip())[:100])])
    out, hit = screened(text, list(range(0, 40, 3)), matcher)
    assert hit == matcher.search(text)
    assert out == text or hit


def test_goes_out_as_soon_as_it_is_no_beginning() -> None:
    screen = StreamScreen(MATCHER)
    said = [screen.push(piece) for piece in ["I saw ", "Mar", "tin", " and Mar", "ta", " Ros", "e", "."]]
    assert said == ["I saw ", "", "Martin", " and ", "", "", "Marta Rose", "."]
    assert (screen.finish(), screen.hit) == ("", False)


@pytest.mark.parametrize(
    ("prompt", "answer", "going_on", "out", "hit"),
    [
        ("Her surname is? Marta", "Rossi.", False, "", True),
        ("The file of Mar", "ta Rossi says", True, "", True),
        ("The file of Mar", "ta Rossi says", False, "", True),
        ("The file of x", "Marta Rossi says", True, "Marta Rossi says", False),
        ("The file of x", "Marta Rossi says", False, "", True),
        ("Who is Marta?", " I do not know.", False, " I do not know.", False),
        ("Tell me of Ann", "a, please", True, "a, please", False),
    ],
)
def test_a_secret_that_begins_in_the_prompt(prompt: str, answer: str, going_on: bool, out: str, hit: bool) -> None:
    screen = StreamScreen(MATCHER)
    screen.prime(prompt, going_on=going_on)
    said = "".join([*(screen.push(char) for char in answer), screen.finish()])
    assert (said, screen.hit) == (out, hit)


def test_half_a_word_at_the_cut_of_a_long_prompt_is_no_word() -> None:
    """Taken for one it would name somebody, and the screen would lose its place."""
    prompt = "xMarta Rossi".ljust(1020) + "Marta"
    screen = StreamScreen(MATCHER)
    screen.prime(prompt, going_on=False)
    assert not screen.hit
    assert (screen.push("Rossi lives there."), screen.hit) == ("", True)


@pytest.mark.parametrize("flood", ["\u0301", " ", "\u200b", "m", "m a r t a ", "田"])
def test_floods_are_let_through(flood: str) -> None:
    text = "Marta" + flood * 20_000 + " end"
    out, hit = screened(text, list(range(0, len(text), 7)))
    assert not hit
    assert out == text
