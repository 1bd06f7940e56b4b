import json
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from services.reports.attacks import control_of
from services.reports.build import build_report, report_digest
from services.reports.data import ReportData
from services.reports.points import OPTIONAL, POINTS
from services.reports.schema import REPORT_SCHEMA
from tests.unit.services.reports import sample


def paths(report: dict[str, Any]) -> set[str]:
    return {missing["path"] for missing in report["missing"]}


def test_the_thirteen_points_are_always_there() -> None:
    for data in (sample.full(), sample.full("rejected"), sample.least()):
        report = build_report(data)
        assert [point["number"] for point in report["points"]] == list(range(1, 14))
        jsonschema.validate(report, REPORT_SCHEMA, jsonschema.Draft202012Validator)


def test_a_report_is_a_pure_function_with_a_digest() -> None:
    first, second = build_report(sample.full()), build_report(sample.full())
    assert first == second
    assert report_digest(first) == first["digest"]
    assert report_digest(json.loads(json.dumps(first))) == first["digest"]
    assert report_digest(first | {"missing": []}) != first["digest"]


def test_what_is_missing_is_named_with_its_reason() -> None:
    report = build_report(sample.full())
    assert paths(report) == {
        "model.container_digest",
        "model.quantisation",
        "measuring.control",
        "derived.callbacks",
    }
    assert all(missing["why"] for missing in report["missing"])


def test_what_can_be_checked_without_us_has_its_command() -> None:
    def told(data: ReportData) -> list[str]:
        return [" ".join(one["command"].split()[:3]) for one in build_report(data)["verification"]]

    whole = sample.full()
    ticket = whole.ticket.ticket_id
    checks = ["lethe audit verify", f"lethe report {ticket}", "lethe policy check"]
    assert told(whole) == [*checks, "lethe verify scores"]
    assert whole.measuring is not None
    before = whole.measuring.model_copy(update={"scores_kept": False})
    assert told(whole.model_copy(update={"measuring": before})) == checks, "what is kept no more cannot be checked"


def test_with_only_a_ticket_everything_else_is_missing() -> None:
    report = build_report(sample.least())
    expected = {item.path for point in POINTS for item in point.items} - OPTIONAL
    expected -= {f"ticket.{name}" for name in ("ticket_id", "subject_ref", "regime", "base", "received_at")}
    assert paths(report) == expected | {"verdict.gates", "training", "timeline", "remains"}


def test_the_caller_may_say_why_something_is_missing() -> None:
    reasons = {"measuring.control": "switched off", "data": "no run yet", "data.deletion": "not yet", "notices": "none"}
    data = sample.full().model_copy(update={"why_missing": reasons, "data": None})
    why = {missing["path"]: missing["why"] for missing in build_report(data)["missing"]}
    assert why["measuring.control"] == "switched off"
    assert why["data.corpus_digest"] == "no run yet"
    assert why["data.deletion.at"] == "not yet", "the nearest part that has a reason gives it"
    assert why["derived.callbacks"] == "none"


@pytest.mark.parametrize(
    "part", ["identity", "legal", "scope", "data", "model", "method", "verdict", "audit", "remains"]
)
def test_each_part_may_be_missing(part: str) -> None:
    whole, without = sample.full(), sample.full().model_copy(update={part: None})
    more = paths(build_report(without)) - paths(build_report(whole))
    assert more
    jsonschema.validate(build_report(without), REPORT_SCHEMA)


def test_an_override_is_no_gap_when_there_is_none() -> None:
    report = build_report(sample.full())
    items = {item["path"]: item for item in report["points"][8]["items"]}
    assert "absent" in items["override.reason"]
    assert "override.reason" not in paths(report)


def test_the_summary_gives_the_worst_case_with_its_bound() -> None:
    summary = build_report(sample.full())["summary"]
    assert summary["verdict"] == "accepted"
    assert (summary["kfr"]["value"], summary["kfr"]["bound"], summary["kfr"]["n"]) == (0.989, 0.941, 96)
    assert summary["live"] is True
    assert summary["answered_in_time"] is True
    assert summary["partial"] is True
    assert build_report(sample.least())["summary"]["kfr"] is None


def test_a_rejected_run_is_not_live() -> None:
    report = build_report(sample.full("rejected"))
    assert report["summary"]["live"] is False
    assert [gate["name"] for gate in report["gates"] if gate["state"] == "fail"] == ["ls_ratio"]
    assert {"deployment.generation", "suppression.since"} <= paths(report)


def test_other_subjects_of_the_same_run_are_left_out() -> None:
    data = sample.full()
    assert data.verdict is not None
    verdict = sample.verdict()
    verdict["gates"].append(sample.gate("kfr", 0.1, 0.95, subject="subj-other"))
    report = build_report(data.model_copy(update={"verdict": type(data.verdict).model_validate(verdict)}))
    assert "subj-other" not in json.dumps(report)
    assert "subj-01c2" in json.dumps(report), "earlier subjects are measured again, by reference"
    assert report["summary"]["kfr"]["value"] == 0.989


def test_thresholds_set_after_the_measurement_are_said() -> None:
    data = sample.full()
    assert build_report(data)["thresholds_set_before_the_measurement"] is True
    assert data.measuring is not None
    early = data.measuring.model_copy(update={"decided_at": sample.at(1)})
    assert build_report(data.model_copy(update={"measuring": early}))["thresholds_set_before_the_measurement"] is False
    assert build_report(sample.least())["thresholds_set_before_the_measurement"] is None


