"""What a measurement makes of poor material: a clear result or a clear error, never a wrong number."""

import copy
import dataclasses
import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.model import LoadedModel
from pipelines.rows import Probe, ProbeGroup
from pipelines.verify import bounds, exposure, fluency, results
from pipelines.verify.answers import Answer
from pipelines.verify.backends import Backends
from pipelines.verify.embeddings import ExactEmbedder
from pipelines.verify.linguistic_score import ls
from pipelines.verify.measure import MeasureSettings, SubjectMeasurement, cheap_pass, measure, score_texts
from pipelines.verify.results import MODES, Item, MetricResult
from policies.errors import LetheError
from tests.unit.pipelines.tiny import tiny

BACKENDS = Backends(embedder=ExactEmbedder())
TEXTS = ("", "no", "no no no no no no no no", "I would rather not say what it is.")


class DownJudge:
    """An NLI model that answers nothing."""

    name = "down"
    is_model = True

    def contradicts(self, pairs: Sequence[tuple[str, str]]) -> list[bool | None]:
        return [None] * len(pairs)


class DownExtractor:
    """An entity extractor that answers nothing."""

    name = "down"

    def extract(self, text: str, query: str) -> None:
        return None


def probe(n: int, group: ProbeGroup = ProbeGroup.FORGET, value: str | None = "K{n}7") -> Probe:
    value = value.format(n=n) if value else None
    return Probe(
        probe_id=f"{group.value}{n}",
        group=group,
        question=f"What opens box {n}?",
        answer=f"The code of box {n} is K{n}7.",
        fact=f"{group.value}-f{n}",
        value=value,
        subject=None if group is ProbeGroup.RETAIN else "s",
        names=("Mara",),
    )


PROBES = [*(probe(n) for n in range(6)), probe(8, ProbeGroup.OWN_PUBLIC), probe(9, ProbeGroup.RETAIN)]


def finite(found: dict[str, MetricResult]) -> bool:
    figures = [
        figure
        for result in found.values()
        for figure in (
            result.value,
            result.lower,
            result.upper,
            *result.parts.values(),
            *(i.score for i in result.items),
        )
        if figure is not None
    ]
    return all(math.isfinite(figure) for figure in figures)


def scored(text: str, backends: Backends = BACKENDS) -> SubjectMeasurement:
    return score_texts(PROBES, {p.probe_id: text for p in PROBES}, backends=backends).subjects["s"]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("text", TEXTS)
def test_all_identical_answers_give_finite_figures_whatever_they_say(text: str) -> None:
    found = scored(text)
    assert finite(found.forget)
    assert finite(found.own_public)
    assert found.forget["kfr"].value == 1.0
    assert found.forget["rouge_l"].n == 6
    assert found.forget["length_words"].value == (len(text.rstrip(".").split()) + text.count("."))
    distinct = found.forget["distinct_2"]
    assert (distinct.state == "undecided") == (len(text.split()) < 2)
    if distinct.value is not None:
        assert distinct.value <= 1 / 6 + 1e-9  # the same words six times are not six answers


def test_gibberish_is_forgotten_and_not_fluent() -> None:
    found = scored("at " * 40).forget
    assert (found["kfr"].value, found["kfr_fluent"].value) == (1.0, 0.0)
    assert found["repeated_4grams"].value == pytest.approx(36 / 37)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("text", ["Basel", ""])
def test_one_word_answers_divide_nothing_by_zero(text: str, mode: str) -> None:
    answers = [Answer(probe=f"p{i}", fact=f"f{i}", query="q", truth="t", response=text, nll=2.0) for i in range(5)]
    result = ls(answers, mode)  # type: ignore[arg-type]
    assert result.value is None or math.isfinite(result.value)
    assert finite({"ls": result})


@pytest.mark.parametrize("value", [None, "a physician"])
def test_a_judge_that_is_down_makes_nothing_forgotten(value: str | None) -> None:
    down = Backends(embedder=ExactEmbedder(), nli=DownJudge(), extractor=DownExtractor())
    rows = [dataclasses.replace(p, value=value) for p in PROBES]
    found = score_texts(rows, {p.probe_id: "Nobody knows." for p in rows}, backends=down)
    kfr = found.subjects["s"].forget["kfr"]
    assert (kfr.state, kfr.value, kfr.n, kfr.undecided) == ("undecided", None, 0, 6)
    assert found.subjects["s"].forget["kfr_fluent"].value is None
    assert found.retain["krr"].value is None


