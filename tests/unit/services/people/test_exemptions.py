from datetime import timedelta
from typing import Any

import pytest

from policies.errors import LetheError
from services import sealing
from services.people import exemptions
from services.store.tables import AuditEntryRow, ForgetSet
from services.store.tickets import REASON, get_ticket, history
from tests.unit.services.people.desk import APPROVER, NOW, OFFICER, People

LATER = NOW + timedelta(days=90)
BECAUSE = "a claim of the 4th of May"


def exempt(people: People, ticket_id: str, **more: Any) -> str:
    given = {"code": "legal_claims", "review_by": LATER, "reason": BECAUSE, **more}
    return people.desk.exempt(ticket_id, OFFICER, **given)


def test_an_exempt_category_and_record_leave_the_decision_a_part_denial(people: People) -> None:
    ticket_id = people.file("part")
    assert exempt(people, ticket_id, category="private.*") == "awaiting_approval"
    assert exempt(people, ticket_id, record_id="r-17", code="archiving_research") == "awaiting_approval"
    assert people.desk.approve(ticket_id, APPROVER) == "approved"
    decision = people.ask(ticket_id, lambda ticket: ticket.decision)
    assert (decision["partial"], decision["letter"]) == (True, "partly_erased")
    assert {
        "pattern": "private.*",
        "exemption": "legal_claims",
        "article": "Art. 17(3)(e)",
        "basis": "house",
    } in decision["kept_categories"]
    assert decision["kept_records"] == [
        {"record_id": "r-17", "exemption": "archiving_research", "article": "Art. 17(3)(d)"}
    ]


def test_what_was_approved_before_must_be_approved_again(people: People) -> None:
    ticket_id = people.file("again")
    assert people.desk.approve(ticket_id, APPROVER) == "approved"
    with people.store.write() as session:
        session.add(ForgetSet(ticket_id=ticket_id, digest="d", counts={"records": 3}, created_at=NOW))
    assert exempt(people, ticket_id, record_id="r-1") == "awaiting_approval"
    assert people.ask(ticket_id, lambda ticket: ticket.approvals) == []
    with people.store.read() as session:
        assert session.get(ForgetSet, ticket_id) is None, "it is settled anew, without the record"
        last = history(session, ticket_id)
        assert [row.event for row in last][-2:] == ["exempt", "require_approval"]
        assert BECAUSE.encode() not in (last[-2].reason_sealed or b"")
        entries = session.query(AuditEntryRow).filter(AuditEntryRow.kind == "ticket.exempt").all()
        logged = "".join(entry.payload for entry in entries)
    assert BECAUSE not in logged
    assert "Art. 17(3)(e)" in logged


def test_twice_is_once_and_an_ended_one_no_longer_counts(people: People) -> None:
    ticket_id = people.file("twice")
    exempt(people, ticket_id, category="private.email")
    exempt(people, ticket_id, category="private.email", review_by=LATER + timedelta(days=30))
    with people.store.read() as session:
        (row,) = exemptions.of_ticket(session, ticket_id)
        assert (row.decided_by, row.review_by) == ("key:k-officer", LATER + timedelta(days=30))
        assert exemptions.due_for_review(session, LATER) == [] or all(
            one.ticket_id != ticket_id for one in exemptions.due_for_review(session, LATER)
        )
        assert row.exemption_id in [
            one.exemption_id for one in exemptions.due_for_review(session, LATER + timedelta(days=31))
        ]
    for _ in range(2):
        people.desk.end_exemption(ticket_id, row.exemption_id, OFFICER, reason="the claim is settled")
    assert people.desk.approve(ticket_id, APPROVER) == "approved"
    kept = people.ask(ticket_id, lambda ticket: ticket.decision)["kept_categories"]
    assert all(one["pattern"] != "private.email" for one in kept)
    with people.store.read() as session:
        assert exemptions.of_ticket(session, ticket_id) == []
        assert len(exemptions.of_ticket(session, ticket_id, ended=True)) == 1


