"""``lethe suppression`` and the acts of ``lethe ticket`` that change it."""

import json
from typing import Any

from typer.testing import CliRunner

from services import suppression
from services.commands import suppression as command
from services.commands import ticket as ticket_command
from services.store.releases import get_desired, report_replica
from tests.unit.services.place import BASE, RELEASE_0, Place


def said(app: Any, *argv: str) -> str:
    result = CliRunner().invoke(app, argv)
    assert result.exit_code == 0, result.output
    return result.output


def test_nobody_then_somebody_then_nobody_again(house: Place) -> None:
    assert said(command.app, "list") == "nobody is suppressed\n"
    person = house.people[1]
    ticket_id = house.file(("name", person.names[0]))
    with house.store.write() as session:
        version = get_desired(session, BASE).suppression_version
        for replica, applied in (("r-1", version), ("r-2", 0)):
            report_replica(
                session,
                replica,
                base_digest=BASE,
                state="ready",
                generation=0,
                release_digest=RELEASE_0,
                lease_s=60,
                suppression_version=applied,
            )
    text = said(command.app, "list")
    assert text.startswith(f"{ticket_id}  pending")
    assert f"replica r-1: version {version} of {version}\n" in text
    assert f"replica r-2: version 0 of {version}  BEHIND" in text
    told = said(command.app, "list", "--json")
    assert person.names[0].split()[0].lower() not in told.lower()
    found = json.loads(told)
    assert [(one["ticket_id"], one["state"], one["reason"]) for one in found["suppressions"]] == [
        (ticket_id, "pending", "approved")
    ]
    assert [one["applied"] for one in found["bases"][0]["replicas"]] == [True, False]
    said(ticket_command.app, "cancel", ticket_id)
    assert said(command.app, "list").startswith("nobody is suppressed")
    assert json.loads(said(command.app, "list", "--ended", "--json"))["suppressions"][0]["state"] == "lifted"


def test_one_ticket_with_all_that_it_had(house: Place) -> None:
    ticket_id = house.file(("name", house.people[1].names[0]))
    assert "suppression pending" in said(ticket_command.app, "restrict", ticket_id, "--reason", "contests what it says")
    suppression.tend(house.store, enabled=True)
    assert "answers    suppression confirmed at" in said(ticket_command.app, "show", ticket_id)
    text = said(command.app, "show", ticket_id)
    assert text.startswith(f"{ticket_id}: confirmed\n")
    assert [line.split()[2] for line in text.splitlines()[1:]] == ["approved", "restriction"]
    answer = said(ticket_command.app, "unrestrict", ticket_id, "--reason", "told on Monday", "--json")
    assert json.loads(answer)["suppression"]["state"] == "confirmed"
    shown = json.loads(said(command.app, "show", ticket_id, "--json"))
    assert (shown["state"], shown["reason"]) == ("confirmed", "approved")
    assert [one["state"] for one in shown["suppressions"]] == ["confirmed", "lifted"]
