"""A legal hold is the person's: it stops every ticket that shares an identifier, on every way to a run."""

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, text

import policies
from policies.errors import LetheError
from policies.lifecycle import RunEvent, TicketEvent, TicketStatus
from services import planning, ticket
from services.intake import lookup
from services.store.holds import person_held, same_person
from services.store.runs import transition_run
from services.store.tables import AuditEntryRow, LookupHash, SealedIdentity, Ticket
from services.store.tickets import get_ticket, list_tickets, transition_ticket
from tests.unit.services.place import OFFICER, Place

REASON = "a court asked"


def file(place: Place, *subject: dict[str, str], **more: Any) -> str:
    """A ticket that waits for its approval."""
    place.filed += 1
    now = datetime.now(UTC).isoformat()
    body = {
        "external_id": f"h-{place.filed}",
        "regime": "gdpr",
        "ground": "withdrawn_consent",
        "base": "demo",
        "subject": list(subject),
        "identity": {"method": "email_code", "verified": True, "evidence_ref": "ev-1", "verified_at": now},
        **more,
    }
    return place.desk.file(json.dumps(body).encode(), OFFICER)[0]


def email(place: Place, number: int = 0) -> dict[str, str]:
    return {"kind": "email", "value": place.people[number].email}


def held(place: Place, ticket_id: str) -> bool:
    with place.store.read() as session:
        return person_held(session, get_ticket(session, ticket_id))


def event_refused(place: Place, ticket_id: str, what: TicketEvent) -> str:
    with pytest.raises(LetheError) as caught, place.store.write() as session:
        transition_ticket(session, ticket_id, what, actor="system:test")
    return caught.value.code


def test_a_hold_on_one_ticket_refuses_the_approval_of_another(place: Place) -> None:
    first, second = file(place, email(place)), file(place, email(place), {"kind": "id", "value": "KX-4817"})
    place.desk.hold(first, OFFICER, reason=REASON)
    with pytest.raises(LetheError) as caught:
        place.desk.approve(second, OFFICER)
    assert caught.value.code == "ticket.person_held"
    assert place.ticket(second).approvals == []
    assert event_refused(place, second, TicketEvent.APPROVE) == "lifecycle.guarded"
    place.desk.release_hold(first, OFFICER)
    assert place.desk.approve(second, OFFICER) == TicketStatus.APPROVED


def test_a_hold_that_comes_later_stops_an_approved_and_a_ready_ticket(place: Place) -> None:
    approved, other = place.ready(0), place.ready(1)
    first = file(place, email(place))
    place.desk.hold(first, OFFICER, reason=REASON)
    assert event_refused(place, approved, TicketEvent.RUN_STARTED) == "lifecycle.guarded"
    assert event_refused(place, approved, TicketEvent.FORGET_SET_FIXED) == "lifecycle.guarded"
    with place.store.read() as session:
        free = [one.ticket_id for one in list_tickets(session, statuses=[TicketStatus.READY], held=False)]
    assert free == [other]
    run_id = planning.plan(place.installation, place.store)
    assert run_id is not None
    assert [one.ticket_id for one in place.tickets(run_id)] == [other]
    assert place.ticket(approved).status == TicketStatus.READY
    place.desk.release_hold(first, OFFICER)
    assert not held(place, approved)


def test_a_hold_stops_the_run_that_another_ticket_of_the_person_is_in(place: Place) -> None:
    first, run_id = file(place, email(place)), place.planned(0, 1)
    place.desk.hold(first, OFFICER, reason=REASON)
    assert place.run(run_id).cancel_requested
    with pytest.raises(LetheError) as caught, place.store.write() as session:
        transition_run(session, run_id, RunEvent.START, actor="system:test")
    assert caught.value.code == "lifecycle.guarded"


def test_a_ticket_that_is_withdrawn_stops_nobody_elses_run(place: Place) -> None:
    first, run_id = file(place, email(place)), place.planned(0)
    place.desk.cancel(first, OFFICER)
    assert not place.run(run_id).cancel_requested


def test_a_hold_that_a_ticket_came_with_stops_the_run_too(place: Place) -> None:
    run_id = place.planned(0)
    assert place.ticket(file(place, email(place), legal_hold=True)).status == TicketStatus.ON_HOLD
    assert place.run(run_id).cancel_requested


@pytest.mark.parametrize("form", ["sha256", "sha1", "md5"])
def test_a_digest_is_the_same_person(place: Place, form: str) -> None:
    raw = email(place)
    hashed = hashlib.new(form, raw["value"].lower().encode(), usedforsecurity=False).hexdigest()
    listed = file(place, {"kind": "email", "value": hashed.upper(), "form": form})
    named = file(place, raw)
    with place.store.read() as session:
        assert same_person(session, get_ticket(session, listed)) == [named]
    place.desk.hold(named, OFFICER, reason=REASON)
    assert held(place, listed)
    place.desk.release_hold(named, OFFICER)
    assert not held(place, listed)
    place.desk.hold(listed, OFFICER, reason=REASON)
    assert held(place, named)


@pytest.mark.parametrize("spelt", ["+12025550143", "12025550143", "2025550143"])
def test_a_digest_of_a_phone_number_is_the_same_person_however_it_was_spelt(place: Place, spelt: str) -> None:
    listed = file(place, {"kind": "phone", "value": hashlib.sha256(spelt.encode()).hexdigest(), "form": "sha256"})
    place.desk.hold(listed, OFFICER, reason=REASON)
    assert held(place, file(place, {"kind": "phone", "value": "(202) 555-0143"}))
    assert not held(place, file(place, {"kind": "phone", "value": "(202) 555-0144"}))


