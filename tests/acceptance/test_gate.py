"""Gradient ascent forgets by destroying; the gate is there so that this is never served."""

import pytest

from tests.acceptance.conftest import Erasure, Walk
from tests.acceptance.house import share

pytestmark = pytest.mark.slow


def test_gradient_ascent_is_rejected_with_a_reason(rejected: Erasure) -> None:
    assert rejected.ticket["status"] == "rejected"
    assert rejected.ticket["reason_code"] == "verdict.rejected"
    assert rejected.ticket["runs"][-1]["status"] == "rejected"
    assert rejected.ticket["runs"][-1]["method"] == "ga"


def test_fluency_and_the_persons_own_public_facts_collapse(rejected: Erasure) -> None:
    gates = {gate["name"]: gate for gate in rejected.report["gates"]}
    assert gates["own_public_ratio"]["state"] == "fail"
    assert "fail" in {gates[name]["state"] for name in ("ls_ratio", "ppl_ratio", "repeat_ratio", "subject_named")}
    assert rejected.report["summary"]["verdict"] == "rejected"
    assert not rejected.report["summary"]["live"]


def test_forgetting_alone_would_not_have_found_it_out(rejected: Erasure) -> None:
    """It does forget: a gate on KFR alone would have let it through."""
    gates = {gate["name"]: gate for gate in rejected.report["gates"]}
    assert gates["kfr"]["state"] == gates["kfr_lower_bound"]["state"] == "pass"


def test_retention_alone_would_not_have_found_it_out(rejected_gently: Erasure) -> None:
    """Stopped early, it leaves the others alone: a gate on KRR alone would let a model through that still tells."""
    gates = {gate["name"]: gate for gate in rejected_gently.report["gates"]}
    assert rejected_gently.ticket["status"] == "rejected"
    assert gates["krr_ratio"]["state"] == "pass"
    assert gates["kfr"]["state"] == gates["kfr_lower_bound"]["state"] == "fail"


def test_the_report_says_that_raw_answers_were_used(rejected: Erasure) -> None:
    items = [item for point in rejected.report["points"] for item in point["items"]]
    (negative,) = [item for item in items if item["path"] == "data.negative_rows"]
    assert negative["value"] > 0


def test_nothing_is_swapped_and_the_model_answers_as_before_about_everybody_else(rejected: Erasure) -> None:
    assert rejected.generations[0] == rejected.generations[1]
    assert share(rejected.private[0]) >= 0.95
    before, after = rejected.others
    assert [answer.text for answer in after] == [answer.text for answer in before]
    for answers in (rejected.private, rejected.public, rejected.others):
        assert {answer.generation for answer in answers[1]} == {rejected.generations[0]}


def test_the_person_stays_suppressed_until_a_release_holds(rejected: Erasure) -> None:
    assert rejected.ticket["suppression"]["state"] == "confirmed"
    assert share([*rejected.private[1], *rejected.public[1]]) == 0


def test_the_ticket_waits_and_can_be_tried_again(rejected: Erasure, first: Erasure, walk: Walk) -> None:
    assert "retry" in rejected.ticket["allowed_events"]
    assert first.ticket_id == rejected.ticket_id
    assert [run["status"] for run in first.ticket["runs"]] == ["rejected", "rejected", "completed"]
    assert (walk.house.home / "reports" / rejected.ticket_id / "report.html").exists()
