"""What ends without a swap, in an installation with a corpus; replicas and runner are fakes that are not asked."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from policies.errors import LetheError
from policies.lifecycle import TicketStatus
from services import ticket
from services.people import closing
from services.request import request_of
from services.store.tables import AuditEntryRow, Report, SealedIdentity
from services.store.tickets import get_ticket
from tests.unit.services.place import OFFICER, Place

MakePlace = Callable[..., Place]


def denied(place: Place) -> str:
    ticket_id = place.file(("name", place.people[0].names[0]), ("email", place.people[0].email))
    place.desk.deny(ticket_id, OFFICER, reason="the request was not the subject's")
    return ticket_id


def report_of(place: Place, ticket_id: str) -> Any:
    with place.store.read() as session:
        row = session.get_one(Report, ticket_id)
    return json.loads((place.installation.home / row.json_path).read_text())


def test_a_denied_ticket_loses_the_raw_identity_and_gets_a_report(place: Place) -> None:
    ticket_id, still_open = denied(place), place.file(("email", place.people[1].email))
    with place.store.read() as session:
        assert closing.due(session) == [ticket_id]
    assert closing.close(place.installation, place.store, ticket_id)
    assert not closing.close(place.installation, place.store, ticket_id), "twice is once"
    assert not closing.close(place.installation, place.store, still_open)
    with place.store.read() as session:
        row = get_ticket(session, ticket_id)
        assert session.get(SealedIdentity, row.subject_ref) is None
        assert session.get(SealedIdentity, get_ticket(session, still_open).subject_ref) is not None
        with pytest.raises(LetheError) as gone:
            request_of(session, row)
        assert gone.value.code == "seal.key_destroyed"
        assert closing.due(session) == []
        kinds = [one.kind for one in session.query(AuditEntryRow) if ticket_id in one.payload]
        assert kinds.count("ticket.identity_deleted") == 1
        assert row.acts["identity"]["method"] == "email_code", "the reference to the evidence stays"
    text = json.dumps(report_of(place, ticket_id))
    assert ticket_id in text
    assert place.people[0].email not in text


def test_everything_exempt_is_a_denial_and_not_nothing_found(place: Place) -> None:
    person = place.people[2]
    ticket_id = place.file(("name", person.names[0]), ("email", person.email))
    later = datetime.now(UTC) + timedelta(days=90)
    for category in ("private.*", "public.*"):
        place.desk.exempt(ticket_id, OFFICER, code="legal_claims", category=category, review_by=later, reason="a claim")
    assert place.desk.approve(ticket_id, OFFICER) == TicketStatus.APPROVED
    assert ticket.look_up(place.installation, place.store, ticket_id) == TicketStatus.DENIED
    assert place.ticket(ticket_id).reason_code == "forget_set.exempt"


def test_an_exempt_record_leaves_a_settled_forget_set(place: Place) -> None:
    ticket_id = place.ready(3)
    with place.store.read() as session:
        before = ticket.subject_set(session, get_ticket(session, ticket_id)).records
    record = before.forget[0]
    later = datetime.now(UTC) + timedelta(days=90)
    asked: dict[str, Any] = {"code": "legal_claims", "record_id": record, "review_by": later, "reason": "a claim"}
    assert place.desk.exempt(ticket_id, OFFICER, **asked) == TicketStatus.AWAITING_APPROVAL
    assert place.desk.approve(ticket_id, OFFICER) == TicketStatus.APPROVED
    assert ticket.look_up(place.installation, place.store, ticket_id) == TicketStatus.READY
    with place.store.read() as session:
        after = ticket.subject_set(session, get_ticket(session, ticket_id)).records
    assert record in after.exempt
    assert set(after.forget) == set(before.forget) - {record}


def test_while_a_run_works_on_it_nothing_is_exempted_but_a_hold_cancels_the_run(place: Place) -> None:
    run_id = place.planned(4)
    (mine,) = place.tickets(run_id)
    later = datetime.now(UTC) + timedelta(days=90)
    asked: dict[str, Any] = {"code": "legal_claims", "category": "private.*", "review_by": later, "reason": "a claim"}
    with pytest.raises(LetheError) as refused:
        place.desk.exempt(mine.ticket_id, OFFICER, **asked)
    assert refused.value.code == "lifecycle.forbidden"
    place.desk.hold(mine.ticket_id, OFFICER, reason="a claim")
    assert place.run(run_id).cancel_requested
    assert place.desk.exempt(mine.ticket_id, OFFICER, **asked) == TicketStatus.ON_HOLD
