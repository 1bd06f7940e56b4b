"""Strata, crossings and utilities, by hand."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.studies.exposure_page import write_exposure_page
from pipelines.studies.exposure_result import crossings, curve, strata, utilities


def look(step: int, items: list[float | None], right: float, state: str = "under_unlearned") -> dict[str, Any]:
    known = [value for value in items if value is not None]
    mean = sum(known) / len(known)
    judged = {"mean": mean, "lower": mean - 0.1, "upper": mean + 0.1, "state": state}
    return {
        "step": step,
        "items": items,
        "right_test": right,
        "gen_ex_token": judged,
        "rel_ex_token_calibrated": {"mean": None, "lower": None, "upper": None, "state": "undecided"},
    }


def result() -> dict[str, Any]:
    items = [
        {"fact": "a", "memorisation": 4.0, "difficulty": 1.0},
        {"fact": "b", "memorisation": 1.0, "difficulty": 5.0},
    ]
    looks = [
        look(0, [4.0, 1.0], 0.8),
        look(10, [2.0, 0.05], 0.6),
        look(20, [-2.0, -0.05], 0.4, "equivalent"),
        look(30, [-4.0, None], 0.2, "over_unlearned"),
    ]
    run = {"method": "grad_ascent", "set": "id", "ended": None, "seconds": 1.0, "looks": looks}
    return {
        "settings": {"tau": 0.1, "facts": 2},
        "note": "a reconstruction",
        "sets": {"id": items},
        "runs": [run, {**run, "set": "ood", "looks": looks[:2]}],
    } | {"sets": {"id": items, "ood": items}}


def test_strata_are_halves_by_the_median() -> None:
    assert strata(result()["sets"]["id"]) == {
        "all": [0, 1],
        "memorised": [0],
        "hardly memorised": [1],
        "difficult": [1],
        "easy": [0],
    }


def test_a_curve_leaves_out_what_has_no_figure() -> None:
    looks = result()["runs"][0]["looks"]
    assert curve(looks, [0, 1]) == [2.5, 1.025, -1.025, -4.0]
    assert curve(looks, [1]) == [1.0, 0.05, -0.05, None]
    assert utilities(looks) == pytest.approx([1.0, 0.75, 0.5, 0.25])
    assert utilities([{"right_test": 0.0}]) == [None]


def test_crossings() -> None:
    found = {(one.forget_set, one.stratum): one for one in crossings(result())}
    everything = found["id", "all"]
    assert everything.steps_to_tau is None  # from 1.025 to -1.025 between two looks: never seen within tau
    assert everything.equivalent_at == 20
    assert everything.zero_at == pytest.approx(15.0)
    assert everything.utility_at_zero == pytest.approx(0.625)
    assert everything.utility_end == pytest.approx(0.25)
    assert found["id", "difficult"].steps_to_tau == 10
    assert found["id", "difficult"].zero_at == pytest.approx(15.0)
    assert found["id", "difficult"].equivalent_at is None
    assert found["ood", "memorised"].zero_at is None
    assert found["ood", "memorised"].utility_at_zero is None


def test_the_page_says_that_the_formulas_are_a_reconstruction(tmp_path: Path) -> None:
    text = write_exposure_page(result(), tmp_path).read_text()
    assert "a reconstruction" in text
    assert text.count("<svg") == 3
    assert (tmp_path / "trade-off.png").exists()
