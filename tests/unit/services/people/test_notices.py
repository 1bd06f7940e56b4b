from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from policies.errors import LetheError
from policies.lifecycle import TicketStatus
from policies.pack import PACKS
from services import sealing
from services.lapse import decide_lapsed
from services.people import notices, recipients
from services.reports.notices import notices_of
from services.settings import PolicySettings
from services.store.people_tables import Notice
from services.store.tables import AuditEntryRow
from services.store.tickets import get_ticket
from tests.unit.services.people.desk import APPROVER, NOW, OFFICER, People

WHO = OFFICER.actor


def make(people: People, ticket_id: str, letter: str, **more: Any) -> str:
    with people.store.write() as session:
        ticket = get_ticket(session, ticket_id)
        pack = people.desk.packs.get(ticket.regime)
        at = people.clock()
        return notices.make_letter(session, ticket, pack, letter, actor=WHO, at=at, **more).notice_id


def words(people: People, notice_id: str) -> str:
    with people.store.read() as session:
        return notices.text_of(session, notices.get_notice(session, notice_id))


def refused(people: People, ticket_id: str, letter: str, **more: Any) -> str:
    with pytest.raises(LetheError) as error:
        make(people, ticket_id, letter, **more)
    return error.value.code


def complete(people: People, ticket_id: str) -> None:
    """As a swap would leave it: no corpus and no run here."""
    with people.store.write() as session:
        ticket = get_ticket(session, ticket_id)
        ticket.status, ticket.closed_at = TicketStatus.COMPLETED.value, people.clock()


def test_a_denial_says_why_under_what_and_where_to_complain(people: People) -> None:
    ticket_id = people.file("crm-1")
    assert refused(people, ticket_id, "denial") == "letter.not_due"
    people.desk.deny(ticket_id, OFFICER, reason="We hold no data that you named.")
    text = words(people, make(people, ticket_id, "denial"))
    for part in ("crm-1", "Art. 12(4)", "We hold no data that you named.", "supervisory authority", "judicial remedy"):
        assert part in text
    assert refused(people, ticket_id, "answer") == "letter.not_due"


def test_a_part_denial_names_what_is_kept_its_provision_and_its_review(people: People) -> None:
    ticket_id = people.file("crm-2")
    review = NOW + timedelta(days=90)
    targets: tuple[dict[str, Any], ...] = ({"category": "private.address"}, {"record_id": "r-9"})
    for target in targets:
        people.desk.exempt(ticket_id, OFFICER, code="legal_claims", review_by=review, reason="a claim", **target)
    people.desk.approve(ticket_id, APPROVER)
    text = words(people, make(people, ticket_id, "part_denial"))
    for line in ("- private.address: Art. 17(3)(e); looked at again by 2026-06-08", "- r-9: Art. 17(3)(e)"):
        assert line in text
    assert "a claim" not in text, "the officer's own words are no letter"


def test_receipt_extension_and_answer_go_with_what_was_decided(people: People) -> None:
    ticket_id = people.file("crm-3", identity=None)
    receipt = words(people, make(people, ticket_id, "receipt"))
    assert "2026-04-10 (Art. 12(3))" in receipt
    assert "be sure that the request comes from you" in receipt
    assert refused(people, ticket_id, "extension") == "letter.not_due", "it needs a reason"
    assert "by 2026-06-10" in words(people, make(people, ticket_id, "extension", why="complexity"))
    people.clock.now = NOW + timedelta(days=32)
    assert refused(people, ticket_id, "extension", why="complexity") == "letter.not_due", "the first period has ended"
    people.clock.now = NOW
    done = people.file("crm-4")
    people.desk.approve(done, APPROVER)
    complete(people, done)
    answer = words(people, make(people, done, "answer"))
    assert "2026-03-10" in answer
    kept = [one["pattern"] for one in people.ask(done, lambda ticket: ticket.decision)["kept_categories"]]
    assert kept
    assert all(f"- {pattern}: Art. 17(3)" in answer for pattern in kept), "an answer that says `named below` names it"


