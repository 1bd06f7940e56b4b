"""Letters to the subject and notices to recipients: made from templates, sealed, and recorded as sent.

The text of a letter is the pack's; the templates put dates, provisions and what is kept around it. Nothing here sends:
``sending`` does by mail; whoever sends otherwise takes the text (scope ``tickets:identity``) and records when and how.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from sqlalchemy import select
from sqlalchemy.orm import Session

from policies.decisions import Decision
from policies.errors import LetheError
from policies.lifecycle import CLOSED_TICKET, TicketStatus
from policies.pack import PolicyPack
from services import audit, sealing
from services.people import exemptions
from services.request import request_of
from services.store.people_tables import Notice, Recipient
from services.store.tables import Ticket
from services.store.tickets import REASON, day_of, decision_of, get_ticket, history
from services.store.types import new_id

PURPOSE = "notice"
LETTERS = ("receipt", "extension", "denial", "part_denial", "answer")
WAYS = ("email", "post", "portal")
WHY = {"complexity": "the request is complex", "number_of_requests": "you have made a number of requests"}
MADE, SENDING, SENT, IMPOSSIBLE, DROPPED = "made", "sending", "sent", "impossible", "dropped"
_ANSWERED = frozenset({TicketStatus.COMPLETED, TicketStatus.NOTHING_FOUND})
_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "letters"),
    undefined=jinja2.StrictUndefined,
    autoescape=False,  # noqa: S701 (plain text)
    keep_trailing_newline=True,
)


def make_letter(
    session: Session, ticket: Ticket, pack: PolicyPack, letter: str, *, actor: str, at: datetime, why: str | None = None
) -> Notice:
    """Makes a letter to the subject, or makes it anew where it was not sent yet.

    Raises:
        LetheError: ``letter.not_due`` where the ticket does not stand so; ``letter.sent`` once it went out.
    """
    known = _find(session, ticket.ticket_id, letter, "")
    if known is not None and known.status != MADE:
        raise LetheError("letter.sent", "This letter was sent; it is not made anew.")
    decision = decision_of(ticket) if ticket.decision is not None else None
    if not _due(ticket, decision, letter, at):
        raise LetheError("letter.not_due", f"A ticket with status {ticket.status} gets no letter of this kind now.")
    if letter == "extension" and why not in WHY:
        raise LetheError("letter.not_due", "An extension needs one of the reasons that the laws know.", tuple(WHY))
    text = _TEMPLATES.get_template(f"{letter}.jinja").render(_facts(session, ticket, decision, pack, why))
    return _keep(session, ticket, letter, "", text, known, actor, at)


def prepare(session: Session, ticket: Ticket, *, actor: str, at: datetime) -> int:
    """Makes the notices to recipients while the raw identity is there; they are due once the erasure is done."""
    query = select(Recipient).where(Recipient.removed_at.is_(None))
    made = 0
    for recipient in session.scalars(query.order_by(Recipient.recipient_id)):
        letter = f"recipient_{recipient.kind}"
        if recipient.base not in {None, ticket.base} or _find(
            session, ticket.ticket_id, letter, recipient.recipient_id
        ):
            continue
        facts = {
            "ticket_id": ticket.ticket_id,
            "base": ticket.base,
            "recipient_article": "Art. 19 GDPR" if "gdpr" in ticket.regime else "as the law of the request demands",
            "identifiers": request_of(session, ticket).subject if recipient.kind == "data" else (),
        }
        text = _TEMPLATES.get_template(f"{letter}.jinja").render(facts)
        _keep(session, ticket, letter, recipient.recipient_id, text, None, actor, at)
        made += 1
    return made


def text_of(session: Session, notice: Notice) -> str:
    """The words of a letter or notice; never logged.

    Raises:
        LetheError: ``seal.item_missing`` once it was dropped, ``seal.key_destroyed``.
    """
    if notice.ciphertext is None:
        raise LetheError("seal.item_missing", "The text of this notice is not there any more.")
    subject_ref = get_ticket(session, notice.ticket_id).subject_ref
    return sealing.open_sealed(session, subject_ref, notice.ciphertext, purpose=_purpose(notice.notice_id)).decode()


def record_sent(session: Session, notice_id: str, *, way: str, sent_at: datetime, actor: str, at: datetime) -> Notice:
    """Records when and how it went out; twice is once.

    Raises:
        LetheError: ``notice.not_found``, ``notice.refused``.
    """
    row = get_notice(session, notice_id, lock=True)
    if row.status == SENT:
        return row
    if way not in WAYS or not row.made_at <= sent_at <= at or row.status not in {MADE, SENDING}:
        raise LetheError("notice.refused", "A notice goes out once, after it was made, on a way that is known.", WAYS)
    if row.recipient_id and get_ticket(session, row.ticket_id).status != TicketStatus.COMPLETED:
        raise LetheError("notice.refused", "The erasure is not done yet: there is nothing to tell the recipient.")
    row.status, row.way, row.sent_at, row.sent_by = SENT, way, sent_at, actor
    row.failed_code = row.next_at = None
    _log(session, row, actor, at)
    return row


def record_impossible(session: Session, notice_id: str, *, actor: str, at: datetime) -> Notice:
    """Records that telling a recipient is impossible or disproportionate (Art. 19); a letter to the subject is owed.

    Raises:
        LetheError: ``notice.not_found``, ``notice.refused``.
    """
    row = get_notice(session, notice_id)
    if not row.recipient_id or row.status not in {MADE, IMPOSSIBLE}:
        raise LetheError("notice.refused", "Only a notice to a recipient that has not gone out can be impossible.")
    if row.status == MADE:
        row.status, row.sent_by = IMPOSSIBLE, actor
        _log(session, row, actor, at)
    return row


def drop_unsent(session: Session, ticket_id: str) -> int:
    """Drops the notices to recipients of a ticket that ended without an erasure: there is nothing to tell."""
    rows = [row for row in of_ticket(session, ticket_id) if row.recipient_id and row.status == MADE]
    for row in rows:
        row.status, row.ciphertext = DROPPED, None
    return len(rows)


def get_notice(session: Session, notice_id: str, *, lock: bool = False) -> Notice:
    """One notice; with ``lock``, nobody else changes it until the transaction ends.

    Raises:
        LetheError: ``notice.not_found``.
    """
    row = session.get(Notice, notice_id, with_for_update=lock)
    if row is None:
        raise LetheError("notice.not_found", "There is no such notice.")
    return row


def of_ticket(session: Session, ticket_id: str) -> list[Notice]:
    """All letters and notices of a ticket, oldest first."""
    query = select(Notice).where(Notice.ticket_id == ticket_id).order_by(Notice.made_at, Notice.notice_id)
    return list(session.scalars(query))


def due(session: Session) -> list[Notice]:
    """Notices to recipients of erasures that are done, who were not told yet or perhaps were."""
    query = select(Notice).join(Ticket, Ticket.ticket_id == Notice.ticket_id)
    query = query.where(Notice.status.in_((MADE, SENDING)), Notice.recipient_id != "")
    query = query.where(Ticket.status == TicketStatus.COMPLETED.value)
    return list(session.scalars(query.order_by(Notice.made_at, Notice.notice_id)))


def _due(ticket: Ticket, decision: Decision | None, letter: str, at: datetime) -> bool:
    status = TicketStatus(ticket.status)
    if decision is None:
        return False
    if letter == "extension":
        first = decision.deadlines.first_answer_by
        return status not in CLOSED_TICKET and decision.deadlines.extendable_to is not None and at <= first
    if letter == "denial":
        return status is TicketStatus.DENIED
    if letter == "part_denial":
        return decision.partial and status not in {TicketStatus.DENIED, TicketStatus.CANCELLED}
    return letter == "receipt" or (letter == "answer" and status in _ANSWERED)


def _facts(
    session: Session, ticket: Ticket, decision: Decision | None, pack: PolicyPack, why: str | None
) -> Mapping[str, Any]:
    clock = decision.deadlines if decision else None

    def day(moment: datetime | None) -> str | None:
        return None if moment is None else day_of(ticket, moment).isoformat()

    letters = pack.data.letters
    denied = ticket.status == TicketStatus.DENIED
    by_rule = decision is not None and decision.outcome == "deny"  # the pack has words of its own for it
    text = letters.texts[letters.denied] if denied and not by_rule else decision.letter_text if decision else ""
    last = [row for row in history(session, ticket.ticket_id) if row.event == "deny"]
    words = ""
    if last and last[-1].reason_sealed is not None:
        words = sealing.open_sealed(session, ticket.subject_ref, last[-1].reason_sealed, purpose=REASON).decode()
    if decision is not None and by_rule:
        words = decision.rule_title
    reviews = {one.category or one.record_id: one.review_by for one in exemptions.of_ticket(session, ticket.ticket_id)}
    kept = [(one.pattern, one.article) for one in decision.kept_categories] if decision else []
    kept += [(one.record_id, one.article) for one in decision.kept_records] if decision else []
    if not ticket.identity_verified:
        kept = []  # to a stranger nothing is said of what is held
    recipients = [row for row in of_ticket(session, ticket.ticket_id) if row.letter == "recipient_data"]
    return {
        "reference": ticket.external_id,
        "law": pack.data.title,
        "received_on": day(ticket.received_at),
        "due_on": day(ticket.due_at),
        "deadline_article": clock.article if clock else "",
        "first_due_on": day(clock.first_answer_by) if clock else None,
        "extended_to": day(clock.extendable_to) if clock else None,
        "identity_verified": ticket.identity_verified,
        "why": WHY.get(why or "", ""),
        "text": text,
        "reason": words or "everything that we hold about you is kept under the provisions below",
        "exempt": [{"what": what, "article": article, "review_on": day(reviews.get(what))} for what, article in kept],
        "found": ticket.status == TicketStatus.COMPLETED,
        "closed_on": day(ticket.closed_at),
        "recipients": len(recipients),
    }


def _find(session: Session, ticket_id: str, letter: str, recipient_id: str) -> Notice | None:
    query = select(Notice).where(Notice.ticket_id == ticket_id, Notice.letter == letter)
    return session.scalar(query.where(Notice.recipient_id == recipient_id))


def _keep(
    session: Session,
    ticket: Ticket,
    letter: str,
    recipient_id: str,
    text: str,
    known: Notice | None,
    actor: str,
    at: datetime,
) -> Notice:
    row = known or Notice(notice_id=new_id("n"), ticket_id=ticket.ticket_id, letter=letter, recipient_id=recipient_id)
    row.status, row.made_by, row.made_at = MADE, actor, at
    row.digest = sealing.ring_of(session).keyed_digest(text.encode())
    row.ciphertext = sealing.seal(session, ticket.subject_ref, text.encode(), purpose=_purpose(row.notice_id))
    session.add(row)
    session.flush()
    _log(session, row, actor, at)
    return row


def _purpose(notice_id: str) -> str:
    return f"{PURPOSE}:{notice_id}"


def _log(session: Session, row: Notice, actor: str, at: datetime) -> None:
    payload = {
        "ticket_id": row.ticket_id,
        "notice": row.notice_id,
        "letter": row.letter,
        "recipient": row.recipient_id or None,
        "digest": row.digest,
        "way": row.way,
        "actor": actor,
    }
    audit.append(session, kind=f"notice.{row.status}", payload=payload, at=at)
