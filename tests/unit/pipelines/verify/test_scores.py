"""The scores behind a verdict: kept whole, read back, and every figure reckoned from them once more."""

import json
from collections import Counter

import pytest

from pipelines.rows import Probe, ProbeGroup
from pipelines.verify.backends import Backends
from pipelines.verify.embeddings import ExactEmbedder
from pipelines.verify.measure import score_texts
from pipelines.verify.measurement import Measurement
from pipelines.verify.relative import against_base
from pipelines.verify.scores import Scores, parse_scores, reckon, scores_of
from policies.errors import LetheError

BACKENDS = Backends(embedder=ExactEmbedder())
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
    assert read.adapter.retain.metrics() == now.retain
    assert read.base.retain.metrics() == base.retain


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
    ("row", "group", "key", "also"),
    [
        ("adapter", "forget", "kfr", set()),
        ("adapter", "retain", "krr", {"krr_ratio"}),
        ("base", "retain", "krr", {"krr_ratio"}),
        ("adapter", "forget", "ppl_median", {"ppl_ratio"}),
    ],
)
@pytest.mark.parametrize("changed", ["scores", "value", "lower", "n"])
def test_a_changed_score_or_figure_is_seen(
    scores: Scores, row: str, group: str, key: str, also: set[str], changed: str
) -> None:
    content = scores.content()
    column = content[row][group]["columns"][key]
    if changed == "scores":
        column["scores"] = [*(1.0 - score for score in column["scores"][:3]), *column["scores"][3:]]
    elif changed == "n":
        column["metric"]["n"] += 1
    else:
        column["metric"][changed] = 0.123
    differing = Counter(one.metric.key for one in reckon(parse_scores(json.dumps(content))) if one.outcome == "differs")
    assert differing[key] >= 1
    assert set(differing) <= {key, *also}


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
        {"more": 1},
    ],
)
def test_a_column_that_does_not_fit_its_table_is_refused(scores: Scores, change: dict[str, object]) -> None:
    content = scores.content()
    content["adapter"]["forget"]["columns"]["kfr"].update(change)
    with pytest.raises(LetheError, match=r"verify\.bad_scores"):
        parse_scores(json.dumps(content))


def test_probes_and_facts_of_different_number_are_refused(scores: Scores) -> None:
    content = scores.content()
    content["adapter"]["forget"]["facts"].pop()
    with pytest.raises(LetheError, match=r"verify\.bad_scores"):
        parse_scores(json.dumps(content))