def test_recipients_are_told_where_no_person_approves(people: People, tmp_path: Path) -> None:
    text = (PACKS / "gdpr.yaml").read_text().replace("approvals: 1", "approvals: 0")
    (tmp_path / "ours.yaml").write_text(text)
    alone = People(people.store, PolicySettings(pack_path=tmp_path, zone=""))
    with people.store.write() as session:
        recipients.add(session, "alone", "data", "unattended", actor=WHO, at=NOW)
    ticket_id = alone.file("crm-alone", base="unattended")
    assert alone.status(ticket_id) == "approved"
    with people.store.read() as session:
        [row] = notices.of_ticket(session, ticket_id)
    assert (row.recipient_id, row.made_by) == ("alone", "system:intake")
    complete(people, ticket_id)
    with people.store.write() as session:
        assert [one.notice_id for one in notices.due(session)] == [row.notice_id]
        notices.record_impossible(session, row.notice_id, actor=WHO, at=NOW)


def test_who_was_not_verified_in_time_is_told_so_and_nothing_of_what_is_held(people: People) -> None:
    ticket_id = people.file("crm-late", regime="ccpa", ground=None, identity=None)
    other = people.file("crm-late-2", regime="ccpa", ground=None, identity=None)
    eu = people.file("crm-late-3", identity=None)
    assert decide_lapsed(people.desk, now=people.clock()) == []
    people.clock.now = datetime(2026, 4, 25, 12, tzinfo=UTC)
    people.desk.deny(other, OFFICER, reason="You did not answer us.")
    assert decide_lapsed(people.desk, now=people.clock()) == [ticket_id]
    assert decide_lapsed(people.desk, now=people.clock()) == []
    assert (people.status(ticket_id), people.status(eu)) == ("denied", "awaiting_identity")
    assert people.ask(ticket_id, lambda ticket: ticket.reason_code) == "identity-not-verifiable"
    text = words(people, make(people, ticket_id, "denial"))
    assert "could not verify your identity within 45 days and therefore deny" in text
    assert "Reason: The identity could not be verified within 45 days" in text
    by_person = words(people, make(people, other, "denial"))
    assert "for the reason named below" in by_person
    assert "You did not answer us." in by_person
    for one in (text, by_person):
        assert "What we keep" not in one
        assert "we hold" not in one


def test_letters_say_the_days_of_the_law_and_not_those_of_utc(people: People) -> None:
    people.clock.now = datetime(2026, 3, 10, 2, tzinfo=UTC)  # the evening of the 9th in Los Angeles
    ticket_id = people.file("crm-la", regime="ccpa", ground=None, identity=None)
    receipt = words(people, make(people, ticket_id, "receipt"))
    extension = words(people, make(people, ticket_id, "extension", why="complexity"))
    assert "on 2026-03-09" in receipt
    assert "by 2026-04-23" in receipt
    assert "of 2026-03-09 by 2026-04-23" in extension
    assert "by 2026-06-07" in extension
    people.clock.now = NOW
    done = people.file("crm-la-2", regime="ccpa", ground=None)
    review = datetime(2026, 7, 1, 6, 59, 59, tzinfo=UTC)  # the end of the last of June
    people.desk.exempt(done, OFFICER, code="security", review_by=review, reason="a breach", category="private.*")
    people.desk.approve(done, APPROVER)
    people.clock.now = datetime(2026, 3, 20, 2, tzinfo=UTC)
    complete(people, done)
    answer = words(people, make(people, done, "answer"))
    assert "looked at again by 2026-06-30" in answer
    assert "in use since 2026-03-19" in answer


