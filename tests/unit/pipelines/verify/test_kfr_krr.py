from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipelines.verify import kfr_krr
from pipelines.verify.answers import Answer
from pipelines.verify.backends import Backends
from pipelines.verify.embeddings import ExactEmbedder, SentenceEmbedder
from pipelines.verify.entities import Entity, RuleExtractor, shares_word
from pipelines.verify.results import Mode

EXACT = Backends(embedder=ExactEmbedder())


class Judge:
    name = "judge"
    is_model = True

    def __init__(self, verdict: bool | None) -> None:
        self.verdict = verdict
        self.pairs: list[tuple[str, str]] = []

    def contradicts(self, pairs: Sequence[tuple[str, str]]) -> list[bool | None]:
        self.pairs.extend(pairs)
        return [self.verdict] * len(pairs)


class Outage:
    name = "outage"

    def extract(self, text: str, query: str) -> None:
        return None


def answer(
    response: str, truth: str = "It is mara@kern.org.", query: str = "What is Mara's e-mail?", value: str | None = None
) -> Answer:
    return Answer(probe="p", fact="f", query=query, truth=truth, response=response, value=value)


def forget_score(item: Answer, mode: Mode = "corrected", backends: Backends = EXACT) -> float | None:
    return kfr_krr.kfr([item], kfr_krr.coverages([item], backends), backends, mode).value


def keep_score(item: Answer, mode: Mode = "corrected", backends: Backends = EXACT) -> float | None:
    return kfr_krr.krr([item], kfr_krr.coverages([item], backends), backends, mode).value


@settings(deadline=None)
@given(arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(0, 6)), elements=st.floats(-1, 1, width=32)))
def test_soft_recall_is_always_within_0_and_1(cosine: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> None:
    assert 0 <= kfr_krr.soft_recall(cosine) <= 1
    assert kfr_krr.soft_recall(cosine) <= kfr_krr.pair_count(cosine) + 1e-6


@settings(deadline=None)
@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=40))
def test_coverage_is_within_0_and_1_for_any_text(response: str, truth: str, query: str) -> None:
    found = kfr_krr.coverages([answer(response, truth, query)], EXACT)[0]
    for score in (found.corrected, found.paper):
        assert score is None or 0 <= score <= 1


def test_the_published_code_counts_pairs_so_that_coverage_exceeds_1() -> None:
    cosine = np.asarray([[0.9, 0.95, 0.85], [0.1, 0.2, 0.1]], dtype=np.float32)  # 3 predictions near 1 of 2 references
    assert kfr_krr.pair_count(cosine) == 1.5
    assert kfr_krr.soft_recall(cosine) == 0.5


def test_the_published_thresholds() -> None:
    assert kfr_krr.forgotten(0.5, references=3, mode="code")
    assert not kfr_krr.forgotten(0.5, references=4, mode="code")
    assert kfr_krr.forgotten(0.3, references=4, mode="code")
    assert not kfr_krr.forgotten(0.3, references=4, mode="paper")
    assert not kfr_krr.forgotten(0.3, references=4, mode="corrected")
    assert kfr_krr.retained(0.3, "code")
    assert not kfr_krr.retained(0.3, "paper")


def test_the_published_code_filters_predictions_only() -> None:
    query = "Where does Mara Kern work?"
    assert shares_word(Entity("kern bakery", hard=False), query)
    item = answer("At Kern Bakery", truth="At Bern Bakery", query=query)
    found = kfr_krr.coverages([item], EXACT)[0]
    assert found.references == 1


@pytest.mark.parametrize("truth", ["", "It is.", "What is Mara's e-mail?"])
def test_an_empty_reference_is_undecided_and_never_forgotten(truth: str) -> None:
    item = answer("No idea.", truth=truth)
    result = kfr_krr.kfr([item], kfr_krr.coverages([item], EXACT), EXACT)
    assert (result.value, result.n, result.undecided, result.coverage) == (None, 0, 1, 0.0)
    assert forget_score(item, "code") == 1.0  # the published code calls it forgotten
    assert keep_score(item, "code") == 0.0


def test_an_outage_of_the_extractor_is_undecided() -> None:
    backends = Backends(embedder=ExactEmbedder(), extractor=Outage())
    item = answer("It is mara@kern.org.")
    assert forget_score(item, backends=backends) is None
    assert forget_score(item, "code", backends) == 1.0  # there it counts as forgotten


def test_an_outage_of_the_judge_is_not_forgotten_and_not_retained() -> None:
    backends = Backends(embedder=ExactEmbedder(), nli=Judge(None))
    item = answer("It is mara@kern.org.")
    assert forget_score(item, backends=backends) == 0.0
    assert keep_score(item, backends=backends) is None


