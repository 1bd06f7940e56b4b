import json
import re
from typing import Any, cast

import pytest

from pipelines.bench import results
from pipelines.bench.outcome import Done, finals_of, table_of
from pipelines.bench.page import render_page
from pipelines.bench.plots import bars, scatter
from pipelines.bench.tasks import Task, TaskKind
from pipelines.bench.text import cell, lines
from pipelines.bench.units import Finished

BASE: dict[str, float | None] = {
    "v_krr": 0.8,
    "p_krr": 0.5,
    "p_kfr": 0.1,
    "p_ls": 0.2,
    "p_ls_reference": 0.25,
    "utility": 1.0,
}


def run(fluent: float, utility: float = 0.97, *, seed: int = 0, **more: Any) -> dict[str, Any]:
    figures: dict[str, float | None] = {
        "v_krr": 0.4,
        "p_krr": 0.5,
        "p_kfr_fluent": fluent,
        "utility": utility,
        "leak_over_control": 0.0,
        "relearn_over_control": 0.0,
        "p_fluent": 1.0,
        "p_ls": 0.2,
        "p_ls_reference": 0.25,
    }
    subjects = {f"s{n:02d}": {"p_kfr_fluent": fluent + 0.01 * n, "v_kfr_fluent": fluent} for n in range(6)}
    return {
        "figures": results.with_ratios({**figures, **more}, BASE),
        "subjects": subjects,
        "seconds": 3.0,
        "steps": 7,
        "seed": seed,
    }


FINALS = {
    "relearn": [run(0.8), run(0.8, seed=1)],
    "relearn_npo": [run(0.9), run(0.98, seed=1)],
    "npo": [run(0.99, utility=0.5)],
    "rmu": [{"failed": "unlearn.diverged", "seed": 0}],
    "dpo": [run(0.7, leak_over_control=None)],
    "relearn_as_published": [run(0.1)],
}


def result(**changes: Any) -> dict[str, Any]:
    """A result as ``run_benchmark`` gives it, with every kind of missing cell."""
    table = results.table(BASE, {}, FINALS)
    made = {
        "format": results.FORMAT,
        "smoke": True,
        "note": results.SCRATCH_NOTE,
        "command": "lethe bench knowundo --data <there> --quick",
        "settings": {},
        "data": {"form": "knowundo", "subjects": 4, "rows": {"forget_train": 16, "retain_train": 12}},
        "budget": {"trials_each": 1, "slice_people": 2, "final_seeds": [0], "attacked_seeds": 1, "samples": 32},
        "centres": {name: {"rate": 1e-3, "passes": 3.0} for name in FINALS},
        "search": {name: {"rate": 1.0, "passes": 1.0, "trials": []} for name in FINALS},
        "bases": {"phrased": {"table": table, "runs": {}, "seeds": 1}},
        "ablations": [{"factor": "NPO weight 0", "failed": "unlearn.diverged"}, {"factor": "steps x 2", **run(0.5)}],
        "best_relearn": results.best_relearn(table),
        "first": "relearn_npo",
        "targets": results.targets(None),
        "differences": results.differences(FINALS, "relearn_npo", "p_kfr_fluent"),
        "paper": {"note": "another model", "rows": results.paper_rows()},
        "missing": [],
        "machine": {"jobs": 2},
        "seconds": {"all": 12.0, "units": 20.0, "units_cpu": 18.0},
    }
    return {**made, **changes}


def test_the_table_ranks_with_means_over_seeds() -> None:
    table = results.table(BASE, {}, FINALS)
    assert [row["name"] for row in table[:2]] == ["base", "control"]
    assert [row["name"] for row in table[2:]] == [
        "relearn_npo",
        "relearn",
        "relearn_as_published",
        "npo",  # forgets most, but its utility fell
        "dpo",
        "rmu",
    ]
    first = table[2]
    assert first["rank"] == 1
    assert first["figures"]["p_kfr_fluent"] == pytest.approx(0.94)
    assert first["figures"]["v_krr_ratio"] == pytest.approx(0.5)
    assert first["figures"]["p_ls_ratio"] == pytest.approx(0.8)
    assert first["spread"]["p_kfr_fluent"] == (0.9, 0.98)
    assert [row["rank"] for row in table if row["name"] in ("dpo", "rmu")] == [None, None]
    assert next(row for row in table if row["name"] == "rmu")["failed"] == ["unlearn.diverged"]


