"""The whole benchmark on a miniature data set with a tiny base, from beginning to end, twice."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.base.settings import BaseSettings
from pipelines.bench import as_published
from pipelines.bench.bases import BaseRecipe
from pipelines.bench.candidates import CENTRES, competitors, settings_of, trials
from pipelines.bench.page import render_page
from pipelines.bench.run import run_benchmark
from pipelines.bench.settings import BenchSettings, quick_settings
from pipelines.bench.sources import load_knowundo
from pipelines.bench.units import Told
from pipelines.unlearn.registry import methods
from policies.errors import LetheError
from tests.unit.pipelines.bench.toyset import PEOPLE, write_toyset

METHODS = ("relearn", "grad_ascent", as_published.NAME)


def miniature() -> BenchSettings:
    shape = BaseSettings(hidden=32, heads=1, intermediate=64, layers=1, vocabulary=400, epochs=2)
    recipe = BaseRecipe(scratch=shape, hedges=10, phrasings=1, phrased_epochs=2)
    return quick_settings(
        people=4, methods=METHODS, recipe=recipe, retain_p=4, samples=4, attack_per_subject=1, device="cpu"
    )


@pytest.mark.slow
def test_the_quick_run_from_beginning_to_end_and_again(tmp_path: Path) -> None:
    data = load_knowundo(write_toyset(tmp_path / "data"))
    out = tmp_path / "out"
    result = run_benchmark(data, miniature(), out, command="lethe bench")
    text = json.dumps(result, allow_nan=False)
    for person in PEOPLE:
        for private in (person[0], person[0].split()[1], person[3], f"@{person[2].lower()}"):
            assert private not in text, "a result holds ids and figures only"
            for file in [*out.glob("units/*.json"), *out.glob("attacks/**/*.json")]:
                assert private not in file.read_text(encoding="utf-8")
    table = result["bases"]["phrased"]["table"]
    assert [row["name"] for row in table[:2]] == ["base", "control"]
    assert {row["name"] for row in table[2:]} == set(METHODS)
    assert result["smoke"]
    relearn = next(row for row in table if row["name"] == "relearn")
    assert relearn["figures"]["p_kfr"] is not None
    assert relearn["figures"]["leak"] is not None
    assert relearn["figures"]["leak_over_control"] is not None
    assert relearn["figures"]["relearn_over_control"] is not None
    assert "Unlearning on KnowUnDo" in render_page(result)
    told: list[Told] = []
    again = run_benchmark(data, miniature(), out, command="lethe bench", tell=told.append)
    assert told
    assert all(one.kept for one in told)
    assert {**again, "seconds": 0} == {**result, "seconds": 0}


def test_every_registered_method_takes_part_once() -> None:
    names = competitors()
    assert len(set(names)) == len(names)
    assert set(names) == (set(methods()) - {"ga"}) | {as_published.NAME}
    assert competitors(("npo", "relearn", "npo")) == ("relearn", "npo")
    with pytest.raises(LetheError) as caught:
        competitors(("relearnt",))
    assert caught.value.code == "unlearn.unknown_method"


def test_every_method_has_the_same_number_of_trials_around_a_centre_of_its_own() -> None:
    assert trials(3) == ((1.0, 1.0), (2.0, 0.75), (0.5, 1.5))
    for name in competitors():
        rates = [settings_of(name, 0, rate=rate, passes=passes).learning_rate for rate, passes in trials(3)]
        assert rates == [CENTRES[name].rate, CENTRES[name].rate * 2, CENTRES[name].rate / 2]


def test_passes_are_those_of_the_benchmark_whatever_the_pace_of_a_method() -> None:
    from pipelines.unlearn.registry import method

    for name in competitors():
        if name != as_published.NAME:
            assert settings_of(name, 0).passes * method(name).passes == pytest.approx(CENTRES[name].passes)


def test_settings_that_cannot_be_used_are_told() -> None:
    for change in ({"seeds": ()}, {"people": 1}, {"samples": 0}, {"trials": 9}, {"kinds": ()}):
        with pytest.raises(LetheError) as caught:
            replace(BenchSettings(), **change)
        assert caught.value.code == "bench.bad_settings"


def test_the_command_tells_of_data_that_are_not_there(tmp_path: Path) -> None:
    from services.commands.bench import app

    found = CliRunner().invoke(app, ["knowundo", "--data", str(tmp_path / "nowhere"), "--quick"])
    assert isinstance(found.exception, LetheError)
    assert found.exception.code == "bench.data_not_found"
