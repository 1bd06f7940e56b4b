"""Every case passes the schemas of three Kubernetes versions and all of our rules; every seeded defect is seen."""

import pytest

from tests.chart import cross_rules, house_rules  # noqa: F401 (they add their rules)
from tests.chart.defects import DEFECTS, OBJECT_DEFECTS, SCHEMA_DEFECTS, Defect
from tests.chart.rendering import CASES, KUBERNETES, case, render
from tests.chart.rules import RULES, World, faults
from tests.chart.schemas import NAME as SCHEMA
from tests.chart.schemas import schema_faults
from tests.chart.seeding import CASE, seen


def test_every_kind_of_installation_has_a_case() -> None:
    assert set(CASES) >= {
        *("minimal", "ha", "external", "air-gapped", "restricted", "gpu-mig", "vllm", "everything"),
    }


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize("name", CASES)
def test_a_case_fits_kubernetes(name: str, kubernetes: str) -> None:
    assert schema_faults(render(case(name), kubernetes=kubernetes), kubernetes) == []


@pytest.mark.parametrize("name", CASES)
def test_a_case_breaks_no_rule(name: str) -> None:
    assert faults(World(render(case(name)), case(name))) == {}


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_seeded_defect_is_seen_by_the_rule_that_is_for_it(defect: Defect) -> None:
    assert defect.seen_by in seen(defect, render(case(CASE)))


@pytest.mark.parametrize("defect", OBJECT_DEFECTS, ids=lambda defect: defect.name)
def test_the_schemas_do_not_see_what_these_rules_are_for(defect: Defect) -> None:
    """If they learn to one day, the rule can go."""
    assert SCHEMA not in seen(defect, render(case(CASE)))


def test_every_rule_has_a_seeded_defect() -> None:
    assert {defect.seen_by for defect in DEFECTS} >= set(RULES)
    assert len(OBJECT_DEFECTS) == 12
    assert len(SCHEMA_DEFECTS) >= 5