def test_a_method_that_failed_on_a_seed_has_figures_and_no_rank() -> None:
    finals = {"relearn": [run(0.8), run(0.8, seed=1)], "wga": [run(1.0), {"failed": "unlearn.diverged", "seed": 1}]}
    relearn, wga = results.table(BASE, {}, finals)[2:]
    assert (relearn["name"], relearn["rank"]) == ("relearn", 1)
    assert (wga["name"], wga["rank"], wga["combined"], wga["seeds"]) == ("wga", None, None, 1)
    assert wga["figures"]["p_kfr_fluent"] == 1.0


def test_a_seed_is_measured_beside_its_own_base() -> None:
    tasks, done = [], {}
    for seed, krr in enumerate((0.8, 0.9)):
        rows = {"base": {"figures": {"p_krr": krr}}, "control": {"figures": {"p_krr": krr / 2}}}
        final = {"figures": {"p_krr": krr}} if seed else {"failed": "unlearn.diverged"}
        for kind, came in (("rows", rows), ("final", final)):
            task = Task(unit=f"{kind}-{seed}", kind=cast(TaskKind, kind), base="phrased", seed=seed, method="wga")
            tasks.append(task)
            done[task.unit] = Done(Finished(came, 1.0, 1.0, kept=False), task)
    base, control, wga = table_of(finals_of(("wga",), "phrased", tasks, done))["table"]
    assert [row["figures"]["p_krr_ratio"] for row in (base, control, wga)] == [1.0, 0.5, 1.0]


def test_differences_take_the_seeds_on_which_both_came_to_an_end() -> None:
    finals = {
        "relearn": [run(0.5), run(0.9, seed=1)],
        "wga": [{"failed": "unlearn.diverged", "seed": 0}, run(0.8, seed=1)],
    }
    (one,) = results.differences(finals, "relearn", "p_kfr_fluent")
    assert one["difference"] == pytest.approx(0.1)  # and not 0.7 - 0.8
    assert one["seeds"] == 1


def test_the_published_relearn_is_never_the_best_variant() -> None:
    finals = {"relearn_as_published": [run(1.0)], "relearn": [run(0.5)]}
    assert results.best_relearn(results.table(BASE, {}, finals)) == "relearn"
    assert results.best_relearn(results.table(BASE, {}, {"npo": [run(0.5)]})) is None


def test_where_nobody_keeps_the_utility_nobody_is_first() -> None:
    table = results.table(BASE, {}, {"relearn": [run(0.9, utility=0.9)], "npo": [run(0.8, utility=0.5)]})
    assert [row["combined"] is not None for row in table[2:]] == [True, True]
    assert (results.first(table), results.best_relearn(table)) == (None, None)
    assert not any(one["met"] for one in results.targets(None))
    told = "\n".join(lines(result(first=None, best_relearn=None)))
    assert "best ReLearn: none at equal utility; first: none at equal utility" in told
    assert results.first(results.table(BASE, {}, FINALS)) == "relearn_npo"


def test_differences_are_paired_by_subject_after_the_mean_over_seeds() -> None:
    found = {one["other"]: one for one in results.differences(FINALS, "relearn_npo", "p_kfr_fluent")}
    assert "rmu" not in found
    assert found["relearn"]["difference"] == pytest.approx(0.14)
    assert found["relearn"]["lower"] == pytest.approx(0.14)  # the same gap for every subject has no spread
    assert found["relearn"]["subjects"] == 6
    assert found["relearn"]["enough"]
    few = {
        "a": [{"seed": 0, "subjects": {"s1": {"m": 1.0}}}],
        "b": [{"seed": 0, "subjects": {"s1": {"m": 0.5}, "s2": {"m": 0.1}}}],
    }
    (one,) = results.differences(few, "a", "m")
    assert one["subjects"] == 1
    assert not one["enough"]


