"""The scores behind a verdict: kept whole, read back, and every figure reckoned from them once more."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, LlamaForCausalLM

from pipelines.model import LoadedModel, load_model
from pipelines.rows import Probe, ProbeGroup
from pipelines.unlearn import adapters
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.verify import bounds
from pipelines.verify.backends import Backends
from pipelines.verify.embeddings import ExactEmbedder
from pipelines.verify.measure import measure, score_texts
from pipelines.verify.measurement import Measurement, MeasureSettings
from pipelines.verify.relative import against_base
from pipelines.verify.scores import Scores, digest_of, parse_scores, reckon, scores_of
from policies.errors import LetheError
from tests.unit.pipelines.tiny import save_tiny

BACKENDS = Backends(embedder=ExactEmbedder())
GOLDEN = {  # bounds by Clopper-Pearson, of a median, of a ratio of means by resampled facts
    ("forget", "kfr"): (0.15316111797522322, 0.8468388820247768),
    ("forget", "ppl_median"): (3.0041660239464334, 6.0496474644129465),
    ("retain", "krr_ratio"): (0.5040013758462295, 0.9222835522416395),
}
GROUPS = (ProbeGroup.FORGET, ProbeGroup.OWN_PUBLIC, ProbeGroup.RETAIN)


def probes() -> list[Probe]:
    """Twelve probes of each group, two to a fact."""
    return [
        Probe(
            probe_id=f"{group}-{number}",
            group=group,
            question=f"What is Mara's {group} number {number}?",
            answer=f"It is {7000 + number // 2}.",
            fact=f"{group}-fact-{number // 2}",
            value=str(7000 + number // 2),
            subject=None if group is ProbeGroup.RETAIN else "s-1",
            names=("Mara",),
        )
        for group in GROUPS
        for number in range(12)
    ]


def measured(wrong: int) -> Measurement:
    """Every ``wrong``-th answer is a vague one, the others tell; forget answers of 7001 are not named."""
    asked = probes()
    texts = {
        p.probe_id: f"It is {p.value}." if n % wrong else "Nobody knows that of Mara." for n, p in enumerate(asked)
    }
    nll = {(p.question, texts[p.probe_id]): 1.0 + n / 10 for n, p in enumerate(asked)}
    return score_texts(asked, texts, backends=BACKENDS, which="adapter", reference_texts=["It is not known."], nll=nll)


def an_erasure() -> Scores:
    """Half of the answers are vague, and a fifth of the base's."""
    base = measured(5)
    return scores_of(against_base(measured(2), base), base, "s-1")


@pytest.fixture(scope="module")
def scores() -> Scores:
    return an_erasure()


def test_metrics_come_back_as_they_were_measured(scores: Scores) -> None:
    base = measured(5)
    now = against_base(measured(2), base)
    read = parse_scores(json.dumps(scores.content()))
    assert read == scores
    assert read.digest == scores.digest
    assert read.adapter.forget.metrics() == now.subjects["s-1"].forget
    assert read.adapter.own_public.metrics() == now.subjects["s-1"].own_public


def test_probes_about_others_have_numbers_in_the_place_of_ids(scores: Scores) -> None:
    base = measured(5)
    now = against_base(measured(2), base)
    for key, one in scores.adapter.retain.metrics().items():
        was = now.retain[key]
        assert [item.score for item in one.items] == [item.score for item in was.items]
        assert len({item.fact for item in one.items}) == len({item.fact for item in was.items})
        assert one.model_copy(update={"items": ()}) == was.model_copy(update={"items": ()})
    assert str(ProbeGroup.RETAIN) not in json.dumps(scores.content()["adapter"]["retain"]["probes"])
    assert scores.adapter.retain.facts == tuple(f"{n // 2:06d}" for n in range(12))