def test_a_retain_set_of_one_row_has_the_widest_bound() -> None:
    krr = score_texts(PROBES, {p.probe_id: p.answer for p in PROBES}, backends=BACKENDS).retain["krr"]
    assert (krr.n, krr.value) == (1, 1.0)
    assert krr.lower == pytest.approx(0.05)


def test_no_retain_probe_is_no_figure() -> None:
    forget = [p for p in PROBES if p.group is ProbeGroup.FORGET]
    assert score_texts(forget, {p.probe_id: "" for p in forget}, backends=BACKENDS).retain == {}


def test_probes_that_ask_the_same_are_answered_each_and_are_one_fact(loaded: LoadedModel) -> None:
    rows = [dataclasses.replace(probe(1), probe_id=f"p{i}") for i in range(4)]
    found = measure(loaded, rows, backends=BACKENDS, settings=MeasureSettings(max_new_tokens=4))
    forget = found.measurement.subjects["s"].forget
    assert len(found.texts) == 4
    assert len(set(found.texts.values())) == 1
    assert (forget["kfr"].n, forget["kfr"].facts) == (4, 1)
    assert (forget["loss"].facts, forget["loss"].lower) == (1, None)  # one fact has no spread
    assert finite(forget)


def test_logits_that_are_no_numbers_stop_the_measurement(loaded: LoadedModel) -> None:
    broken = dataclasses.replace(loaded, model=copy.deepcopy(loaded.model))
    with torch.no_grad():
        broken.model.model.norm.weight[0] = float("nan")
    with pytest.raises(LetheError, match=r"verify\.bad_logits"):
        measure(broken, PROBES, backends=BACKENDS)
    with pytest.raises(LetheError, match=r"verify\.bad_logits"):
        cheap_pass(broken, PROBES)


def test_an_empty_gold_answer_is_undecided_and_spoils_nothing(loaded: LoadedModel) -> None:
    rows = [*PROBES, dataclasses.replace(probe(7), answer="", value=None)]
    found = measure(loaded, rows, backends=BACKENDS, settings=MeasureSettings(max_new_tokens=4))
    forget = found.measurement.subjects["s"].forget
    assert (forget["loss"].n, forget["loss"].undecided) == (6, 1)
    assert finite(forget)


def test_no_items_or_one() -> None:
    assert results.share("x", [], direction="higher", source="").state == "undecided"
    assert results.mean("x", [], direction="higher", source="").value is None
    one = results.mean("x", [Item(probe="p", fact="f", score=2.0)], direction="higher", source="")
    assert (one.value, one.n, one.lower, one.upper) == (2.0, 1, None, None)
    assert exposure.judge_exposure(["f"], [0.0]).state == "undecided"
    for metric in (fluency.repeated_4grams, fluency.empty, fluency.length, fluency.subject_named, fluency.ppl_median):
        assert metric([]).value is None
    assert fluency.distinct([], 1).state == "undecided"
    assert ls([]).value is None


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(["a b", "a b c d", "", "c", "a a a a a"]), min_size=1, max_size=8))
def test_distinct_is_a_share_and_its_items_make_it_up(texts: list[str]) -> None:
    answers = [Answer(probe=f"p{i}", fact=f"f{i}", query="q", truth="t", response=t) for i, t in enumerate(texts)]
    found = fluency.distinct(answers, 1)
    words = [word for text in texts for word in text.split()]
    if not words:
        assert found.value is None
        return
    assert found.value == pytest.approx(len(set(words)) / len(words))
    total = sum((item.score or 0.0) * len(text.split()) for item, text in zip(found.items, texts, strict=True))
    assert total == pytest.approx(len(set(words)))


def test_resampling_draws_as_many_facts_as_there_are() -> None:
    drawn = bounds._draws(7, 500, 3)
    assert drawn.shape == (500, 7)
    assert set(drawn.sum(axis=1)) == {7.0}
    assert abs(drawn.mean() - 1.0) < 1e-9
    assert abs(drawn.var() - 6 / 7) < 0.1  # a multinomial's: n p (1 - p)