def test_a_missing_figure_meets_no_target() -> None:
    assert {one["met"] for one in results.targets(None)} == {None}
    row = {"figures": {"p_kfr": 0.96, "leak_over_control": 0.06, "four_bit_drop": 0.05}}
    met = {one["target"]: one["met"] for one in results.targets(row)}
    assert met["KFR, unseen phrasings"] is True
    assert met["leak@k over the control's"] is False
    assert met["KFR lost to 4 bits"] is True
    assert met["KFR, validation questions"] is None


def test_a_result_of_a_run_that_goes_on_says_what_is_not_there_yet() -> None:
    table = results.table(BASE, {}, FINALS, {"dpo": 2})
    open_ = result(missing=["final-phrased-1-dpo", "x"], bases={"phrased": {"table": table, "runs": {}, "seeds": 1}})
    text = "\n".join(lines(open_))
    assert text.count("not yet run") == 2
    assert "2 units are not yet run" in text
    assert "not yet run: 2" in render_page(open_)
    assert "not yet run" not in "\n".join(lines(result())) + render_page(result())


def test_the_papers_table_is_whole() -> None:
    rows = results.paper_rows()
    assert len(rows) == 10
    assert rows[-1] == {
        "name": "ReLearn",
        "rouge_f": 0.30,
        "kfr": 0.88,
        "ppl_f": 13.23,
        "ls_f": 0.13,
        "rouge_r": 0.69,
        "krr": 0.74,
        "ppl_r": 7.18,
        "ls_r": 0.17,
    }


def test_a_page_with_missing_cells_is_self_contained_and_stable() -> None:
    page = render_page(result())
    assert page == render_page(json.loads(json.dumps(result())))
    for outside in ("http://", "https://", "<script", "<link", "src=", "@import"):
        assert outside not in page.replace("http://www.w3.org/2000/svg", "")
    assert "Smoke run" in page
    assert "trained from scratch" in page
    assert "unlearn.diverged" in page
    assert "&lt;there&gt;" in page  # what a user typed is text
    assert page.count("<svg") == 4
    assert "None" not in page.replace("none", "")


def test_a_page_without_any_measured_method_is_still_a_page() -> None:
    table = results.table(BASE, {}, {"rmu": [{"failed": "unlearn.diverged", "seed": 0}]})
    bare = {"phrased": {"table": table, "runs": {}, "seeds": 1}}
    page = render_page(result(bases=bare, differences=[], ablations=[], best_relearn=None, first=None, smoke=False))
    assert "unlearn.diverged" in page
    assert "Smoke run" not in page


def test_the_text_has_a_line_for_every_row_and_target() -> None:
    text = "\n".join(lines(result()))
    assert "SMOKE RUN" in text
    assert "(0." in text  # npo: not eligible
    assert text.count("not measured") == len(results.TARGETS)
    assert "failed: unlearn.diverged" in text
    assert cell(None, 3) == "-"
    assert cell(0.12345, 3) == "0.123"


def test_plots_escape_and_take_figures_of_both_signs() -> None:
    drawn = bars([("<a>", -0.5, "#000"), ("b", 1.0, "#000")]) or ""
    assert "&lt;a&gt;" in drawn
    assert "-0.500" in drawn
    assert bars([]) is None
    assert bars([("a", 0.0, "#000")])
    assert scatter([]) is None
    assert (scatter([("a", 1.2, 0.5, "#000"), ("b", 1.2, 0.5, "#000")]) or "").count("<circle") == 2


def test_labels_of_points_that_lie_together_stay_apart() -> None:
    names = [f"method_{number}" for number in range(8)]
    drawn = scatter([(name, 0.9 + number / 500, 0.95, "#000") for number, name in enumerate(names)]) or ""
    found = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="(start|end)"[^>]*>(method_\d)<', drawn)
    assert [name for *_, name in found] == names
    boxes = [(float(x) - (60 if side == "end" else 0), float(y)) for x, y, side, _ in found]
    for number, (x, y) in enumerate(boxes):
        assert not [1 for left, base in boxes[:number] if abs(left - x) < 60 and abs(base - y) < 12]
        assert 0 < y < 344  # above the axis
