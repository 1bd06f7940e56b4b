"""Golden files, and upgrades: values of every earlier version still render, and nothing that cannot change does.

There is none before the first: until a second version is frozen, the first is compared with itself as it was.
"""

import json
from pathlib import Path

import pytest
import yaml

from tests.chart.golden import CASES, FROZEN, GOLDEN, golden, unchangeable, version
from tests.chart.rendering import render
from tests.chart.schemas import schema_faults


@pytest.mark.parametrize("name", CASES)
def test_a_case_renders_what_was_looked_at(name: str) -> None:
    """After a change on purpose: `python -m tests.chart.golden`, and look at the difference."""
    assert golden(name) == (GOLDEN / f"{name}.yaml").read_text()


@pytest.mark.parametrize("place", sorted(FROZEN.glob("*/*")), ids=lambda p: f"{p.parent.name}-{p.name}")
def test_an_upgrade_from_an_earlier_version_is_possible(place: Path) -> None:
    objects = render(yaml.safe_load((place / "values.yaml").read_text()))
    now, before = unchangeable(objects), json.loads((place / "unchangeable.json").read_text())
    assert {name: now.get(name) for name in before} == before
    assert schema_faults(objects, "1.33") == []


def test_this_version_is_frozen_and_told() -> None:
    assert (FROZEN / version()).is_dir()
    assert f"## {version()}" in (FROZEN.parents[2] / "charts/lethe/UPGRADE.md").read_text()


def test_a_change_of_a_selector_would_be_seen() -> None:
    (place, *_) = sorted(FROZEN.glob("*/minimal"))
    objects = render(yaml.safe_load((place / "values.yaml").read_text()))
    (worker,) = [one for one in objects if one["kind"] == "StatefulSet"]
    worker["spec"]["selector"]["matchLabels"]["tier"] = "x"
    assert unchangeable(objects) != json.loads((place / "unchangeable.json").read_text())
