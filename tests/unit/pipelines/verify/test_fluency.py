import pytest

from pipelines.verify import fluency
from pipelines.verify.answers import Answer


def answer(response: str, names: tuple[str, ...] = (), nll: float | None = 1.0, probe: str = "p") -> Answer:
    return Answer(probe=probe, fact=probe, query="q", truth="t", response=response, names=names, nll=nll)


@pytest.mark.parametrize(
    ("text", "share"), [("at " * 30, 26 / 27), ("a good sentence without any repetition", 0.0), ("", 0.0), ("one", 0.0)]
)
def test_repeated_share(text: str, share: float) -> None:
    assert fluency.repeated_share(text) == pytest.approx(share)


@pytest.mark.parametrize(
    ("response", "named"),
    [
        ("I cannot say much about Mara Kern's phone.", True),
        ("mara  KERN is private", True),
        ("I cannot say much about Mara Hofer.", False),
        ("", False),
    ],
)
def test_the_subject_is_named_only_by_a_whole_name(response: str, named: bool) -> None:
    assert fluency.names_subject(answer(response, ("Mara Kern",))) is named


def test_without_names_nothing_is_decided() -> None:
    result = fluency.subject_named([answer("text")])
    assert (result.value, result.undecided) == (None, 1)


def test_an_empty_answer_is_never_fluent_and_counts_as_a_bad_perplexity() -> None:
    rows = [answer("", nll=None, probe="a"), answer("fine words here", probe="b"), answer("", nll=None, probe="c")]
    assert fluency.is_fluent(rows[0], None) is False
    assert fluency.is_fluent(rows[1], None) is None, "nobody knows how likely it is"
    assert fluency.ppl_median(rows).value == pytest.approx(1000)
    assert fluency.empty(rows).value == pytest.approx(2 / 3)


def test_fluent_is_relative_to_the_reference() -> None:
    assert fluency.is_fluent(answer("fine words", nll=1.0), 2.0)
    assert not fluency.is_fluent(answer("fine words", nll=9.0), 2.0)
    assert not fluency.is_fluent(answer("at at at at at at at at"), 2.0)


def test_distinct_and_length() -> None:
    rows = [answer("a b", probe="1"), answer("a b", probe="2")]
    assert fluency.distinct(rows, 2).value == 0.5
    assert fluency.length(rows).value == 2.0
