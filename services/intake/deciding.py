"""The decision on a ticket: what the pack says of everything known, and the status that follows.

A decision and what the register needs of it are written in the caller's transaction.
"""

import json
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel
from sqlalchemy.orm import Session

from policies.deadlines import Extension
from policies.decisions import Approval, Decision, DecisionContext, decide
from policies.lifecycle import TicketEvent, TicketStatus
from policies.ticket import IdentityEvidence, TicketRequest
from services.intake.packs import Packs
from services.people import exemptions, notices
from services.request import request_of
from services.store.holds import person_held, same_person
from services.store.runs import stop_runs_of
from services.store.tables import Ticket
from services.store.tickets import transition_ticket

SYSTEM = "system:intake"
EVENT_OF = {
    "hold": TicketEvent.HOLD,
    "deny": TicketEvent.DENY,
    "await_identity": TicketEvent.REQUIRE_IDENTITY,
    "await_approval": TicketEvent.REQUIRE_APPROVAL,
    "approve": TicketEvent.APPROVE,
}
M = TypeVar("M", bound=BaseModel)


class Deciding:
    """Decides tickets.

    Args:
        packs: Of the installation.
        zone: The controller's time zone; empty: that of the pack.
    """

    def __init__(self, packs: Packs, zone: str = "") -> None:
        self._packs = packs
        self._zone = zone or None

    def decision(
        self,
        session: Session,
        ticket: Ticket,
        request: TicketRequest,
        now: datetime,
        *,
        also: tuple[Approval, ...] = (),
        held: bool = False,
    ) -> Decision:
        """What the pack says now; nothing is written.

        Args:
            session: Any session.
            ticket: The row.
            request: As it was filed.
            now: The present moment.
            also: Approvals that are being given.
            held: A legal hold stands on another ticket of the person.
        """
        acts = ticket.acts
        given = tuple(
            Approval(by=a["by"], role=a["role"] or "none", at=datetime.fromisoformat(a["at"])) for a in ticket.approvals
        )
        context = DecisionContext(
            identity=_restored(IdentityEvidence, acts.get("identity")),
            ground=acts.get("ground"),
            approvals=(*given, *also),
            entered_by=ticket.entered_by,
            hold_active=held or (ticket.legal_hold if ticket.decision is not None else None),
            extension=_restored(Extension, acts.get("extension")),
            waived=frozenset(acts.get("waived", ())),
            # Nobody can have exempted anything of a ticket that was never decided.
            exempted=exemptions.for_decision(session, ticket.ticket_id) if ticket.decision is not None else (),
            zone=self._zone,
        )
        return decide(request, self._packs.get(ticket.regime), context, now)

    def decide(self, session: Session, ticket: Ticket, request: TicketRequest, now: datetime) -> None:
        """Decides a ticket and moves it where the decision says.

        What would go ahead without anybody's approval waits where another ticket of the person is held. The rest of
        the way stays open: whoever files a ticket learns nothing of a hold before it is known who asks.
        """
        decision = self.decision(session, ticket, request, now)
        elsewhere = decision.outcome == "approve" and person_held(session, ticket)
        if elsewhere:
            decision = self.decision(session, ticket, request, now, held=True)
        pack = self._packs.get(ticket.regime)
        evidence = _restored(IdentityEvidence, ticket.acts.get("identity")) or request.identity
        known = evidence is not None and evidence.verified and evidence.method in pack.data.identity.methods
        ticket.identity_verified = known or not pack.data.identity.required
        event = EVENT_OF[decision.outcome]
        carry_out(session, ticket, decision, event, actor=SYSTEM, at=now)
        if elsewhere:
            ticket.legal_hold = False  # of its own it has none: that of the other ticket ends there
        elif event is TicketEvent.HOLD:
            stop_runs_of(session, same_person(session, ticket))

    def lapse(self, session: Session, ticket: Ticket, now: datetime) -> None:
        """Denies a ticket that waits for an identity where a rule of the pack says so by now; else nothing changes."""
        if ticket.status == TicketStatus.AWAITING_IDENTITY:
            request = request_of(session, ticket)
            if self.decision(session, ticket, request, now).outcome == "deny":
                self.decide(session, ticket, request, now)

    def again(self, session: Session, ticket: Ticket, now: datetime) -> None:
        """Decides an open ticket anew after an act that led it back to ``received``."""
        if ticket.status == TicketStatus.RECEIVED:
            self.decide(session, ticket, request_of(session, ticket), now)


def carry_out(
    session: Session,
    ticket: Ticket,
    decision: Decision,
    event: TicketEvent,
    *,
    actor: str,
    role: str | None = None,
    at: datetime,
) -> None:
    """Keeps a decision and moves the ticket; the only way to an approval, whoever or whatever gave it.

    With it the notices to recipients are made: the raw identity is gone when they are due.
    """
    keep(ticket, decision)
    code = decision.rule_id if decision.outcome in {"deny", "hold"} else None
    facts = {**facts_of(decision), "pack_digest": decision.pack_digest}
    transition_ticket(session, ticket.ticket_id, event, actor=actor, role=role, reason_code=code, facts=facts, at=at)
    if ticket.status == TicketStatus.APPROVED:
        notices.prepare(session, ticket, actor=actor, at=at)


def keep(ticket: Ticket, decision: Decision) -> None:
    """Copies what the register needs from a decision to its row."""
    ticket.decision = decision.model_dump(mode="json")
    ticket.pack_name = decision.regime
    ticket.pack_version = decision.pack_version
    ticket.pack_digest = decision.pack_digest
    ticket.approvals_needed = decision.approvals_needed
    ticket.confirm_by = decision.deadlines.confirm_by
    ticket.due_at = decision.deadlines.answer_by


def facts_of(decision: Decision) -> dict[str, Any]:
    """What the audit log holds of it."""
    return {
        "rule": decision.rule_id,
        "article": decision.article,
        "outcome": decision.outcome,
        "approvals_given": decision.approvals_given,
        "approvals_needed": decision.approvals_needed,
    }


def _restored(kind: type[M], data: dict[str, Any] | None) -> M | None:
    return None if data is None else kind.model_validate_json(json.dumps(data))