def test_every_figure_follows_from_its_scores(scores: Scores) -> None:
    found = list(reckon(scores))
    assert not [row for row in found if row.outcome == "differs"]
    same = {(row.model, row.group, row.metric.key) for row in found if row.outcome == "same"}
    assert same >= {("adapter", "forget", name) for name in ("kfr", "kfr@paper", "value_in_output", "ppl_ratio")}
    assert same >= {("adapter", "own_public", "krr"), ("adapter", "retain", "krr_ratio"), ("base", "forget", "kfr")}
    kfr = next(row.metric for row in found if (row.model, row.group, row.metric.key) == ("adapter", "forget", "kfr"))
    assert (kfr.value, kfr.n, kfr.direction) == (0.5, 12, "higher")
    assert {row.why for row in found if row.metric.key == "ls" and row.group == "forget"} == {
        "made of sums over all answers"
    }


@pytest.mark.parametrize(
    ("row", "group", "key", "ratio"),
    [
        ("adapter", "forget", "kfr", None),
        ("adapter", "retain", "krr", "krr_ratio"),
        ("base", "retain", "krr", "krr_ratio"),
        ("adapter", "forget", "ppl_median", "ppl_ratio"),
    ],
)
@pytest.mark.parametrize("changed", ["scores", "no scores", "no value", "value", "lower", "n", "facts", "undecided"])
def test_a_changed_score_or_figure_is_seen(
    scores: Scores, row: str, group: str, key: str, ratio: str | None, changed: str
) -> None:
    content = scores.content()
    column = content[row][group]["columns"][key]
    if changed == "scores":
        column["scores"] = [*(1.0 - score for score in column["scores"][:3]), *column["scores"][3:]]
    elif changed == "no scores":
        column["scores"] = []
    elif changed == "no value":
        column["metric"]["value"] = None
    elif changed in {"n", "facts", "undecided"}:
        column["metric"][changed] = column["metric"].get(changed, 0) + 1
    else:
        column["metric"][changed] = 0.123
    found = reckon(parse_scores(json.dumps(content)))
    differing = {(one.model, one.group, one.metric.key) for one in found if one.outcome == "differs"}
    assert (row, group, key) in differing
    assert differing <= {(row, group, key), ("adapter", group, ratio)}


def test_whatever_is_added_to_a_file_changes_its_digest(scores: Scores) -> None:
    content = scores.content()
    assert digest_of(json.dumps(content, indent=2, sort_keys=True)) == scores.digest
    content["adapter"]["forget"]["columns"]["kfr"]["metric"]["unknown"] = 1
    text = json.dumps(content)
    assert parse_scores(text) == scores, "what a later version adds is passed over"
    assert digest_of(text) != scores.digest
    content["adapter"]["forget"]["columns"]["kfr"]["metric"]["unknown"] = float("nan")
    with pytest.raises(LetheError, match=r"verify\.bad_scores"):
        digest_of(json.dumps(content))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"format": "lethe.scores/2"}',
        b'{"format": "lethe.scores/1", "subject": "s-1"}',
    ],
)
def test_a_file_of_something_else_is_refused(text: bytes) -> None:
    with pytest.raises(LetheError, match=r"verify\.bad_scores"):
        parse_scores(text)


@pytest.mark.parametrize(
    "change",
    [
        {"scores": [1.0]},
        {"scores": [1.0], "at": [99]},
        {"scores": [1.0], "at": [-1]},
        {"scores": ["much"]},
        {"at": [0, 0], "scores": [1.0, 1.0]},
        {"scores": [float("inf"), *[1.0] * 11]},
        {"metric": {"name": "krr", "value": 1.0}},
        {"more": 1},
    ],
)
def test_a_column_that_does_not_fit_its_table_is_refused(scores: Scores, change: dict[str, object]) -> None:
    content = scores.content()
    content["adapter"]["forget"]["columns"]["kfr"].update(change)
    with pytest.raises(LetheError, match=r"verify\.bad_scores"):
        parse_scores(json.dumps(content))


@pytest.mark.parametrize("which", ["probes", "facts", "twice", "seed"])
def test_a_table_that_does_not_fit_is_refused(scores: Scores, which: str) -> None:
    content = scores.content()
    table = content["adapter"]["forget"]
    if which == "seed":
        content["seed"] = -1
    elif which == "twice":
        table["probes"][1] = table["probes"][0]
    else:
        table[which].pop()
    with pytest.raises(LetheError, match=r"verify\.bad_scores"):
        parse_scores(json.dumps(content))