def test_a_letter_is_made_anew_until_it_was_sent_and_is_sealed(people: People) -> None:
    ticket_id = people.file("crm-5")
    first = make(people, ticket_id, "receipt")
    assert make(people, ticket_id, "receipt") == first
    with people.store.write() as session:
        for way, at in (("pigeon", NOW), ("post", NOW - timedelta(days=1)), ("post", NOW + timedelta(days=1))):
            with pytest.raises(LetheError) as wrong:
                notices.record_sent(session, first, way=way, sent_at=at, actor=WHO, at=NOW)
            assert wrong.value.code == "notice.refused"
        for _ in range(2):
            notices.record_sent(session, first, way="post", sent_at=NOW, actor=WHO, at=NOW)
        with pytest.raises(LetheError):
            notices.record_impossible(session, first, actor=WHO, at=NOW)
        row = session.get_one(Notice, first)
        assert b"crm-5" not in (row.ciphertext or b"")
        told = notices_of(session, get_ticket(session, ticket_id))
        assert told is not None
        assert [(part.to, part.letter) for part in told] == [("subject", "receipt")]
        kinds = [one.kind for one in session.query(AuditEntryRow) if first in one.payload]
    assert kinds == ["notice.made", "notice.made", "notice.sent"]
    assert refused(people, ticket_id, "receipt") == "letter.sent"


def test_recipients_are_told_once_the_erasure_is_done(people: People) -> None:
    with people.store.write() as session:
        for code, kind, base in (("crm", "data", None), ("edge", "model", None), ("else", "data", "another")):
            for _ in range(2):
                recipients.add(session, code, kind, base, actor=WHO, at=NOW)
        with pytest.raises(LetheError) as other:
            recipients.add(session, "crm", "model", None, actor=WHO, at=NOW)
        assert other.value.code == "recipient.exists"
    ticket_id, ended = people.file("crm-6"), people.file("crm-7")
    for one in (ticket_id, ended):
        people.desk.approve(one, APPROVER)
    with people.store.write() as session:
        crm, edge = sorted(notices.of_ticket(session, ticket_id), key=lambda row: row.recipient_id)
        assert (crm.recipient_id, edge.recipient_id) == ("crm", "edge"), "not one of another base"
        assert "mara.canary@example.org" in notices.text_of(session, crm)
        assert "mara" not in notices.text_of(session, edge)
        assert notices.due(session) == []
        with pytest.raises(LetheError) as early:
            notices.record_sent(session, crm.notice_id, way="portal", sent_at=NOW, actor=WHO, at=NOW)
        assert early.value.code == "notice.refused"
        assert notices.prepare(session, get_ticket(session, ticket_id), actor=WHO, at=NOW) == 0, "twice is once"
        assert notices.drop_unsent(session, ended) == 2
        with pytest.raises(LetheError) as dropped:
            notices.text_of(session, notices.of_ticket(session, ended)[0])
        assert dropped.value.code == "seal.item_missing"
    complete(people, ticket_id)
    with people.store.write() as session:
        assert {row.recipient_id for row in notices.due(session)} == {"crm", "edge"}
        notices.record_sent(session, crm.notice_id, way="portal", sent_at=NOW, actor=WHO, at=NOW)
        for _ in range(2):
            notices.record_impossible(session, edge.notice_id, actor=WHO, at=NOW)
        assert notices.due(session) == []
        told = notices_of(session, get_ticket(session, ticket_id))
        assert told is not None
        assert [(part.to, part.recipient) for part in told] == [("recipient", "crm")]
        recipients.remove(session, "crm", actor=WHO, at=NOW)
        recipients.remove(session, "edge", actor=WHO, at=NOW)
        sealing.destroy(session, get_ticket(session, ticket_id).subject_ref, at=NOW)
        with pytest.raises(LetheError) as gone:
            notices.text_of(session, session.get_one(Notice, crm.notice_id))
        assert gone.value.code == "seal.key_destroyed"
        with pytest.raises(LetheError) as missing:
            recipients.remove(session, "nobody", actor=WHO, at=NOW)
        assert missing.value.code == "recipient.not_found"
        with pytest.raises(LetheError) as none:
            notices.get_notice(session, "n-none")
        assert none.value.code == "notice.not_found"