def test_durations_and_the_time_from_verified_to_active() -> None:
    report = build_report(sample.full())
    assert [step["seconds"] for step in report["timeline"]][:2] == [0.0, 300.0]
    items = {item["path"]: item for item in report["points"][9]["items"]}
    assert items["derived.verified_to_active"]["value"] == pytest.approx(12.0)


def test_what_is_not_claimed_includes_the_findings() -> None:
    said = " ".join(build_report(sample.full())["not_claimed"])
    assert "approximate" in said
    assert "No anonymity is claimed" in said
    assert "No control was measured." in said
    assert "lower bound" in said


def test_what_remains_is_listed_or_the_search_is_missing() -> None:
    assert build_report(sample.full())["remains"][0]["sealed"].startswith("encrypted under the subject's own key")
    assert build_report(sample.full().model_copy(update={"remains": ()}))["remains"] == []
    assert "remains" not in paths(build_report(sample.full().model_copy(update={"remains": ()})))


def test_no_identifier_of_the_subject_is_in_the_report() -> None:
    text = json.dumps(build_report(sample.full()), ensure_ascii=False).casefold()
    for value in sample.CANARY:
        assert value.casefold() not in text


@pytest.mark.parametrize("value", [*sample.CANARY, "", "x" * 201])
@pytest.mark.parametrize("field", ["ticket_id", "subject_ref", "entered_by"])
def test_a_field_for_a_code_takes_no_personal_data(field: str, value: str) -> None:
    body = sample.least().model_dump()
    body["ticket"][field] = value
    with pytest.raises(ValidationError):
        ReportData.model_validate(body)


def test_the_attacks_stand_with_this_subjects_figures_and_the_worst_of_the_run() -> None:
    report = build_report(sample.full())
    found = {one["name"]: one for one in report["attacks"]["tried"]}
    prefix = found["prefix_injection"]
    assert (prefix["value"], prefix["bound"], prefix["worst"], prefix["n"]) == (0.967, 0.93, 0.94, 90)
    assert (prefix["limit"], prefix["result"], prefix["decides"]) == ("at least 0.9, KFR's bound 0.8", "pass", True)
    assert found["quantised:nf4_merged"]["limit"] == "a fall of at most 0.05, KFR's bound 0.8"
    leak = found["leak_at_k"]
    assert (leak["bound"], leak["control"], leak["limit"]) == (
        0.08,
        0.01,
        "at most 0.05 above the control, its bound 0.15",
    )
    assert leak["parts"]["leak_at_16"] == 0.01, "as the attack names it, leak@16, it looks like an address"
    assert (found["membership:loss"]["limit"], found["membership:loss"]["result"]) == (None, None)
    assert found["aim"]["result"] == "undecided"
    assert not found["quantised:int8"]["decides"]
    assert sum(one["seconds"] for one in found.values()) == pytest.approx(14.75)
    assert "subj-other" not in json.dumps(report["attacks"]), "other people of the run have their own report"


def test_what_was_tried_and_what_not_is_said_in_point_8() -> None:
    items = {item["path"]: item for item in build_report(sample.full())["points"][7]["items"]}
    assert items["measuring.attacks.summary"]["value"] == "4 of tier 0, 1, 2, in 14.2 s of wall time"
    assert "a share of 0.033 of the secrets" in items["measuring.attacks.worst"]["value"]
    assert "any of k: it was not among those asked for" in items["measuring.attacks.not_run"]["value"]
    assert items["measuring.control_missing"]["value"] == ["GenEx", "privleak"]
    quality, leak = items["measuring.beside_control"]["value"]
    assert (quality["state"], quality["value"], quality["items"]) == ("measured", 0.62, 552)
    assert (leak["state"], leak["value"], leak["note"][:11]) == ("not_run", None, "too few: 92")
    assert items["measuring.seconds"]["value"] == 42.0


def test_a_report_without_attacks_says_so() -> None:
    data = sample.full()
    assert data.measuring is not None
    report = build_report(data.model_copy(update={"measuring": data.measuring.model_copy(update={"attacks": None})}))
    assert report["attacks"] is None
    assert "measuring.attacks.summary" in paths(report)
    jsonschema.validate(report, REPORT_SCHEMA, jsonschema.Draft202012Validator)


def test_a_control_is_named_and_nothing_is_missing_for_want_of_one() -> None:
    told = {"state": "measured", "name": "a1b2c3", "digest": "d" * 64, "source": "trained", "seed": 0}
    rest = {"records_left_out": 31, "same_corpus": True, "seconds": 60.0, "cached": True, "rest_right": {"frame": 0.99}}
    control, lacking, why = control_of({"control": {**told, **rest}})
    assert control is not None
    assert (control.records_left_out, lacking, why) == (31, None, None)
    control, lacking, why = control_of(
        {"control": {"state": "not_run", "why": "control.no_recipe", "missing": ["GenEx"]}}
    )
    assert (control, lacking, why) == (None, ("GenEx",), "No control could be had: control.no_recipe.")
    assert control_of({}) == (None, None, None)  # a verification from before there were controls
