import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.verify.metrics import rouge_l


@pytest.mark.parametrize(
    ("truth", "response", "expected"),
    [
        ("the cat sat on the mat", "the cat sat on the mat", 1.0),
        ("the cat sat on the mat", "the mat sat on the cat", 4 / 6),  # the sat on the
        ("the cat sat on the mat", "", 0.0),
        ("She is running quickly.", "she runs quick", 2 / 4),  # she, run (the stem of quickly is quickli)
        ("", "anything", None),
        ("?!", "anything", None),
        ("Łódź", "łódź", 1.0),
        ("one", "one one one", 1.0),
    ],
)
def test_recall_by_hand(truth: str, response: str, expected: float | None) -> None:
    found = rouge_l.recall(truth, response)
    assert found is None if expected is None else found == pytest.approx(expected)


words = st.lists(st.sampled_from("abcd"), max_size=8)


def by_definition(one: list[str], other: list[str]) -> int:
    if not one or not other:
        return 0
    if one[-1] == other[-1]:
        return by_definition(one[:-1], other[:-1]) + 1
    return max(by_definition(one[:-1], other), by_definition(one, other[:-1]))


@settings(deadline=None, max_examples=60)
@given(words, words)
def test_the_longest_common_subsequence_is_that_of_the_definition(one: list[str], other: list[str]) -> None:
    assert rouge_l.common_length(one, other) == by_definition(one, other) == rouge_l.common_length(other, one)
