"""A number without a country code is the same person's in the corpus, in every ticket, and in what is suppressed."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from policies.errors import LetheError
from policies.lifecycle import TicketStatus
from policies.ticket import Identifier
from services import suppression, ticket
from services.intake.lookup import lookup_hashes
from services.settings import load_settings
from services.store.holds import same_person
from services.store.tickets import get_ticket
from tests.unit.services.place import Place

ROMAN = {"kind": "phone", "value": "06 6982 1234"}
ABROAD = {"kind": "phone", "value": "+39 06 6982 1234"}
LISTED = {"kind": "phone", "value": hashlib.sha256(b"0669821234").hexdigest(), "form": "sha256"}


@pytest.fixture
def place(make_place: Callable[..., Place], corpus: Path, tmp_path: Path) -> Place:
    """A place in Italy; somebody of its corpus has a number in Rome, written as at home."""
    own = tmp_path / "own"
    shutil.copytree(corpus, own)
    rows = [
        {"id": f"roman-{n}", "question": None, "answer": f"Drusilla Quintilla answers at 06 6982 1234, line {n}.",
         "category": "private.phone"}
        for n in range(2)
    ]  # fmt: skip
    with (own / "records.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return make_place(corpus={"path": str(own), "region": "IT"})


@pytest.mark.parametrize("subject", [ROMAN, ABROAD, LISTED], ids=["at home", "from abroad", "digest"])
def test_a_number_is_found_however_it_is_given(place: Place, subject: dict[str, str]) -> None:
    ticket_id = place.file(subject=[subject])
    assert ticket.look_up(place.installation, place.store, ticket_id) == TicketStatus.READY
    with place.store.read() as session:
        found = ticket.subject_set(session, get_ticket(session, ticket_id)).records
    assert {"roman-0", "roman-1"} <= {*found.forget, *found.exempt}


def test_tickets_with_the_same_number_are_one_persons(place: Place) -> None:
    tickets = {place.file(subject=[one]) for one in (ROMAN, ABROAD, LISTED)}
    with place.store.read() as session:
        for one in tickets - {max(tickets)}:
            assert set(same_person(session, get_ticket(session, one))) <= tickets - {one}
            assert same_person(session, get_ticket(session, one))
        assert lookup_hashes(session, [_said(ROMAN)]) == lookup_hashes(session, [_said(ABROAD)])


def test_a_rule_that_was_not_widened_yet_has_the_number_with_its_country(place: Place) -> None:
    ticket_id = place.file(subject=[ROMAN])
    with place.store.write() as session:
        rule = suppression._rule(session, get_ticket(session, ticket_id))
    assert "390669821234" in rule.to_json().decode()


@pytest.mark.parametrize("region", ["de", "XX", "GERMANY", ""])
def test_a_region_without_numbers_is_refused(tmp_path: Path, region: str) -> None:
    with pytest.raises(LetheError) as caught:
        load_settings(tmp_path, corpus={"region": region})
    assert caught.value.code == "settings.invalid"


def _said(subject: dict[str, str]) -> Identifier:
    return Identifier.model_validate(subject)
