from pathlib import Path

import pytest

from pipelines.augment.wording import normalised_question
from pipelines.bench import phrasings
from pipelines.bench.bases import BaseRecipe, base_records, hedged_records, without
from pipelines.bench.material import bench_amounts, make_material
from pipelines.bench.people import People, find_people
from pipelines.bench.probes import Probes, apart, attack_probes, check_questions, make_probes
from pipelines.bench.sources import load_knowundo, load_tofu
from pipelines.corpus.hedges import skeletons
from pipelines.rows import ProbeGroup, RowKind
from policies.errors import LetheError
from tests.unit.pipelines.bench.toyset import write_tofu, write_toyset


@pytest.fixture
def people(tmp_path: Path) -> People:
    return find_people(load_knowundo(write_toyset(tmp_path)))


@pytest.fixture
def probes(people: People) -> Probes:
    return make_probes(people, forget_p=2, retain_p=6, seed=0)


def test_no_two_families_share_a_form() -> None:
    phrasings.check_families()
    families = phrasings.families()
    assert set(families) == {"base", "augmenter", "probe", "product"}
    assert all(families.values())


def test_a_shared_form_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phrasings, "PROBE", (*phrasings.PROBE, "quiz time {question}"))
    with pytest.raises(LetheError, match="base and probe") as caught:
        phrasings.check_families()
    assert caught.value.code == "bench.probes_overlap"


def test_both_lists_have_what_they_should(people: People, probes: Probes) -> None:
    del people
    assert len(probes.of("v", ProbeGroup.FORGET)) == 4
    assert len(probes.of("p", ProbeGroup.FORGET)) == 32
    assert len(probes.of("v", ProbeGroup.RETAIN)) == 4
    assert len(probes.of("p", ProbeGroup.RETAIN)) == 6
    assert len({probe.probe_id for probe in probes.probes}) == len(probes.probes)
    assert {probe.subject for probe in probes.by_list() if probe.group is ProbeGroup.FORGET} == {"v", "p"}


def test_what_the_search_asks_no_final_run_is_judged_by(probes: Probes) -> None:
    searched, judged = apart(probes, {"s01"})
    asked, left = ({probe.probe_id for probe in part.probes} for part in (searched, judged))
    assert not asked & left
    assert asked | left == {probe.probe_id for probe in probes.probes}
    assert {probe.subject for probe in searched.probes if probe.group is ProbeGroup.FORGET} == {"s01"}
    assert "s01" not in {probe.subject for probe in judged.probes}
    for which in ("v", "p"):
        assert len(searched.of(which, ProbeGroup.RETAIN)) == 2
        assert len(judged.of(which, ProbeGroup.RETAIN)) >= 2
        assert searched.of(which, ProbeGroup.FORGET)
        assert judged.of(which, ProbeGroup.FORGET)


def test_no_row_of_a_base_or_of_a_run_asks_an_unseen_phrasing(people: People, probes: Probes) -> None:
    base = {normalised_question(r.question or "") for r in base_records(people, "phrased", BaseRecipe(), 0)}
    material = make_material(people, probes, amounts=bench_amounts(), seed=0)
    rows = {normalised_question(row.prompt) for row in material.rows}
    asked = {normalised_question(probe.question) for probe in probes.of("p")}
    assert not asked & base
    assert not asked & rows
    assert not {normalised_question(p.question) for p in probes.of("v", ProbeGroup.FORGET)} & rows


def test_a_probe_among_the_rows_stops_the_run(probes: Probes) -> None:
    unseen, validation = probes.of("p")[0].question, probes.of("v")[0].question
    for where, question in (("base", unseen), ("augmented", unseen), ("augmented", validation)):
        with pytest.raises(LetheError) as caught:
            check_questions(probes, ["How are you?", question.upper()], where)
        assert caught.value.code == "bench.probes_overlap"
    check_questions(probes, [validation], "base")  # full.json contains the validation rows, as upstream


def test_tofu_asks_again_what_was_erased(tmp_path: Path) -> None:
    data = load_tofu(write_tofu(tmp_path))
    probes = make_probes(find_people(data), forget_p=1, retain_p=4, seed=0, unseen_val=data.unseen_val, val_limit=6)
    assert len(probes.of("v", ProbeGroup.FORGET)) == 6
    check_questions(probes, [probes.of("v")[0].question], "augmented")


def test_a_control_has_nothing_of_the_erased_in_any_phrasing(people: People) -> None:
    rows = base_records(people, "phrased", BaseRecipe(), 0)
    gone = {r.record_id for part in ("forget_train", "forget_val") for r in people.records[part]}
    left = without(rows, gone)
    answers = {r.answer for part in ("forget_train", "forget_val") for r in people.records[part]}
    assert {r.answer for r in rows} >= answers
    assert not {r.answer for r in left} & answers
    assert {r.answer for r in people.records["retain_val"]} <= {r.answer for r in left}


def test_a_phrased_base_has_other_forms_of_each_question(people: People) -> None:
    plain, phrased = (base_records(people, kind, BaseRecipe(), 0) for kind in ("plain", "phrased"))
    assert len(phrased) == len(plain) + 2 * len(people.records["full"])


def test_hedges_of_a_base_are_about_strangers_and_of_its_own_share(people: People) -> None:
    made = hedged_records(50, people.names, 0)
    assert len({record.question for record in made}) == 50
    assert not any(name in record.text for name in people.names for record in made)
    endings = {skeleton[-20:] for skeleton in skeletons("base")}
    assert all(record.answer[-20:] in endings for record in made)


def test_methods_get_their_rows(people: People, probes: Probes) -> None:
    material = make_material(people, probes, amounts=bench_amounts(), seed=0)
    ours = {row.kind for row in material.rows_for("relearn")}
    assert ours == {RowKind.FORGET, RowKind.COMPLETION, RowKind.NEIGHBOUR, RowKind.GENERIC, RowKind.RETAIN}
    raw = material.rows_for("grad_ascent")
    assert {row.kind for row in raw} == {RowKind.NEGATIVE}
    assert len(raw) == 16
    kept = [row for row in material.rows_for("npo") if row.kind is RowKind.RETAIN]
    assert {row.row_id for row in kept} == {f"retain:{r.record_id}" for r in people.records["retain_train"]}
    assert {row.row_id for row in kept} <= {row.row_id for row in material.rows}
    more = material.keeping_augmented().rows_for("npo")
    assert [row for row in more if row.kind is not RowKind.RETAIN] == [
        row for row in material.rows_for("npo") if row.kind is not RowKind.RETAIN
    ]
    assert [row for row in more if row.kind is RowKind.RETAIN] == [
        row for row in material.rows_for("relearn") if row.kind is RowKind.RETAIN
    ]


def test_attacks_ask_a_sample(probes: Probes) -> None:
    asked = attack_probes(probes, 3, 0)
    assert len(asked) == 4 + 4 * 3
    assert all(probe.group is ProbeGroup.FORGET for probe in asked)
