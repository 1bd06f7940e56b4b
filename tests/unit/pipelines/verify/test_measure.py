from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import pytest

from pipelines import generation
from pipelines.model import LoadedModel
from pipelines.rows import Probe, ProbeGroup
from pipelines.verify import measure
from pipelines.verify.backends import Backends
from pipelines.verify.embeddings import ExactEmbedder
from policies.errors import LetheError

BACKENDS = Backends(embedder=ExactEmbedder())


class TwoFaced:
    """A model that hedges with its adapter on and tells with it off, and counts what it is asked."""

    def __init__(self) -> None:
        self.adapter = True
        self.asked: list[tuple[str, bool]] = []
        self.scored: list[tuple[tuple[str, str], bool]] = []

    @contextmanager
    def adapter_disabled(self) -> Iterator["TwoFaced"]:
        self.adapter = False
        try:
            yield self
        finally:
            self.adapter = True


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> TwoFaced:
    def generate(loaded: TwoFaced, prompts: Sequence[str], **settings: Any) -> list[str]:
        loaded.asked += [(prompt, loaded.adapter) for prompt in prompts]
        if settings["progress"]:
            settings["progress"](len(prompts), len(prompts))
        return [f"Nobody can say much about Mara {p[-2]}." if loaded.adapter else f"It is v{p[-2]}x1." for p in prompts]

    def answer_logprobs(
        loaded: TwoFaced, pairs: Sequence[tuple[str, str]], **settings: Any
    ) -> list[generation.AnswerScore]:
        loaded.scored += [(pair, loaded.adapter) for pair in pairs]
        return [generation.AnswerScore(float(len(pair[1])), len(pair[1].split())) for pair in pairs]

    monkeypatch.setattr(generation, "generate", generate)
    monkeypatch.setattr(generation, "answer_logprobs", answer_logprobs)
    return TwoFaced()


def probes() -> list[Probe]:
    rows = []
    for fact in range(4):
        group = ProbeGroup.FORGET if fact < 3 else ProbeGroup.RETAIN
        subject = "s1" if fact < 3 else None
        rows.append(
            Probe(
                probe_id=f"p{fact}",
                group=group,
                question=f"What is item {fact}?",
                answer=f"It is v{fact}x1.",
                fact=f"f{fact}",
                value=f"v{fact}x1",
                subject=subject,
                names=("Mara",),
            )
        )
    return rows


def as_model(model: TwoFaced) -> LoadedModel:
    return cast("LoadedModel", model)


def test_one_pass_generates_for_all_probes_and_perplexity_is_the_bases(model: TwoFaced) -> None:
    stages: list[str] = []
    measured = measure.measure(
        as_model(model),
        probes(),
        backends=BACKENDS,
        reference_texts=["Little is known of Mara."],
        progress=lambda stage, done, of: stages.append(stage),
    )
    assert model.asked == [(f"What is item {i}?", True) for i in range(4)]
    assert {adapter for _, adapter in model.scored} == {False}
    assert len(model.scored) == 6  # three answers, three reference sentences, each once
    assert measured.measurement.subjects["s1"].forget["kfr"].value == 1.0
    assert measured.texts["p0"].startswith("Nobody")
    assert set(measured.measurement.seconds) == {"generate", "likelihood", "score"}
    assert stages == ["generate", "score"]


def test_the_bases_row_is_the_same_model_with_the_adapter_off(model: TwoFaced) -> None:
    measured = measure.measure(as_model(model), probes(), backends=BACKENDS, which="base")
    assert {adapter for _, adapter in model.asked} == {False}
    assert model.adapter
    assert measured.measurement.subjects["s1"].forget["kfr"].value == 0.0
    assert measured.measurement.retain["krr"].value == 1.0


def test_a_measurement_goes_through_json_and_holds_no_text(model: TwoFaced) -> None:
    measured = measure.measure(as_model(model), probes(), backends=BACKENDS, which="base")
    text = measured.measurement.model_dump_json()
    assert measure.Measurement.model_validate_json(text) == measured.measurement
    assert "v1x1" not in text
    assert "Mara" not in text


def test_the_cheap_pass_generates_nothing(model: TwoFaced) -> None:
    found = measure.cheap_pass(as_model(model), probes())
    assert not model.asked
    assert set(found) == {"s1"}
    assert found["s1"].n == 3
    assert found["s1"].value == pytest.approx(len("It is v0x1.") / 3)


@pytest.mark.parametrize("rows", [[], probes()[3:], [probes()[0], probes()[0]]])
def test_no_forget_probe_or_two_of_one_id_is_refused(rows: list[Probe]) -> None:
    with pytest.raises(LetheError, match=r"verify\.no_probes"):
        measure.score_texts(rows, {row.probe_id: "" for row in rows}, backends=BACKENDS)


def test_empty_answers_are_forgotten_and_not_fluent() -> None:
    rows = probes()
    found = measure.score_texts(rows, {row.probe_id: "" for row in rows}, backends=BACKENDS).subjects["s1"].forget
    assert (found["kfr"].value, found["kfr_fluent"].value, found["empty"].value) == (1.0, 0.0, 1.0)
