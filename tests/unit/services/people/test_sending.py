"""Letters and notices through a real mail server."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select

from policies.errors import LetheError
from policies.lifecycle import TicketStatus
from services import sealed_items
from services.people import notices, recipients, sending
from services.settings import MailSettings
from services.store.tables import AuditEntryRow, SealedIdentity
from services.store.tickets import get_ticket
from tests.smtp_server import smtp_server
from tests.unit.services.people.desk import OFFICER, People

WHO = OFFICER.actor
EMAIL = "mara.canary@example.org"


def settings(port: int, **more: Any) -> MailSettings:
    return MailSettings(host="127.0.0.1", port=port, security="none", sender="privacy@lethe.example", **more)


def letter(people: People, ticket_id: str, kind: str) -> str:
    with people.store.write() as session:
        ticket = get_ticket(session, ticket_id)
        pack = people.desk.packs.get(ticket.regime)
        return notices.make_letter(session, ticket, pack, kind, actor=WHO, at=people.clock()).notice_id


def erased(people: People, ticket_id: str, mail: MailSettings) -> None:
    """As a swap and the end of its run would leave it: no corpus and no run here."""
    with people.store.write() as session:
        ticket = get_ticket(session, ticket_id)
        ticket.status, ticket.closed_at = TicketStatus.COMPLETED.value, people.clock()
        sending.keep_address(session, ticket, mail, at=people.clock())
        session.execute(delete(SealedIdentity).where(SealedIdentity.subject_ref == ticket.subject_ref))


def send(people: People, mail: MailSettings, notice_id: str) -> str:
    return sending.send(people.store, mail, notice_id, actor=WHO, at=people.clock()).status


def refused(people: People, mail: MailSettings, notice_id: str) -> str:
    with pytest.raises(LetheError) as error:
        send(people, mail, notice_id)
    assert EMAIL not in str(error.value)
    return error.value.code


def test_a_receipt_goes_to_the_person_once(people: People) -> None:
    notice_id = letter(people, people.file("s-1"), "receipt")
    with smtp_server() as box:
        assert send(people, settings(box.port), notice_id) == "sent"
        assert send(people, settings(box.port), notice_id) == "sent"
        [message] = box.arrived
    assert message["To"] == EMAIL
    assert "s-1" in message.get_content()
    assert EMAIL not in str(message["Subject"])
    with people.store.read() as session:
        row = notices.get_notice(session, notice_id)
    assert (row.way, row.sent_by) == ("email", WHO)


def test_the_answer_arrives_after_the_identity_was_deleted_and_takes_the_address_along(people: People) -> None:
    ticket_id = people.file("s-2")
    with smtp_server() as box:
        erased(people, ticket_id, settings(box.port))
        with people.store.read() as session:
            [kept] = sealed_items.items_of(session, ticket_id)
        assert kept.purpose == sealed_items.REPLY_TO
        assert kept.expires_at is not None
        assert send(people, settings(box.port), letter(people, ticket_id, "answer")) == "sent"
        assert [message["To"] for message in box.arrived] == [EMAIL]
    with people.store.read() as session:
        assert sealed_items.items_of(session, ticket_id) == []


def test_without_mail_no_address_is_kept_and_it_is_said_so(people: People) -> None:
    ticket_id = people.file("s-3")
    erased(people, ticket_id, MailSettings())
    with people.store.read() as session:
        assert sealed_items.items_of(session, ticket_id) == []
    assert refused(people, MailSettings(), letter(people, ticket_id, "answer")) == "letter.no_address"


def test_what_the_server_does_not_take_stays_unsent(people: People) -> None:
    notice_id = letter(people, people.file("s-4"), "receipt")
    with smtp_server() as box:
        box.refused.add(EMAIL)
        assert refused(people, settings(box.port), notice_id) == "letter.undeliverable"
    assert refused(people, settings(box.port), notice_id) == "mail.unavailable"
    assert refused(people, MailSettings(), notice_id) == "mail.off"
    with people.store.read() as session:
        row = notices.get_notice(session, notice_id)
    assert (row.status, row.attempts, row.failed_code) == ("made", 3, "mail.off")


def test_recipients_are_told_once_the_erasure_is_done(people: People) -> None:
    with people.store.write() as session:
        for recipient in ("crm-vendor", "lab"):
            recipients.add(session, recipient, "data", None, actor=WHO, at=people.clock())
    ticket_id = people.file("s-5")
    people.desk.approve(ticket_id, OFFICER)
    with people.store.read() as session:
        by_name = {row.recipient_id: row.notice_id for row in notices.of_ticket(session, ticket_id)}
    with smtp_server() as box:
        mail = settings(box.port, recipients={"crm-vendor": "privacy@crm.example"})
        assert refused(people, mail, by_name["crm-vendor"]) == "notice.refused"
        erased(people, ticket_id, mail)
        sent, left = sending.send_due(people.store, mail, actor=WHO, at=people.clock())
        assert (sent, left) == ([by_name["crm-vendor"]], {by_name["lab"]: "letter.no_address"})
        assert [message["To"] for message in box.arrived] == ["privacy@crm.example"]
        assert sending.send_due(people.store, mail, actor=WHO, at=people.clock())[0] == []


def test_what_may_have_arrived_waits_for_a_person_and_is_never_sent_by_itself(people: People) -> None:
    notice_id = letter(people, people.file("s-6"), "receipt")
    with smtp_server(breaks="end") as box:
        assert refused(people, settings(box.port), notice_id) == "mail.unsure"
    with smtp_server() as box:
        assert refused(people, settings(box.port), notice_id) == "notice.in_hand"
        assert box.arrived == []
        with people.store.write() as session:
            assert sending.not_sent(session, notice_id, actor=WHO, at=people.clock()).status == "made"
        assert send(people, settings(box.port), notice_id) == "sent"
        with people.store.write() as session, pytest.raises(LetheError, match=r"notice\.refused"):
            sending.not_sent(session, notice_id, actor=WHO, at=people.clock())


def test_a_crash_after_the_servers_word_sends_nothing_again(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    notice_id = letter(people, people.file("s-7"), "receipt")

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with smtp_server() as box:
        with monkeypatch.context() as patched:
            patched.setattr(notices, "record_sent", crash)
            with pytest.raises(KeyboardInterrupt):
                send(people, settings(box.port), notice_id)
        assert refused(people, settings(box.port), notice_id) == "notice.in_hand"
        assert len(box.arrived) == 1
    with people.store.write() as session:
        row = notices.record_sent(session, notice_id, way="email", sent_at=people.clock(), actor=WHO, at=people.clock())
        assert row.status == "sent"


def test_by_itself_only_what_is_set_so_has_an_address_and_is_not_waiting(people: People) -> None:
    with people.store.write() as session:
        for recipient in ("shop", "attic"):
            recipients.add(session, recipient, "model", "alone", actor=WHO, at=people.clock())
    ticket_id = people.file("s-8", base="alone")
    people.desk.approve(ticket_id, OFFICER)
    addresses = {"shop": "privacy@shop.example"}

    def due(mail: MailSettings, minutes: int = 0) -> list[int]:
        with people.store.read() as session:
            mine = {row.notice_id for row in notices.of_ticket(session, ticket_id)}
            now = people.clock() + timedelta(minutes=minutes)
            return [tried for one, tried in sending.due_by_itself(session, mail, now=now) if one in mine]

    with smtp_server() as box:
        mail = settings(box.port, recipients=addresses, send_notices=True)
        assert due(mail) == []  # nothing is erased yet
        erased(people, ticket_id, mail)
        assert due(settings(box.port, recipients=addresses)) == []
        assert due(MailSettings(recipients=addresses, send_notices=True)) == []
        assert due(mail) == [0]
    with people.store.read() as session:
        [shop] = [row.notice_id for row in notices.of_ticket(session, ticket_id) if row.recipient_id == "shop"]
    for tried, pause in ((1, 1), (2, 2), (3, 4)):
        assert refused(people, mail, shop) == "mail.unavailable"
        assert due(mail, pause - 1) == []
        assert due(mail, pause) == [tried]
    with people.store.read() as session:
        entries = session.scalars(select(AuditEntryRow).where(AuditEntryRow.kind == "notice.not_sent"))
        assert len([one for one in entries if shop in str(one.payload)]) == 1