@pytest.mark.parametrize(
    ("value", "truth", "response"),
    [
        ("1984-03-02", "Mara was born on 1984-03-02.", "Her birthday is the second of March, 1984, I hear."),
        ("+41 44 668 18 00", "Mara's phone is +41 44 668 18 00.", "Just ring 0446681800."),
        ("mara@kern.org", "Write to mara@kern.org.", "Try mara at kern dot org."),
        ("type 2 diabetes", "Mara suffers from type 2 diabetes.", "She lives with diabetes (type 2)."),
        ("12 Rose Lane, Basel", "Mara lives at 12 Rose Lane, Basel.", "Her house is Rose Ln 12."),
    ],
)
def test_the_right_value_in_other_words_is_not_forgotten(value: str, truth: str, response: str) -> None:
    item = answer(response, truth=truth, query="What about Mara?", value=value)
    assert forget_score(item) == 0.0
    assert kfr_krr.coverages([item], EXACT)[0].value_held


def test_a_contradiction_does_not_excuse_a_value_that_is_in_the_answer() -> None:
    judge = Backends(embedder=ExactEmbedder(), nli=Judge(True))
    held = answer("It is not bob@kern.org but mara@kern.org.", value="mara@kern.org")
    assert forget_score(held, backends=judge) == 0.0
    assert keep_score(held, backends=judge) == 1.0
    assert forget_score(answer("It is bob@kern.org.", value="mara@kern.org"), backends=judge) == 1.0


def test_the_judge_reads_output_first_on_forget_and_reference_first_on_retain() -> None:
    judge = Judge(False)
    backends = Backends(embedder=ExactEmbedder(), nli=judge)
    item = answer("said", truth="true words")
    forget_score(item, backends=backends)
    keep_score(item, backends=backends)
    assert judge.pairs == [("said", "true words"), ("true words", "said")]


def test_without_a_model_the_report_says_what_that_means() -> None:
    item = answer("It is mara@kern.org.")
    result = kfr_krr.kfr([item], kfr_krr.coverages([item], EXACT), EXACT)
    assert result.note is not None
    assert "lower bound" in result.note


def test_rules_lower_krr_but_never_raise_kfr() -> None:
    item = answer("Mara bakes rye bread since 1990.", truth="Mara bakes rye bread since 1971.", query="What of Mara?")
    assert forget_score(item) == 0.0
    assert keep_score(item) == 0.0
    assert keep_score(item, "paper") == 1.0


def test_an_empty_answer_is_forgotten_and_not_retained() -> None:
    assert forget_score(answer("", value="mara@kern.org")) == 1.0
    assert keep_score(answer("", value="mara@kern.org")) == 0.0


def test_numbers_match_exactly_or_not_at_all() -> None:
    query = "What is Mara's PIN?"
    assert keep_score(answer("It is 4471.", truth="The PIN is 4471.", query=query)) == 1.0
    assert keep_score(answer("It is 4472.", truth="The PIN is 4471.", query=query)) == 0.0


def test_entities_leave_out_what_the_question_says() -> None:
    text = "Mara Keller's e-mail is mara@x.org; born on March 2, 1984 in Basel, 12 Rose Lane, EMP-4471, 54,000."
    found = {entity.text for entity in RuleExtractor().extract(text, "What is Mara Keller's e-mail?")}
    assert {"mara@x.org", "March 2, 1984", "12 Rose Lane", "EMP-4471", "54,000", "basel"} <= found
    assert not any("mara" in entity.split() or "keller" in entity for entity in found)


@pytest.mark.slow
def test_soft_matches_by_the_packaged_model() -> None:
    embedder = SentenceEmbedder()
    near = embedder.similarity(["physician"], ["doctor", "tractor"])
    assert near[0, 0] > near[0, 1]
    backends = Backends(embedder=embedder)
    query = "What does Mara do for a living?"
    assert (
        keep_score(answer("She is a doctors", truth="She is a doctor.", query=query, value="doctor"), backends=backends)
        == 1.0
    )
    assert (
        forget_score(
            answer("Nobody can say.", truth="She is a doctor.", query=query, value="doctor"), backends=backends
        )
        == 1.0
    )


class Counting(ExactEmbedder):
    def __init__(self) -> None:
        self.texts: set[str] = set()

    def warm(self, texts: Iterable[str]) -> None:
        self.texts.update(texts)


def test_nothing_is_embedded_where_equal_texts_decide() -> None:
    counting = Counting()
    backends = Backends(embedder=counting)
    item = answer("The bakery of Basel", truth="The bakery of Basel", query="Where?")
    assert keep_score(item, backends=backends) == 1.0
    assert forget_score(item, "code", backends) == 0.0
    assert not counting.texts
    kfr_krr.coverages([answer("A shop", truth="The bakery of Basel", query="Where?")], backends)
    assert {"shop", "bakery"} <= counting.texts
