import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from pipelines import generation
from pipelines.model import LoadedModel
from pipelines.rows import Probe, ProbeGroup
from pipelines.verify import lens, measure, teacher_forced
from pipelines.verify.backends import Backends
from pipelines.verify.embeddings import ExactEmbedder
from pipelines.verify.relative import against_base
from pipelines.verify.token_scores import TokenScores
from policies.errors import LetheError

BACKENDS = Backends(embedder=ExactEmbedder())


def token_scores(levels: Sequence[float]) -> TokenScores:
    told = np.array(levels, np.float32)
    return TokenScores(told, told > -1, told - 1, np.ones_like(told), text_bytes=20)


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

    def forced(loaded: TwoFaced, pairs: Sequence[tuple[str, str]], **settings: Any) -> list[TokenScores]:
        loaded.scored += [(pair, loaded.adapter) for pair in pairs]
        level = -2.0 if loaded.adapter else -0.5
        return [token_scores([level] * len(answer.split())) for _, answer in pairs]

    monkeypatch.setattr(generation, "generate", generate)
    monkeypatch.setattr(teacher_forced, "teacher_forced", forced)
    monkeypatch.setattr(lens, "unfit", lambda loaded: "two faces have no layers")
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
        likelihood=False,
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
    assert found["s1"].value == pytest.approx(2.0)
    assert {adapter for _, adapter in model.scored} == {True}


@pytest.mark.parametrize("rows", [[], probes()[3:], [probes()[0], probes()[0]]])
def test_no_forget_probe_or_two_of_one_id_is_refused(rows: list[Probe]) -> None:
    with pytest.raises(LetheError, match=r"verify\.no_probes"):
        measure.score_texts(rows, {row.probe_id: "" for row in rows}, backends=BACKENDS)


def test_empty_answers_are_forgotten_and_not_fluent() -> None:
    rows = probes()
    found = measure.score_texts(rows, {row.probe_id: "" for row in rows}, backends=BACKENDS).subjects["s1"].forget
    assert (found["kfr"].value, found["kfr_fluent"].value, found["empty"].value) == (1.0, 0.0, 1.0)


LIKELIHOOD = {
    "probability",
    "exact_memorisation",
    "extraction_strength",
    "loss",
    "zlib",
    "min_k",
    "min_k_plus",
    "truth_ratio",
    "gen_ex",
    "gen_ex_token",
    "rel_ex",
    "rel_ex_token",
    "logit_lens",
}
TWINS = {f"p{fact}": ["It is v9x9.", "It is v8x8."] for fact in range(3)}


def test_without_likelihoods_their_metrics_are_not_run_and_no_pass_is_made_for_them(model: TwoFaced) -> None:
    found = measure.measure(as_model(model), probes(), backends=BACKENDS, likelihood=False)
    forget = found.measurement.subjects["s1"].forget
    assert {key for key in LIKELIHOOD if forget[key].state == "not_run"} == LIKELIHOOD
    assert {pair for pair, _ in model.scored} == {
        (f"What is item {i}?", f"Nobody can say much about Mara {i}.") for i in range(3)
    }
    assert found.likelihoods is None


def test_one_pass_for_the_model_and_one_for_its_base(model: TwoFaced) -> None:
    found = measure.measure(as_model(model), probes(), backends=BACKENDS, twins=TWINS)
    forget = found.measurement.subjects["s1"].forget
    gold = [(f"What is item {i}?", f"It is v{i}x1.") for i in range(4)]
    assert [pair for pair, adapter in model.scored if adapter][:4] == gold
    assert sum(adapter for _, adapter in model.scored) == 4 + 6
    assert [pair for pair, adapter in model.scored if not adapter][3:] == gold
    assert forget["probability"].value == pytest.approx(math.exp(-2))
    assert forget["probability"].parts == {"base": pytest.approx(math.exp(-0.5))}
    assert (forget["extraction_strength"].value, forget["extraction_strength"].parts["base"]) == (0.0, 1.0)
    assert forget["loss"].direction == "higher"
    assert found.measurement.retain["loss"].direction == "lower"
    assert forget["truth_ratio"].value == pytest.approx(1.0)
    assert forget["rel_ex"].state == "undecided"  # three items decide nothing
    assert forget["gen_ex"].state == "not_run"
    assert forget["logit_lens"].note == "two faces have no layers"