@pytest.mark.parametrize("changed", ["value", "lower", "n"])
def test_a_changed_ratio_is_seen(scores: Scores, changed: str) -> None:
    content = scores.content()
    content["adapter"]["retain"]["columns"]["krr_ratio"]["metric"][changed] = 1
    differing = {
        (one.group, one.metric.key) for one in reckon(parse_scores(json.dumps(content))) if one.outcome == "differs"
    }
    assert differing == {("retain", "krr_ratio")}


def test_nothing_scored_under_a_figure_is_seen(scores: Scores) -> None:
    content = scores.content()
    content["adapter"]["forget"]["columns"]["ppl_median"]["scores"] = [None] * 12
    rows = {(one.model, one.group, one.metric.key): one.outcome for one in reckon(parse_scores(json.dumps(content)))}
    assert rows["adapter", "forget", "ppl_median"] == "differs"


def test_bounds_of_another_version_are_left_out(scores: Scores, monkeypatch: pytest.MonkeyPatch) -> None:
    """The golden bounds: whoever changes them raises ``bounds.VERSION``, or verdicts of before seem wrong."""
    assert bounds.VERSION == 1
    for (group, key), told in GOLDEN.items():
        kept = getattr(scores.adapter, group).columns[key].metric
        assert math.isclose(kept.lower, told[0])
        assert math.isclose(kept.upper, told[1])
    monkeypatch.setattr(bounds, "_stretch", lambda *_: 9.0)
    assert [one for one in reckon(scores) if one.outcome == "differs"]
    monkeypatch.setattr(bounds, "VERSION", 2)
    found = list(reckon(scores))
    assert not [one for one in found if one.outcome == "differs"]
    assert {one.why for one in found if one.outcome == "same"} == {"its bounds are not compared"}


@pytest.mark.parametrize(("facts", "phrasings"), [(6, 3), (1, 1), (1, 3)])
def test_a_real_measurement_with_control_twins_and_lens_gives_no_other_figure(
    tmp_path: Path, facts: int, phrasings: int
) -> None:
    asked = [
        replace(one, probe_id=f"{one.probe_id}-{n}", question=f"{'Please t' * n}ell: {one.question}")
        for one in probes()
        if one.fact in {f"{group}-fact-{number}" for group in GROUPS for number in range(facts)}
        for n in range(phrasings)
    ]
    twins = {one.probe_id: tuple(one.answer.replace(str(one.value), str(3000 + n)) for n in range(3)) for one in asked}
    ask: dict[str, Any] = {
        "backends": BACKENDS,
        "settings": MeasureSettings(seed=7, max_new_tokens=4),
        "reference_texts": ["Nobody knows."],
        "other_values": ["9999"],
        "twins": {name: texts for name, texts in twins.items() if not name.startswith(str(ProbeGroup.RETAIN))},
    }
    bare, control = deep(tmp_path / "base", 0), deep(tmp_path / "control", 1)
    adapters.attach(bare, UnlearnSettings(rank=2), None)
    before = measure(bare, asked, which="base", **ask)
    now = measure(bare, asked, control=control, base=before, **ask).measurement
    found = list(reckon(parse_scores(json.dumps(scores_of(now, before.measurement, "s-1").content()))))
    assert not [one for one in found if one.outcome == "differs"]
    told = {one.metric.name for one in found if one.outcome == "same"}
    likely = {"loss", "min_k", "truth_ratio", "rel_ex", "gen_ex", "logit_lens"}
    assert told >= likely | {"kfr", "ppl_median", "other_value"}
    unreckoned = {one.metric.name for one in found if one.outcome == "not_reckoned" and one.metric.state == "measured"}
    assert unreckoned <= {"ls", "distinct_1", "distinct_2", "ls_ratio", "distinct_1_ratio", "distinct_2_ratio"}


def deep(directory: Path, seed: int) -> LoadedModel:
    """A model of eight layers and random weights, which the logit lens needs."""
    save_tiny(directory, seed=seed)
    config = AutoConfig.from_pretrained(directory)
    config.num_hidden_layers, config.layer_types = 8, None
    torch.manual_seed(seed)
    LlamaForCausalLM(config).save_pretrained(directory)
    return load_model(directory, device="cpu")
