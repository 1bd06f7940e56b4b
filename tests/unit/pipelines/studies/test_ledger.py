"""A study's finished parts stay, and a directory belongs to one plan."""

from pathlib import Path

import pytest

from pipelines.studies.ledger import Ledger
from policies.errors import LetheError


def test_parts_are_kept(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "study", {"seed": 0, "points": (1, 3)})
    assert ledger.done("ours-001") is None
    ledger.write("ours-001", {"kfr": 0.5})
    again = Ledger(tmp_path / "study", {"seed": 0, "points": (1, 3)})
    assert again.done("ours-001") == {"kfr": 0.5}
    assert {path.name for path in again.directory.iterdir()} == {"plan.json", "ours-001.json"}


def test_another_plan_is_refused_and_what_differs_is_named(tmp_path: Path) -> None:
    Ledger(tmp_path, {"seed": 0, "method": "relearn", "old": 1})
    with pytest.raises(LetheError) as refused:
        Ledger(tmp_path, {"seed": 1, "method": "relearn"})
    assert refused.value.code == "study.other_plan"
    assert refused.value.details == ("old", "seed")


def test_parts_of_other_code_are_not_mixed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Ledger(tmp_path, {"seed": 0})
    monkeypatch.setattr("pipelines.studies.ledger.source_digest", lambda: "other")
    with pytest.raises(LetheError) as refused:
        Ledger(tmp_path, {"seed": 0})
    assert refused.value.details == ("code",)


def test_what_json_does_not_have_is_not_written(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, {})
    with pytest.raises(ValueError):
        ledger.write("part", {"kfr": float("nan")})
    assert ledger.done("part") is None
    assert {path.name for path in tmp_path.iterdir()} == {"plan.json"}
