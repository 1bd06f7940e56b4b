"""``lethe ticket exempt|exemptions|end-exemption``: what people read and type."""

import json

from typer.testing import CliRunner

from services.commands import ticket as command
from tests.unit.services.place import Place

REVIEW = "2099-12-31T23:30:00-05:00"


def said(*argv: str) -> str:
    result = CliRunner().invoke(command.app, argv)
    assert result.exit_code == 0, result.output
    return result.output


def test_an_exemption_from_its_decision_to_its_end(house: Place) -> None:
    ticket_id = house.file(("name", house.people[1].names[0]))
    assert said("exemptions", ticket_id) == "none\n"
    about = ("--code", "legal_claims", "--review-by", REVIEW, "--category", "private.*", "--reason", "a claim of May")
    said("exempt", ticket_id, *about)
    line = said("exemptions", ticket_id)
    assert line.endswith("  private.*  Art. 17(3)(e)  review by 2100-01-01T04:30:00Z\n"), "the moment, with its zone"
    assert said("exemptions") == "none\n", "it is not due yet"
    assert said("exemptions", "--review-before", "2100-02-01T00:00:00Z") == line
    (kept,) = json.loads(said("exemptions", ticket_id, "--json"))["exemptions"]
    said("end-exemption", ticket_id, kept["exemption_id"], "--reason", "the claim is settled")
    assert said("exemptions", ticket_id) == line.rstrip("\n") + "  ended\n"
