"""Exemptions of one ticket: what of a person is kept, under which provision, who decided it, and until when.

A policy pack exempts categories for everybody; here a person exempts a category or a single record of one ticket, under
a code of the same pack (GDPR Art. 17(3)(a) to (e)). What is exempt leaves the forget set; the answer is a part-denial.
"""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from policies.decisions import Exempted
from policies.errors import LetheError
from policies.lifecycle import TicketEvent
from policies.pack import PolicyPack
from services import audit
from services.store.people_tables import Exemption
from services.store.tables import ForgetSet, Ticket
from services.store.tickets import get_ticket, note_on_ticket, transition_ticket
from services.store.types import new_id

RENEWED = "renew_exemption"


def exempt(
    session: Session,
    ticket_id: str,
    pack: PolicyPack,
    *,
    code: str,
    category: str | None,
    record_id: str | None,
    review_by: datetime,
    actor: str,
    reason: str,
    at: datetime,
    version: int | None = None,
) -> str:
    """Records an exemption; everything is decided again after it, since what was approved is no longer what happens.

    The same target under the same code again changes the date of review and nothing else, also of a closed ticket: what
    it keeps must be looked at again. That is a decision too, and recorded with its reason; the same date again is not.

    Raises:
        LetheError: ``policy.unknown_exemption``, ``exemption.invalid`` (not exactly one target, or a review date that
            is past), ``lifecycle.forbidden`` (a run works on it: hold it first), ``lifecycle.guarded``,
            ``ticket.changed``.
    """
    known = {one.code: one for one in pack.data.exemptions}
    if code not in known:
        raise LetheError("policy.unknown_exemption", f"{pack.regime} has no such exemption.", tuple(known))
    if (category is None) == (record_id is None):
        raise LetheError("exemption.invalid", "An exemption is of one category or of one record.")
    if review_by <= at:
        raise LetheError("exemption.invalid", "The date of review must lie in the future.")
    ticket = get_ticket(session, ticket_id, lock=True)
    row = next((one for one in of_ticket(session, ticket_id) if _same(one, code, category, record_id)), None)
    if row is not None:
        if row.review_by != review_by:
            dates = {"review_before": row.review_by.isoformat(), "review_by": review_by.isoformat()}
            facts = {"exemption": row.exemption_id, "code": code, "article": row.article, **dates}
            note_on_ticket(
                session, ticket, RENEWED, actor=actor, reason=reason, facts=facts, expected_version=version, at=at
            )
            row.review_by = review_by
        return row.exemption_id
    row = Exemption(
        exemption_id=new_id("x"),
        ticket_id=ticket_id,
        category=category,
        record_id=record_id,
        code=code,
        article=known[code].article,
        decided_by=actor,
        decided_at=at,
        review_by=review_by,
    )
    session.add(row)
    # The log takes no asterisk; a record's id stays out of it.
    kept = None if category is None else category.replace("*", "any")
    facts = {"exemption": row.exemption_id, "code": code, "article": row.article}
    _move(session, ticket, TicketEvent.EXEMPT, actor, reason, version, {**facts, "category": kept}, at)
    return row.exemption_id


def end(
    session: Session, ticket_id: str, exemption_id: str, *, actor: str, reason: str, at: datetime, version: int | None
) -> None:
    """Ends an exemption; an open ticket is decided again. Twice is once.

    Raises:
        LetheError: ``exemption.not_found``, ``lifecycle.forbidden``.
    """
    row = session.get(Exemption, exemption_id)
    if row is None or row.ticket_id != ticket_id:
        raise LetheError("exemption.not_found", "This ticket has no such exemption.")
    if row.ended_at is not None:
        return
    row.ended_at, row.ended_by = at, actor
    ticket = get_ticket(session, ticket_id, lock=True)
    if ticket.closed_at is not None:  # it has its answer; what was kept goes by a new ticket
        payload = {"ticket_id": ticket_id, "exemption": exemption_id, "actor": actor}
        audit.append(session, kind="exemption.ended", payload=payload, at=at)
        return
    _move(session, ticket, TicketEvent.END_EXEMPTION, actor, reason, version, {"exemption": exemption_id}, at)


def of_ticket(session: Session, ticket_id: str, *, ended: bool = False) -> list[Exemption]:
    """The exemptions of a ticket that stand, oldest first; ``ended``: those that do not, too."""
    query = select(Exemption).where(Exemption.ticket_id == ticket_id)
    if not ended:
        query = query.where(Exemption.ended_at.is_(None))
    return list(session.scalars(query.order_by(Exemption.decided_at, Exemption.exemption_id)))


def due_for_review(session: Session, before: datetime) -> list[Exemption]:
    """Exemptions that stand and must be looked at again by a moment, the earliest first."""
    query = select(Exemption).where(Exemption.ended_at.is_(None), Exemption.review_by <= before)
    return list(session.scalars(query.order_by(Exemption.review_by, Exemption.exemption_id)))


def for_decision(session: Session, ticket_id: str) -> tuple[Exempted, ...]:
    """What the decision has to know of them."""
    return tuple(
        Exempted(category=one.category, record_id=one.record_id, code=one.code, article=one.article)
        for one in of_ticket(session, ticket_id)
    )


def _same(row: Exemption, code: str, category: str | None, record_id: str | None) -> bool:
    return (row.code, row.category, row.record_id) == (code, category, record_id)


def _move(
    session: Session,
    ticket: Ticket,
    event: TicketEvent,
    actor: str,
    reason: str,
    version: int | None,
    facts: dict[str, str | None],
    at: datetime,
) -> None:
    """The event, and the end of a forget set that was settled before it."""
    code = ticket.reason_code
    transition_ticket(
        session, ticket.ticket_id, event, actor=actor, reason=reason, facts=facts, expected_version=version, at=at
    ).reason_code = code
    settled = session.get(ForgetSet, ticket.ticket_id)
    if settled is not None:
        session.delete(settled)
        session.flush()
