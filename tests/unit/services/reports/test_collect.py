"""A report from the store: at every stage of a ticket it can be made, and names what is not known yet."""

import json
from typing import Any

import pytest

from policies.lifecycle import TicketStatus
from services import publication, run, ticket
from services.reports.collect import _model, report_ticket
from services.reports.write import read_report
from services.store.tables import Report
from tests.unit.services.place import OFFICER, FakeRunners, Place, Script, measured, trained


def report(place: Place, ticket_id: str) -> dict[str, Any]:
    """Made, written and read again; it never holds who it is about."""
    made = report_ticket(place.installation, place.store, ticket_id)
    found = read_report(place.installation.path("reports", ticket_id, "report.json"))
    assert found == json.loads(json.dumps(made))
    text = json.dumps(found).casefold()
    for person in place.people:
        assert person.email not in text
        assert person.names[0].casefold() not in text
    return found


def missing(found: dict[str, Any]) -> set[str]:
    return {item["path"] for item in found["missing"]}


def test_a_ticket_that_is_only_approved(place: Place) -> None:
    found = report(place, place.file(("name", place.people[0].names[0])))
    assert found["summary"]["status"] == "approved"
    assert {"scope.records", "verdict.outcome", "model.base_digest", "deployment.generation"} <= missing(found)
    assert "legal.decision.article" not in missing(found)


def test_the_container_is_that_of_the_training_and_missing_where_there_is_none() -> None:
    image = f"sha256:{'a' * 64}"
    told = _model({"train": {**trained("release"), "container_digest": image}})
    bare = _model({"train": trained("release")})
    assert told is not None
    assert bare is not None
    assert (told.container_digest, bare.container_digest) == (image, None)


def test_a_finding_that_there_is_nothing(place: Place) -> None:
    ticket_id = place.file(("email", "nobody.at.all@nowhere.example"))
    assert ticket.look_up(place.installation, place.store, ticket_id) == TicketStatus.NOTHING_FOUND
    found = report(place, ticket_id)
    assert found["summary"]["status"] == "nothing_found"
    assert "scope.records" in missing(found)


def test_a_review_is_reported_as_numbers(place: Place) -> None:
    person = place.people[9]
    ticket_id = place.file(("name", person.names[0]))
    ticket.look_up(place.installation, place.store, ticket_id)
    with place.store.read() as session:
        one, two = [row.record_id for row in ticket._reviews(session, ticket_id)]
    place.desk.review(ticket_id, OFFICER, confirm=[one], deny=[two])
    ticket.look_up(place.installation, place.store, ticket_id)
    found = report(place, ticket_id)
    scope = values_of(found)
    assert scope["scope.review.rejected"] == 1
    assert scope["scope.matches"]["ambiguous"] == 2
    assert one not in json.dumps(found)


def _items(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [item for point in found["points"] for item in point["items"]]


def values_of(found: dict[str, Any]) -> dict[str, Any]:
    return {str(item["path"]): item.get("value") for item in _items(found)}


def test_while_the_run_is_under_way_what_is_done_is_told(place: Place) -> None:
    run_id = place.planned(0)
    workshop = run.Workshop(place.installation, place.store, FakeRunners(place))
    run.begin(workshop, run_id, 0)
    for step in run.STEPS[:3]:
        run.take(workshop, run_id, step, 0)
    [one] = place.tickets(run_id)
    found = report(place, one.ticket_id)
    known = {item["path"] for item in _items(found) if "value" in item}
    assert set(values_of(found)["legal.kept_records"]) == {"public.*"}
    assert {"data.augmented_digest", "data.checks", "model.settings", "method.name"} <= known
    assert {"verdict.outcome", "model.adapter_after"} <= missing(found)
    assert found["training"]["terms"]["loss"] == [2.0, 1.0]
    values = values_of(found)
    assert (values["data.uncovered_facts"], values["data.unwatched_facts"]) == (0, 1)
    assert {"run.augment", "run.check", "run.train"} <= {step["step"] for step in found["timeline"]}
    assert any("augmented set" in part["what"].lower() for part in found["remains"])


def test_the_training_that_counts_is_the_last_and_those_before_are_told(place: Place) -> None:
    run_id = place.planned(0)
    again = {"start": "base", "directory": "base", "seed": 9, "settings": {"rank": 16}, "seconds": 7.5, "curve": None}
    again |= {"stopped": "never_reached", "exposure_state": "over_unlearned"}
    script = Script({"verify": [measured("rejected")], "train": [trained("release"), trained("base") | again]})
    workshop = run.Workshop(place.installation, place.store, FakeRunners(place, script))
    run.begin(workshop, run_id, 0)
    for step in run.STEPS:
        run.take(workshop, run_id, step, 0)
    [one] = place.tickets(run_id)
    found = report(place, one.ticket_id)
    values = values_of(found)
    assert values["model.seed"] == 9
    assert values["model.training_seconds"] == 7.5
    assert (values["model.training_passes"], values["model.training_steps"]) == (4.48, 160)
    assert values["model.training_stopped"] == "never reached: over unlearned"
    assert found["training"] is None
    (earlier,) = values["measuring.earlier_tries"]
    assert (earlier["start"], earlier["seed"], earlier["outcome"]) == ("release", 0, "rejected")
    assert earlier["missed"], "the thresholds that it missed"


def test_writing_it_again_replaces_it(place: Place) -> None:
    ticket_id = place.file(("name", place.people[0].names[0]))
    first = report(place, ticket_id)
    place.desk.hold(ticket_id, OFFICER, reason="a court asked")
    second = report(place, ticket_id)
    assert first["digest"] != second["digest"]
    with place.store.read() as session:
        assert session.get_one(Report, ticket_id).digest == second["digest"]


@pytest.mark.parametrize("closed", [False, True])
def test_a_swap_is_told_with_every_replica(place: Place, closed: bool) -> None:
    run_id = place.released(0)
    digest = str(place.run(run_id).release_digest)
    for replica in ("r-1", "r-2"):
        place.serve(replica)
    publication.swap(place.installation, place.store, run_id, 0)
    if closed:
        publication.close(place.installation, place.store, run_id, 0)
    [one] = place.tickets(run_id)
    found = report(place, one.ticket_id)
    values = values_of(found)
    assert [row["replica"] for row in values["deployment.replicas"]] == ["r-1", "r-2"]
    assert values["deployment.release_digest"] == digest
    assert values["identity.evidence_ref"] == "ev-1"