def test_who_renews_an_exemption_says_why_and_stands_in_the_log(people: People) -> None:
    """Of a closed ticket too: what it keeps must be looked at again, and its answer stays."""
    ticket_id = people.file("renewed")
    exempt(people, ticket_id, category="private.*")
    version = people.ask(ticket_id, lambda ticket: ticket.version)
    later = LATER + timedelta(days=30)
    with pytest.raises(LetheError) as changed:
        exempt(people, ticket_id, category="private.*", review_by=later, version=version - 1)
    assert changed.value.code == "ticket.changed"
    people.desk.cancel(ticket_id, OFFICER, reason="withdrawn")
    for _ in range(2):
        reason = "the claim goes on"
        assert exempt(people, ticket_id, category="private.*", review_by=later, reason=reason) == "cancelled"
    with people.store.read() as session:
        [row] = exemptions.of_ticket(session, ticket_id)
        assert row.review_by == later
        [entry] = [
            one
            for one in session.query(AuditEntryRow).filter(AuditEntryRow.kind == "ticket.renew_exemption")
            if ticket_id in one.payload
        ]
        [told] = [one for one in history(session, ticket_id) if one.event == "renew_exemption"]
        ticket = get_ticket(session, ticket_id)
        sealed = sealing.open_sealed(session, ticket.subject_ref, told.reason_sealed or b"", purpose=REASON)
    assert sealed == b"the claim goes on"
    assert told.from_status == told.to_status == "cancelled"
    for part in (LATER.isoformat(), later.isoformat(), "key:k-officer", row.exemption_id):
        assert part in entry.payload
    assert "goes on" not in entry.payload


def test_an_exemption_of_a_closed_ticket_ends_and_the_ticket_stays_as_it_was(people: People) -> None:
    ticket_id = people.file("closed")
    exempt(people, ticket_id, category="private.*")
    people.desk.cancel(ticket_id, OFFICER, reason="withdrawn")
    before = people.ask(ticket_id, lambda ticket: (ticket.status, ticket.closed_at))
    with people.store.read() as session:
        (row,) = exemptions.of_ticket(session, ticket_id)
    people.clock.now = NOW + timedelta(days=400)
    assert people.desk.end_exemption(ticket_id, row.exemption_id, OFFICER, reason="settled") == "cancelled"
    assert people.ask(ticket_id, lambda ticket: (ticket.status, ticket.closed_at)) == before
    with pytest.raises(LetheError) as refused:
        exempt(people, ticket_id, category="public.*", review_by=NOW + timedelta(days=900))
    assert refused.value.code == "lifecycle.forbidden"


def test_under_a_hold_it_is_recorded_and_the_hold_stands(people: People) -> None:
    ticket_id = people.file("held", legal_hold=True)
    assert exempt(people, ticket_id, category="private.*") == "on_hold"
    assert people.desk.release_hold(ticket_id, OFFICER, reason="over") == "awaiting_approval"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"category": "a", "record_id": "r"}, "exemption.invalid"),
        ({}, "exemption.invalid"),
        ({"category": "a", "review_by": NOW}, "exemption.invalid"),
        ({"category": "a", "code": "because"}, "policy.unknown_exemption"),
        ({"category": "a", "version": 1}, "ticket.changed"),
    ],
)
def test_what_is_no_exemption(people: People, more: dict[str, Any], code: str) -> None:
    ticket_id = people.file(f"no-{code}-{len(more)}-{'version' in more}-{'review_by' in more}")
    with pytest.raises(LetheError) as refused:
        exempt(people, ticket_id, **more)
    assert refused.value.code == code
    with people.store.read() as session:
        assert exemptions.of_ticket(session, ticket_id) == []
    with pytest.raises(LetheError) as missing:
        people.desk.end_exemption(ticket_id, "x-none", OFFICER, reason="none")
    assert missing.value.code == "exemption.not_found"
