"""A whole small exposure study, and its two forget sets."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.augment.leak import LeakCheck
from pipelines.corpus.load import load_probes
from pipelines.rows import RowKind
from pipelines.studies.canaries import make_canaries
from pipelines.studies.exposure_page import write_exposure_page
from pipelines.studies.exposure_result import crossings
from pipelines.studies.exposure_sets import inside, kept_items, outside, rows_of, secrets_of, unseen_items
from pipelines.studies.exposure_settings import ExposureSettings
from pipelines.studies.exposure_study import RECONSTRUCTED, ExposureStudy, exposure_world
from pipelines.studies.world import World
from pipelines.unlearn.settings import UnlearnSettings
from policies.errors import LetheError
from tests.unit.pipelines.studies.small_world import AMOUNTS, RECIPE, TRAINING, make_corpus

pytestmark = pytest.mark.slow

FACTS = 6
SETTINGS = ExposureSettings(
    facts=FACTS,
    ascent=UnlearnSettings(method="grad_ascent", rank=2, batch_tokens=256),
    relearn=TRAINING,
    steps={"grad_ascent": 4, "relearn": 2},
    looks=2,
    utility=5,
    seed=3,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    home = tmp_path_factory.mktemp("home")
    make_corpus(home / "corpus-2-3", people=2)
    return exposure_world(home, 2, FACTS, 3, recipe=RECIPE)


@pytest.fixture(scope="module")
def whole(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    directory = tmp_path_factory.mktemp("study")
    return directory, ExposureStudy(world, SETTINGS, directory).run()


def test_the_sets_are_of_equal_size_and_stand_alone(world: World) -> None:
    canaries = make_canaries(FACTS, 3)
    sides = inside(world, FACTS, 3), outside(canaries)
    assert [len(side.items) for side in sides] == [FACTS, FACTS]
    assert inside(world, FACTS, 3) == sides[0]
    for side in sides:
        gone = {record.record_id for record in side.records}
        for item in side.items:
            holding = {
                key for key, record in world.records.items() if (item.value or "").casefold() in record.text.casefold()
            }
            assert holding <= gone  # nothing that is kept teaches it
    facts = {item.fact for side in sides for item in side.items}
    assert not facts & {item.fact for item in kept_items(world, facts, 50, 0)}
    assert not facts & {item.fact for item in unseen_items(load_probes(world.corpus), facts, 50, 0)}
    with pytest.raises(LetheError) as refused:
        inside(world, 10_000, 3)
    assert refused.value.code == "study.bad_settings"


@pytest.mark.parametrize("which", [0, 1])
def test_rows_cover_every_fact_and_hold_no_secret_and_nothing_of_the_other_set(world: World, which: int) -> None:
    sides = inside(world, FACTS, 3), outside(make_canaries(FACTS, 3))
    side, other = sides[which], sides[1 - which]
    gone = {record.record_id for each in sides for record in each.records}
    kept = [record for key, record in world.records.items() if key not in gone]
    secrets = secrets_of(side, kept)
    owners = {record.fact_id: holder.names for holder in side.holders for record in holder.records}
    assert {secret.fact: secret.names for secret in secrets} == owners
    other_ids = {record.record_id for record in other.records}
    amounts = replace(AMOUNTS, negative=True)
    rows = rows_of(side, world, other_ids, load_probes(world.corpus), secrets, amounts, 0)
    about = {row.fact for row in rows if row.kind is RowKind.FORGET}
    assert about == {item.fact for item in side.items}
    assert {row.fact for row in rows if row.kind is RowKind.NEGATIVE} == about
    check = LeakCheck(secrets)
    assert not any(check.row_leaks(row) for row in rows if row.kind is not RowKind.NEGATIVE)
    values = [(item.value or "").casefold() for item in other.items]
    assert not any(value in f"{row.prompt} {row.answer}".casefold() for row in rows for value in values)


def test_every_run_is_looked_at_from_before_its_first_step(whole: tuple[Path, dict[str, Any]]) -> None:
    directory, result = whole
    assert [(run["method"], run["set"]) for run in result["runs"]] == [
        ("grad_ascent", "id"),
        ("grad_ascent", "ood"),
        ("relearn", "id"),
        ("relearn", "ood"),
    ]
    assert [[look["step"] for look in run["looks"]] for run in result["runs"]] == [[0, 2, 4]] * 2 + [[0, 1, 2]] * 2
    assert result["note"] == RECONSTRUCTED
    for run in result["runs"]:
        items = result["sets"][run["set"]]
        before = run["looks"][0]
        # before the first step GenEx a token is the base's gain on the control: memorisation
        assert before["items"] == pytest.approx([item["memorisation"] for item in items], abs=1e-4)
        assert before["gen_ex_token"]["state"] == "undecided"  # six facts decide nothing
        assert before["rel_ex_token"]["n"] == FACTS
        assert all(item["twins"] == 4 for item in items)
    ascent = result["runs"][0]["looks"]
    assert ascent[-1]["gen_ex_token"]["mean"] < ascent[0]["gen_ex_token"]["mean"]
    assert len(crossings(result)) == 4 * 5
    assert write_exposure_page(result, directory / "page").is_file()


def test_a_finished_study_is_not_run_again(
    world: World, whole: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, result = whole
    monkeypatch.setattr("pipelines.studies.exposure_study.unlearn", lambda *a, **k: pytest.fail("trained again"))
    again = ExposureStudy(world, SETTINGS, directory).run()
    assert again["runs"] == result["runs"]
    assert again["sets"] == result["sets"]


def test_a_model_that_falls_to_pieces_is_a_finding_and_another_error_is_not(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(code: str) -> Any:
        def unlearn(*args: Any, **kwargs: Any) -> Any:
            raise LetheError(code, "as told")

        return unlearn

    study = ExposureStudy(world, SETTINGS, tmp_path)
    study._control()
    (ascent, _), side = SETTINGS.methods(), study._sides[0]
    monkeypatch.setattr("pipelines.studies.exposure_study.unlearn", fails("unlearn.no_rows"))
    with pytest.raises(LetheError):
        study._run(side, ascent)
    monkeypatch.setattr("pipelines.studies.exposure_study.unlearn", fails("verify.bad_logits"))
    found = study._run(side, ascent)
    assert found["ended"] == "verify.bad_logits"
    assert [look["step"] for look in found["looks"]] == [0]


def test_other_canaries_than_the_corpus_has(world: World, tmp_path: Path) -> None:
    with pytest.raises(LetheError) as refused:
        ExposureStudy(world, replace(SETTINGS, seed=4), tmp_path)
    assert refused.value.code == "study.bad_settings"


@pytest.mark.parametrize("change", [{"facts": 0}, {"looks": 0}, {"tau": 0.0}, {"steps": {"grad_ascent": 0}}])
def test_settings_that_cannot_be(change: dict[str, Any]) -> None:
    with pytest.raises(LetheError) as refused:
        replace(SETTINGS, **change)
    assert refused.value.code == "study.bad_settings"
