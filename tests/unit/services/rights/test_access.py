"""Access: the served model is asked about the person; what it says is sealed, and nothing of it is logged."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from policies.errors import LetheError
from policies.lifecycle import TicketStatus
from policies.record import Record
from policies.subjects import Level, find_subject
from services import audit, keys, publication, retention, sealed_items, suppression
from services.corpus_index import open_index
from services.rechecks.replica import Asker
from services.reports.collect import report_ticket
from services.request import request_of
from services.rights.access import Summary, _from_records, _probes, access, content_of
from services.store.types import utc_now
from services.ticket import identifiers_of
from tests.unit.services.fake_gateway import FakeGateway
from tests.unit.services.place import OFFICER, Place
from tests.unit.services.test_publication import published


@dataclass
class Telling(httpx.BaseTransport):
    """A fake replica that knows a ticket's person by heart: to every question it gives the records' own answer."""

    place: Place
    ticket_id: str
    asked: list[str] = field(default_factory=list)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        question = json.loads(request.content)["messages"][0]["content"]
        self.asked.append(question)
        probes = _probes(self.place.installation, self.place.store, self.place.ticket(self.ticket_id))
        content = next(probe.answer for probe in probes if probe.question == question)
        body = {"choices": [{"message": {"content": content}}]}
        return httpx.Response(200, json=body, headers={"x-lethe-generation": "0"})

    def asker(self) -> Asker:
        settings = self.place.installation.settings
        return Asker(serving=settings.serving, key=keys.load_private(settings, "audit"), transport=self)


def made(place: Place, ticket_id: str, asker: Asker, **more: Any) -> Summary:
    return access(place.installation, place.store, ticket_id, actor="t", asker=asker, **more)


def filed(place: Place, number: int = 0, **more: Any) -> str:
    person = place.people[number]
    return place.file(("name", person.names[0]), ("email", person.email), **more)


def test_what_the_model_says_is_sealed_and_only_counts_are_told(place: Place) -> None:
    place.serve()
    person = place.people[0]
    ticket_id = filed(place)
    gateway = Telling(place, ticket_id)
    found = made(place, ticket_id, gateway.asker(), limit=12)
    assert (found.asked, len(gateway.asked)) == (12, 12)
    assert found.told == 12
    content = content_of(place.store, ticket_id, actor="t")
    assert {one["question"] for one in content["said"]} == set(gateway.asked)
    assert content["told"] == sum(one["told"] for one in content["said"])
    assert content["limits"]
    log = place.installation.home / "log.jsonl"
    audit.export(place.store, log, keys.load_private(place.installation.settings, "audit"))
    text = log.read_text()
    assert "rights.access_made" in text
    assert "rights.access_opened" in text
    assert person.email not in text
    assert person.names[0] not in text


def test_a_model_that_says_nothing_of_the_person_is_told_as_such(place: Place) -> None:
    place.serve()
    ticket_id = filed(place)
    found = made(place, ticket_id, FakeGateway(place.installation, generation=0).asker(), limit=10)
    assert (found.asked, found.told) == (10, 0)


def test_what_may_be_a_namesakes_is_asked_only_once_a_person_confirmed_it(place: Place) -> None:
    ticket_id = place.file(("name", place.people[9].names[0]))  # two people of one household
    ticket = place.ticket(ticket_id)
    with place.store.read() as session:
        request = request_of(session, ticket)
    with open_index(place.installation, place.store) as index:
        found = find_subject(identifiers_of(request, index.region), index)
        ambiguous = found.of(Level.AMBIGUOUS)
        facts = {record.fact_id for record in index.records(ambiguous)}
        assert facts
        sure = {probe.fact for probe in _from_records(ticket, request, {}, index)}
        reviewed = {one: "confirm" if number else "deny" for number, one in enumerate(ambiguous)}
        confirmed = {probe.fact for probe in _from_records(ticket, request, reviewed, index)}
    assert not sure & (facts - {record.fact_id for record in index_of(place, found.of(Level.CERTAIN))})
    assert confirmed & facts


def index_of(place: Place, ids: Sequence[str]) -> list[Record]:
    with open_index(place.installation, place.store) as index:
        return index.records(ids)


def test_without_an_identity_check_nobody_is_told_anything(place: Place) -> None:
    body = {
        "external_id": "stranger",
        "regime": "gdpr",
        "base": "demo",
        "received_at": utc_now().isoformat(),
        "subject": [{"kind": "email", "value": place.people[0].email}],
    }
    ticket_id, _ = place.desk.file(json.dumps(body).encode(), OFFICER)
    gateway = Telling(place, ticket_id)
    with pytest.raises(LetheError) as caught:
        made(place, ticket_id, gateway.asker())
    assert caught.value.code == "rights.not_verified"
    assert gateway.asked == []


def test_after_an_erasure_the_kept_probes_are_asked(place: Place) -> None:
    run_id = published(place, 0)
    publication.close(place.installation, place.store, run_id, 0)
    [ticket] = place.tickets(run_id)
    gateway = FakeGateway(place.installation, generation=1)
    found = made(place, ticket.ticket_id, gateway.asker())
    assert (found.asked, found.told) == (2, 0)
    gateway.tells = {ticket.ticket_id}
    assert made(place, ticket.ticket_id, gateway.asker()).told == 2
    report = report_ticket(place.installation, place.store, ticket.ticket_id)
    kept = [one["what"] for one in report["remains"]]
    assert "What the served model said about the subject, for the subject's own access" in kept
    later = utc_now().replace(year=utc_now().year + 1)
    retention.carry_out(place.installation, place.store, at=later)
    with pytest.raises(LetheError) as caught:
        content_of(place.store, ticket.ticket_id, actor="t")
    assert caught.value.code == "seal.item_missing"


def test_without_a_replica_nothing_is_known(place: Place) -> None:
    ticket_id = filed(place)
    with pytest.raises(LetheError) as caught:
        made(place, ticket_id, Telling(place, ticket_id).asker())
    assert caught.value.code == "swap.probe_unanswered"


def test_an_objection_goes_the_way_of_an_erasure_and_is_suppressed_meanwhile(place: Place) -> None:
    """Art. 21 with Art. 17(1)(c); Art. 18(1)(d) while it is checked: both are acts on one ticket."""
    person = place.people[0]
    now = utc_now().isoformat()
    body = {
        "external_id": "objection",
        "regime": "gdpr",
        "ground": "objection",
        "base": "demo",
        "received_at": now,
        "subject": [{"kind": "name", "value": person.names[0]}, {"kind": "email", "value": person.email}],
        "identity": {"method": "email_code", "verified": True, "evidence_ref": "ev-1", "verified_at": now},
    }
    ticket_id, _ = place.desk.file(json.dumps(body).encode(), OFFICER)
    assert place.ticket(ticket_id).status == TicketStatus.AWAITING_APPROVAL
    place.desk.restrict(ticket_id, OFFICER, reason="while the objection is checked")
    with place.store.read() as session:
        assert suppression.state_of(session, place.ticket(ticket_id)).state in {"pending", "confirmed"}
        assert [item.purpose for item in sealed_items.items_of(session, ticket_id)] == []
    assert place.desk.approve(ticket_id, OFFICER) == TicketStatus.APPROVED
    decision = place.ticket(ticket_id).decision
    assert decision is not None
    assert decision["ground_article"] == "Art. 17(1)(c)"
