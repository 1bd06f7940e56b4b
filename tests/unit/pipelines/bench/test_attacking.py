from pathlib import Path

import pytest

from pipelines.bench import attacking, figure
from pipelines.bench.judging import fluent_items, twins_of
from pipelines.bench.material import bench_amounts, make_material
from pipelines.bench.people import find_people
from pipelines.bench.probes import make_probes
from pipelines.bench.sources import load_knowundo
from pipelines.rows import ProbeGroup
from pipelines.verify.attacks.paired import NO_CONTROL
from pipelines.verify.attacks.port import AttackResult, Measure, Tier
from pipelines.verify.results import Item, MetricResult
from tests.unit.pipelines.bench.toyset import PEOPLE, write_toyset


def told(name: str, scores: list[float | None], *, tier: Tier = 1, measure: Measure = "hits") -> AttackResult:
    known = [score for score in scores if score is not None]
    return AttackResult(
        name=name,
        tier=tier,
        measure=measure,
        value=sum(known) / len(known),
        items=tuple(Item(probe=f"p{n}", fact=f"f{n}", score=score) for n, score in enumerate(scores)),
    )


def test_the_controls_scores_are_taken_off_probe_by_probe() -> None:
    ours = [told("leak_at_k", [1.0, 0.5, None, 0.0]), told("typos", [1.0], tier=0, measure="kfr")]
    theirs = [told("leak_at_k", [0.0, 0.5, 1.0, 0.5])]
    theirs.append(told("typos", [0.0], tier=0, measure="kfr"))
    leak, typos = attacking.paired(ours, theirs)
    assert leak.control == pytest.approx(0.5)
    assert leak.parts["over_control"] == pytest.approx((1.0 + 0.0 - 0.5) / 3)
    assert leak.parts["over_control_n"] == 3
    assert (typos.control, typos.parts["over_control"]) == (0.0, 1.0)
    assert attacking.paired(ours, theirs[:1])[1] == ours[1]


def test_the_control_meets_every_attack_whose_answers_are_read_beside_its_own() -> None:
    assert {"leak_at_k", "completion", "typos", "relearn_leaked", "any_of_k"} <= set(attacking.on_control(()))
    assert attacking.on_control(("quantised", "leak_at_k", "aim")) == ("aim", "leak_at_k")


def test_an_undecided_attack_is_worth_another_try() -> None:
    found = [told("leak_at_k", [1.0]), told("aim", [1.0]).model_copy(update={"state": "undecided"})]
    whole, open_ = ({"results": [one.model_dump(mode="json") for one in part]} for part in (found[:1], found))
    assert attacking.decided(whole)
    assert not attacking.decided(open_)
    assert not attacking.decided({"failed": "verify.judge_down"})


def test_a_note_that_there_is_no_control_goes_where_one_was_taken_off() -> None:
    alone = told("leak_at_k", [1.0]).model_copy(update={"note": f"a fresh LoRA; {NO_CONTROL}"})
    (found,) = attacking.paired([alone], [told("leak_at_k", [0.0])])
    assert found.note == "a fresh LoRA"
    assert attacking.paired([alone], []) == [alone]


def test_the_worst_number_of_steps_counts() -> None:
    ours = [told("relearn_leaked:10", [1.0, 0.0]), told("relearn_leaked:30", [1.0, 0.5])]
    theirs = [told("relearn_leaked:10", [0.0, 0.0]), told("relearn_leaked:30", [1.0, 0.5])]
    found = attacking.attack_figures(attacking.paired(ours, theirs))
    assert found["relearn"] == pytest.approx(0.5)
    assert found["relearn_over_control"] == pytest.approx(0.5)  # of the 10 steps: at 30 the control tells as much


def test_what_is_lost_to_four_bits_is_the_worst_of_both_ways() -> None:
    ours = [
        told("quantised:int8", [0.0], tier=0, measure="kfr").model_copy(update={"before": 1.0}),
        told("quantised:nf4", [1.0, 0.8], tier=0, measure="kfr").model_copy(update={"before": 1.0}),
        told("quantised:nf4_merged", [0.6, 0.8], tier=0, measure="kfr").model_copy(update={"before": 1.0}),
    ]
    assert attacking.attack_figures(ours)["four_bit_drop"] == pytest.approx(0.3)
    assert attacking.attack_figures(ours)["kfr_attacked"] == 0.0


def test_an_attack_that_did_not_run_leaves_the_figure_open() -> None:
    missing = told("leak_at_k", [0.0]).model_copy(update={"state": "undecided"})
    found = attacking.attack_figures([missing])
    assert found["leak"] is None
    assert found["leak_over_control"] is None
    assert figure.combined({"p_kfr_fluent": 1.0, "utility": 1.0, "p_fluent": 1.0, **found}) is None


def test_results_survive_their_json_and_the_slim_form_has_no_items() -> None:
    one = told("leak_at_k", [1.0]).model_copy(update={"parts": {"upper:p0": 0.3, "leak@1": 0.1}})
    assert attacking.from_json([one.model_dump(mode="json")]) == [one]
    (slim,) = attacking.slim([one])
    assert "items" not in slim
    assert slim["parts"] == {"leak@1": 0.1}


def test_benign_rows_name_nobody_who_is_erased(tmp_path: Path) -> None:
    people = find_people(load_knowundo(write_toyset(tmp_path)))
    probes = make_probes(people, forget_p=1, retain_p=4, seed=0)
    material = make_material(people, probes, amounts=bench_amounts(), seed=0)
    rows = attacking.benign_rows(material, probes.of("v", ProbeGroup.FORGET))
    assert rows
    assert not any(person[0] in f"{row.prompt} {row.answer}" for person in PEOPLE for row in rows)


def test_twins_are_others_answers_with_this_name(tmp_path: Path) -> None:
    people = find_people(load_knowundo(write_toyset(tmp_path)))
    probes = make_probes(people, forget_p=1, retain_p=4, seed=0)
    twins = twins_of(people, probes)
    asked = next(p for p in probes.of("p", ProbeGroup.FORGET) if "door" in p.answer and p.subject == "s01")
    assert set(twins[asked.probe_id]) == {
        f"Mira Tarvik lives at {person[3]} in a house with a red door." for person in PEOPLE[1:]
    }
    assert asked.answer not in twins[asked.probe_id]


def test_fluency_follows_the_rule_of_kfr_fluent() -> None:
    def metric(name: str, scores: list[float]) -> MetricResult:
        items = tuple(Item(probe=f"p{n}", fact=f"f{n}", score=score) for n, score in enumerate(scores))
        return MetricResult(name=name, items=items)

    forget = {
        "ppl_median": metric("ppl_median", [5.0, 5.0, 51.0, 5.0]),
        "repeated_4grams": metric("repeated_4grams", [0.2, 0.3, 0.0, 0.0]),
        "empty": metric("empty", [0.0, 0.0, 0.0, 1.0]),
    }
    assert [item.score for item in fluent_items(forget, 5.0)] == [1.0, 0.0, 0.0, 0.0]
    assert [item.score for item in fluent_items(forget, None)] == [1.0, 0.0, 1.0, 0.0]
