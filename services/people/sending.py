"""Letters and notices by mail, through the server of the settings; without one they are written to files by hand.

A letter to the person goes to the e-mail address of the request. An answer is due after the raw identity was deleted:
where mail is set up, the address alone stays sealed for a month, or until the answer went out.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from dateutil.relativedelta import relativedelta
from sqlalchemy.orm import Session

from policies.errors import LetheError
from policies.lifecycle import TicketStatus
from policies.ticket import Identifier
from services import audit, mail, sealed_items
from services.people import notices
from services.request import request_of
from services.settings import MailSettings
from services.store.engine import Store
from services.store.people_tables import Notice
from services.store.tables import SealedIdentity, Ticket
from services.store.tickets import get_ticket

GROUND = "GDPR Art. 12(3)"  # the person is to be told what was done
KEPT_MONTHS = 1
_FIRST, _LONGEST = timedelta(minutes=1), timedelta(days=1)  # pauses between attempts; Art. 19 knows no giving up
_LAST = frozenset({"answer", "denial"})  # after it nothing more is said to the person
_SUBJECT = {"person": "Your request about your data", "recipient": "Erasure of personal data: please act"}


def keep_address(session: Session, ticket: Ticket, settings: MailSettings, *, at: datetime) -> None:
    """Before the raw identity is deleted: the address that the answer goes to; nothing where no mail is sent."""
    if not settings.host or session.get(SealedIdentity, ticket.subject_ref) is None:
        return
    address = _address(request_of(session, ticket).subject)
    if address is not None:
        sealed_items.put(
            session,
            ticket.subject_ref,
            ticket.ticket_id,
            sealed_items.REPLY_TO,
            {"email": address},
            ground=GROUND,
            expires_at=at + relativedelta(months=KEPT_MONTHS),
            at=at,
        )


def send(store: Store, settings: MailSettings, notice_id: str, *, actor: str, at: datetime) -> Notice:
    """Send a letter or notice and record it; one that went out stays as it is.

    It is taken in hand before the server is spoken with. A crash before the record, or a line that breaks, leaves it
    there: nothing is sent twice, and a person looks whether it arrived.

    Raises:
        LetheError: ``notice.not_found``, ``notice.refused`` (not due), ``notice.in_hand``, ``letter.no_address``,
            ``letter.undeliverable``, ``mail.off``, ``mail.unavailable``, ``mail.unsure``; ``seal.key_destroyed``.
    """
    with store.write() as session:
        row = notices.get_notice(session, notice_id, lock=True)
        if row.status == notices.SENT:
            return row
        to, text = _message(session, settings, row)
        row.status, row.attempts = notices.SENDING, row.attempts + 1
    subject = _SUBJECT["recipient" if row.recipient_id else "person"]
    try:
        if not mail.send(settings, to=to, subject=subject, text=text):
            raise LetheError("letter.undeliverable", "The mail server takes no mail for this receiver.")
    except LetheError as error:
        _note_failure(store, notice_id, error.code, at)
        raise
    with store.write() as session:
        sent = notices.record_sent(session, notice_id, way="email", sent_at=at, actor=actor, at=at)
        if not row.recipient_id and row.letter in _LAST:
            sealed_items.drop(session, row.ticket_id, {sealed_items.REPLY_TO})
    store.scrub()
    return sent


def not_sent(session: Session, notice_id: str, *, actor: str, at: datetime) -> Notice:
    """A person has found that what was taken in hand did not arrive: it may be sent again.

    Raises:
        LetheError: ``notice.not_found``, ``notice.refused``.
    """
    row = notices.get_notice(session, notice_id, lock=True)
    if row.status == notices.MADE:
        return row
    if row.status != notices.SENDING:
        raise LetheError("notice.refused", "Nobody doubts what became of this letter or notice.")
    row.status, row.failed_code, row.next_at = notices.MADE, None, None
    _log(session, row, at, actor=actor)
    return row


def due_by_itself(session: Session, settings: MailSettings, *, now: datetime) -> list[tuple[str, int]]:
    """(id, attempts so far) of notices to recipients that go out without a person's order; none unless it is set so."""
    if not settings.send_notices or not settings.host:
        return []
    return [
        (row.notice_id, row.attempts)
        for row in notices.due(session)
        if row.status == notices.MADE
        and row.recipient_id in settings.recipients
        and (row.next_at is None or row.next_at <= now)
    ]


def send_due(store: Store, settings: MailSettings, *, actor: str, at: datetime) -> tuple[list[str], dict[str, str]]:
    """Send every notice to recipients that is due; those that went out, and the code of what stood in the way."""
    with store.read() as session:
        waiting = [row.notice_id for row in notices.due(session)]
    sent: list[str] = []
    refused: dict[str, str] = {}
    for notice_id in waiting:
        try:
            sent.append(send(store, settings, notice_id, actor=actor, at=at).notice_id)
        except LetheError as error:
            if not error.code.startswith(("letter.", "notice.", "seal.")):
                raise  # the server is away: for the others too
            refused[notice_id] = error.code
    return sent, refused


def _message(session: Session, settings: MailSettings, row: Notice) -> tuple[str, str]:
    """Receiver and words of what may go out now."""
    if row.status == notices.SENDING:
        raise LetheError("notice.in_hand", "It was given to the mail server, and nobody knows whether it was taken.")
    ticket = get_ticket(session, row.ticket_id)
    if row.status != notices.MADE or (row.recipient_id and ticket.status != TicketStatus.COMPLETED):
        raise LetheError("notice.refused", "This letter or notice is not due.")
    to = settings.recipients.get(row.recipient_id) if row.recipient_id else _reply_to(session, ticket)
    if to is None:
        raise LetheError("letter.no_address", "No e-mail address of the receiver is known.")
    return to, notices.text_of(session, row)


def _note_failure(store: Store, notice_id: str, code: str, at: datetime) -> None:
    with store.write() as session:
        row = notices.get_notice(session, notice_id, lock=True)
        if code != "mail.unsure":
            row.status = notices.MADE
        row.next_at = at + min(_FIRST * 2 ** min(row.attempts - 1, 20), _LONGEST)
        news, row.failed_code = row.failed_code != code, code
        if news:  # a server that is away for a week says so once
            _log(session, row, at)


def _log(session: Session, row: Notice, at: datetime, *, actor: str | None = None) -> None:
    payload = {
        "ticket_id": row.ticket_id,
        "notice": row.notice_id,
        "recipient": row.recipient_id or None,
        "attempts": row.attempts,
        "reason_code": row.failed_code,
        "actor": actor,
    }
    audit.append(session, kind="notice.not_sent", payload=payload, at=at)


def _reply_to(session: Session, ticket: Ticket) -> str | None:
    if session.get(SealedIdentity, ticket.subject_ref) is not None:
        return _address(request_of(session, ticket).subject)
    try:
        kept: dict[str, str] = sealed_items.get(session, ticket.ticket_id, sealed_items.REPLY_TO)
    except LetheError as error:
        if error.code != "seal.item_missing":
            raise
        return None
    return kept["email"]


def _address(subject: Sequence[Identifier]) -> str | None:
    return next((one.value for one in subject if one.kind == "email" and one.form == "raw"), None)
