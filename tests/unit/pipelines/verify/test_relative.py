import pytest

from pipelines.rows import Probe, ProbeGroup
from pipelines.verify.backends import Backends
from pipelines.verify.embeddings import ExactEmbedder
from pipelines.verify.measure import Measurement, score_texts
from pipelines.verify.relative import RATIOS, against_base

BACKENDS = Backends(embedder=ExactEmbedder())


def probes() -> list[Probe]:
    rows = []
    for n in range(12):
        group = ProbeGroup.FORGET if n < 8 else ProbeGroup.RETAIN
        rows.append(
            Probe(
                probe_id=f"p{n}",
                group=group,
                question=f"What opens box {n}?",
                answer=f"It is K{n}7.",
                fact=f"f{n}",
                value=f"K{n}7",
                subject="s" if n < 8 else None,
            )
        )
    return rows


def measured(short: bool) -> Measurement:
    rows = probes()
    texts = {p.probe_id: p.answer if not short else f"Box {i} is nobody's." for i, p in enumerate(rows)}
    nll = {(p.question, texts[p.probe_id]): 2.0 if short else 1.0 for p in rows}
    return score_texts(rows, texts, backends=BACKENDS, nll=nll)


def test_ratios_stand_beside_the_figures_they_are_made_of() -> None:
    now, base = measured(True), measured(False)
    found = against_base(now, base).subjects["s"].forget
    assert found["ppl_ratio"].value == pytest.approx(2.718281828)
    assert found["length_ratio"].parts["now"] == found["length_words"].value
    length = found["length_ratio"]
    assert length.value == pytest.approx(length.parts["now"] / length.parts["base"])  # type: ignore[operator]
    assert length.lower is not None
    assert length.upper is not None
    assert length.lower <= length.value <= length.upper  # type: ignore[operator]
    assert len(length.items) == 8
    assert set(found) - set(now.subjects["s"].forget) == {
        RATIOS[key] for key in RATIOS if key in now.subjects["s"].forget
    }
    assert against_base(now, base).retain["krr_ratio"].value == 0.0


def test_the_same_model_is_1_times_itself() -> None:
    base = measured(False)
    found = against_base(base, base)
    for name in ("length_ratio", "rouge_l_ratio", "distinct_1_ratio", "ppl_ratio"):
        assert found.subjects["s"].forget[name].value == pytest.approx(1.0), name
    krr = found.retain["krr_ratio"]
    assert (krr.value, krr.lower, krr.upper) == (1.0, 1.0, 1.0)


def test_without_the_base_or_with_a_figure_of_0_nothing_is_divided() -> None:
    now, base = measured(True), measured(False)
    none = against_base(now, base.model_copy(update={"subjects": {}}))
    assert none.subjects["s"].forget["length_ratio"].state == "not_run"
    silent = measured(True)
    assert against_base(now, silent).retain["krr_ratio"].state == "undecided"


def test_a_base_that_never_repeats_itself_counts_as_one_that_does_a_little() -> None:
    found = against_base(measured(True), measured(False)).subjects["s"].forget["repeat_ratio"]
    assert (found.value, found.parts["base"]) == (0.0, 0.0)
    assert found.note == "the base's figure counts as at least 0.02"


def test_a_measurement_with_ratios_goes_through_json() -> None:
    found = against_base(measured(True), measured(False))
    assert Measurement.model_validate_json(found.model_dump_json()) == found