def test_the_bases_likelihoods_serve_the_adapters_row(model: TwoFaced) -> None:
    base = measure.measure(as_model(model), probes(), backends=BACKENDS, which="base")
    model.scored.clear()
    found = measure.measure(as_model(model), probes(), backends=BACKENDS, base=base.likelihoods)
    assert sum(not adapter for _, adapter in model.scored) == 3  # its answers' perplexity only
    assert found.measurement.subjects["s1"].forget["loss"].parts["base"] == pytest.approx(0.5)


def test_the_bases_row_gives_the_ratios_to_it(model: TwoFaced) -> None:
    base = measure.measure(as_model(model), probes(), backends=BACKENDS, which="base")
    model.scored.clear()
    found = measure.measure(as_model(model), probes(), backends=BACKENDS, base=base).measurement.subjects["s1"].forget
    assert sum(not adapter for _, adapter in model.scored) == 3
    assert found["length_ratio"].value == pytest.approx(8 / 4)  # two and four words, with their full stops
    assert found["probability_ratio"].parts["base"] == pytest.approx(math.exp(-0.5))


def test_a_control_gives_exposure(model: TwoFaced) -> None:
    other = TwoFaced()
    found = measure.measure(as_model(model), probes(), backends=BACKENDS, control=as_model(other))
    result = found.measurement.subjects["s1"].forget["gen_ex_token"]
    assert result.value == pytest.approx(0.0)
    assert len(other.scored) == 4


def test_likelihoods_of_other_probes_are_refused(model: TwoFaced) -> None:
    base = measure.measure(as_model(model), probes()[:2], backends=BACKENDS, which="base")
    with pytest.raises(LetheError, match=r"verify\.misaligned"):
        measure.measure(as_model(model), probes(), backends=BACKENDS, base=base.likelihoods)


def test_a_probe_without_an_answer_is_refused() -> None:
    rows = probes()
    with pytest.raises(LetheError, match=r"verify\.misaligned"):
        measure.score_texts(rows, {row.probe_id: "" for row in rows[:2]}, backends=BACKENDS)


def test_measurements_of_before_are_still_read(model: TwoFaced) -> None:
    now = measure.measure(as_model(model), probes(), backends=BACKENDS).measurement.model_dump(mode="json")
    for subject in now["subjects"].values():
        subject["forget"] = {key: value for key, value in subject["forget"].items() if key not in LIKELIHOOD}
    assert now["format"] == "lethe.measurement/1"
    assert measure.Measurement.model_validate(now).subjects["s1"].forget["kfr"].value == 1.0


def test_the_table_of_metrics_names_every_one(model: TwoFaced) -> None:
    table = (Path(__file__).parents[4] / "docs" / "metrics.md").read_text(encoding="utf-8")
    base = measure.measure(as_model(model), probes(), backends=BACKENDS, which="base").measurement
    found = measure.measure(
        as_model(model),
        probes(),
        backends=BACKENDS,
        reference_texts=["Little is known of Mara."],
        other_values=["v7x7"],
        twins=TWINS,
        control=as_model(TwoFaced()),
    ).measurement
    subject = against_base(found, base).subjects["s1"]
    names = {result.name for group in (subject.forget, subject.reference, found.retain) for result in group.values()}
    assert names >= LIKELIHOOD
    assert not {name for name in names if f"`{name}`" not in table and f"`{re.sub('[12]', '*', name)}`" not in table}
    assert not {result.name for result in subject.forget.values() if not result.source}