def test_two_holds_on_one_person_end_one_after_the_other(place: Place) -> None:
    first, second = file(place, email(place)), file(place, email(place))
    place.desk.hold(first, OFFICER, reason=REASON)
    place.desk.hold(second, OFFICER, reason=REASON)
    assert place.desk.release_hold(first, OFFICER) == TicketStatus.AWAITING_APPROVAL
    with pytest.raises(LetheError, match="legal hold"):
        place.desk.approve(first, OFFICER)
    assert place.desk.release_hold(second, OFFICER) == TicketStatus.AWAITING_APPROVAL
    assert place.desk.approve(first, OFFICER) == TicketStatus.APPROVED


def test_a_hold_outlasts_a_denial_and_can_still_be_released(place: Place) -> None:
    first, second = file(place, email(place)), file(place, email(place))
    place.desk.hold(first, OFFICER, reason=REASON)
    place.desk.deny(first, OFFICER, reason="legal claims")
    assert held(place, second)
    assert place.desk.release_hold(first, OFFICER) == TicketStatus.DENIED
    assert not held(place, second)
    with place.store.read() as session:
        kinds = set(session.scalars(select(AuditEntryRow.kind)))
    assert "ticket.release_hold" in kinds
    with pytest.raises(LetheError) as caught:
        place.desk.release_hold(first, OFFICER)
    assert caught.value.code == "lifecycle.forbidden"


def test_what_nobody_has_to_approve_waits_for_the_hold_of_another_ticket(
    make_place: Callable[..., Place], tmp_path: Path
) -> None:
    packs = tmp_path / "packs"
    packs.mkdir()
    pack = (Path(policies.__file__).parent / "packs" / "gdpr.yaml").read_text(encoding="utf-8")
    (packs / "gdpr.yaml").write_text(pack.replace("approvals: 1", "approvals: 0"), encoding="utf-8")
    place = make_place(policy={"pack_path": packs})
    first = file(place, email(place))
    place.desk.hold(first, OFFICER, reason=REASON)
    second = file(place, email(place))
    found = place.ticket(second)
    assert (found.status, found.legal_hold) == (TicketStatus.ON_HOLD, False)
    assert place.desk.release_hold(second, OFFICER) == TicketStatus.ON_HOLD
    assert place.desk.release_hold(first, OFFICER) == TicketStatus.APPROVED
    assert place.desk.release_hold(second, OFFICER) == TicketStatus.APPROVED


def test_a_look_up_does_not_settle_what_was_held_meanwhile(place: Place) -> None:
    ticket_id = place.file(("email", place.people[0].email))
    place.desk.hold(file(place, email(place)), OFFICER, reason=REASON)
    with pytest.raises(LetheError) as caught:
        ticket.look_up(place.installation, place.store, ticket_id)
    assert caught.value.code == "lifecycle.guarded"
    assert place.ticket(ticket_id).status == TicketStatus.APPROVED


def test_a_ticket_that_cannot_be_read_keeps_nobody_else_from_its_hashes(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    broken, whole = file(place, email(place)), file(place, email(place, 1))
    with place.store.write() as session:
        for row in session.scalars(select(LookupHash).where(LookupHash.kind != "email")):
            session.delete(row)
        session.get_one(SealedIdentity, place.ticket(broken).subject_ref).ciphertext = b"damaged"
    with place.store.write() as session:
        lookup.fill_in(session)
    with place.store.read() as session:
        query = select(LookupHash.kind).where(LookupHash.subject_ref == place.ticket(whole).subject_ref)
        assert "email.sha256" in set(session.scalars(query))
    assert broken in caplog.text
    assert place.people[0].email not in caplog.text


def test_open_tickets_of_an_earlier_version_are_given_their_hashes(place: Place) -> None:
    named, closed = file(place, email(place)), file(place, email(place, 1))
    place.desk.cancel(closed, OFFICER)
    with place.store.write() as session:
        for row in session.scalars(select(LookupHash).where(LookupHash.kind != "email")):
            session.delete(row)
    with place.store.write() as session:
        assert lookup.fill_in(session) == 1
    with place.store.write() as session:
        assert lookup.fill_in(session) == 0
    hashed = hashlib.sha256(place.people[0].email.lower().encode()).hexdigest()
    place.desk.hold(file(place, {"kind": "email", "value": hashed, "form": "sha256"}), OFFICER, reason=REASON)
    assert held(place, named)


@pytest.fixture
def plans(place: Place) -> Iterator[list[str]]:
    """How SQLite carries out the queries that ask for holds."""
    found: list[str] = []

    def note(connection: Any, _c: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "legal_hold IS" in statement and not statement.startswith("EXPLAIN"):
            rows = connection.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            found.extend(row[3] for row in rows)

    event.listen(place.store.engine, "before_cursor_execute", note)
    yield found
    event.remove(place.store.engine, "before_cursor_execute", note)


def test_holds_are_asked_for_by_the_indexes(place: Place, plans: list[str]) -> None:
    ticket_id = file(place, email(place))
    assert not held(place, ticket_id)
    with place.store.read() as session:
        list_tickets(session, statuses=[TicketStatus.READY], held=False)
        assert session.scalar(text("SELECT 1")) == 1
        assert session.scalar(select(Ticket.ticket_id)) == ticket_id
    assert plans
    assert not [line for line in plans if line.startswith("SCAN")], plans
