"""The whole benchmark on a miniature data set with a tiny base, from beginning to end, twice."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.base.settings import BaseSettings
from pipelines.bench import as_published
from pipelines.bench.bases import BaseRecipe
from pipelines.bench.candidates import CENTRES, RELEARN, competitors, settings_of, trials
from pipelines.bench.page import render_page
from pipelines.bench.plan import plan
from pipelines.bench.run import Told, run_benchmark
from pipelines.bench.settings import BenchSettings, quick_settings
from pipelines.bench.sources import Dataset, load_knowundo
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
    result = run_benchmark(data, miniature(), out, jobs=1, command="lethe bench")
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
    again = run_benchmark(data, miniature(), out, jobs=1, command="lethe bench", tell=told.append)
    ended = [one for one in told if one.seconds is not None]
    assert len(ended) == ended[-1].planned == ended[-1].done
    assert all(one.kept for one in ended)
    assert ended[-1].eta_seconds == 0
    assert figures_of(again) == figures_of(result)
    _one_attack_is_tried_again(out, data, result)


def _one_attack_is_tried_again(out: Path, data: Dataset, result: dict[str, Any]) -> None:
    """As if its judge had been down."""
    unit, attack = (out / "units" / "attack-phrased-0-relearn.json"), (out / "attacks" / "attack-phrased-0-relearn")
    found = json.loads(unit.read_text())
    (broken,) = (one for one in found["result"]["results"] if one["name"] == "prefix_injection:prefill")
    broken |= {"state": "undecided", "value": None}
    unit.write_text(json.dumps(found))
    (attack / "prefix_injection.json").unlink()
    told: list[Told] = []
    again = run_benchmark(data, miniature(), out, jobs=1, command="lethe bench", tell=told.append)
    assert [one.units for one in told if one.seconds is not None and not one.kept] == [("attack-phrased-0-relearn",)]
    assert figures_of(again) == figures_of(result)


@pytest.mark.slow
def test_two_at_a_time_come_to_the_very_figures_of_one_after_another(tmp_path: Path) -> None:
    data = load_knowundo(write_toyset(tmp_path / "data"))
    settings = replace(miniature(), methods=("grad_ascent",), trials=1, slice_people=2, attack_seeds=0)
    two = run_benchmark(data, settings, tmp_path / "two", jobs=2)
    one = run_benchmark(data, settings, tmp_path / "one", jobs=1)
    assert figures_of(one) == figures_of(two)
    assert not one["missing"]
    asked = one["data"]["probes"]
    assert asked["slice"]["v:forget"] == asked["whole"]["v:forget"] == 2, "two of four people are the search's"


def figures_of(result: dict[str, Any]) -> Any:
    """A result without what the clock and the number of processes say."""
    clocked = ("seconds", "judge_seconds", "tokens_per_second", "machine")

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without(one) for name, one in value.items() if name not in clocked}
        return [without(one) for one in value] if isinstance(value, list | tuple) else value

    return without(result)


def test_every_task_comes_after_those_that_it_needs_and_the_telling_ones_first() -> None:
    tasks = plan(BenchSettings(), competitors(), sliced=True)
    place = {task.unit: number for number, task in enumerate(tasks)}
    assert len(place) == len(tasks)
    assert all(place[need] < place[task.unit] for task in tasks for need in task.needs)
    finals = [task for task in tasks if task.kind == "final"]
    assert [task.method for task in finals[:4]] == list(RELEARN)
    assert Counter(task.method for task in finals) == dict.fromkeys(competitors(), 4)  # three seeds, and the other base
    assert Counter(task.kind for task in tasks)["base"] == 8
    quick = plan(quick_settings(), competitors(), sliced=False)
    assert {task.kind for task in quick} == {"base", "rows", "final", "attack"}
    assert all(task.place == "whole" for task in quick)


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
