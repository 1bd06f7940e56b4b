"""What can be done with a ticket: filed, decided, approved, denied, held, cancelled, tried again.

Each act is one transaction (services/intake/acting.py).
"""

import json
from collections.abc import Callable
from datetime import datetime

from sqlalchemy.orm import Session

from policies.canonical import canonical_json
from policies.decisions import Approval, check_fits
from policies.errors import LetheError
from policies.lifecycle import CLOSED_TICKET, TicketEvent
from policies.ticket import CLOCK_SKEW, IdentityEvidence, TicketRequest, parse_ticket
from services import sealing, suppression
from services.auth import Identity
from services.intake.acting import must_take, same_version
from services.intake.deciding import EVENT_OF, carry_out
from services.intake.findings import Findings
from services.intake.lookup import lookup_hashes
from services.request import keep_request, request_of
from services.store.holds import person_held, same_person
from services.store.tables import LookupHash, Ticket
from services.store.tickets import add_ticket, find_ticket, note_on_ticket, transition_ticket

MAX_ATTEMPTS = 20  # of showing who asks that are kept, the newest; each is an audit entry besides


class Desk(Findings):
    """The acts on tickets."""

    def file(
        self,
        body: bytes,
        who: Identity,
        *,
        trace_id: str | None = None,
        said: bytes | None = None,
        beside: Callable[[Session, Ticket], None] | None = None,
    ) -> tuple[str, bool]:
        """Files a ticket once; the id, and whether it is new. As ``receive``."""
        ticket, new = self.receive(body, who, trace_id=trace_id, said=said, beside=beside)
        return ticket.ticket_id, new

    def receive(
        self,
        body: bytes,
        who: Identity,
        *,
        trace_id: str | None = None,
        said: bytes | None = None,
        beside: Callable[[Session, Ticket], None] | None = None,
    ) -> tuple[Ticket, bool]:
        """Files a ticket once; the ticket as it stands now, and whether it is new.

        Args:
            body: The ticket as JSON.
            who: Files it.
            trace_id: Of the request.
            said: What tells "sent twice" from "id used again"; None: the body.
            beside: Writes what belongs to a new ticket, in the same transaction.

        Raises:
            LetheError: ``ticket.unreadable``, ``ticket.malformed``, ``ticket.conflict`` (same id, other body),
                ``policy.unknown_regime``, ``policy.unknown_ground``, ``ticket.unknown_base``.
        """
        now = self._clock()
        request = parse_ticket(body, now=now, regimes=self.packs.regimes())
        pack = self.packs.get(request.regime)
        check_fits(request, pack)
        words = canonical_json(json.loads(body)) if said is None else said
        with self.store.write() as session:
            digest = sealing.ring_of(session).keyed_digest(words)
            known = find_ticket(session, request.channel, request.external_id)
            if known is not None:
                if known.body_digest != digest:
                    raise LetheError("ticket.conflict", "This id was filed before, with another body.")
                return known, False
            if self._bases and request.base not in self._bases:
                raise LetheError("ticket.unknown_base", "This installation has another base.", (*self._bases,))
            ticket = self._store(session, request, digest, who, trace_id, now)
            if beside is not None:
                beside(session, ticket)
            self._deciding.decide(session, ticket, request, now)
            suppression.follow(session, ticket, enabled=self._suppress, actor=who.actor, at=now)
        self._tell(ticket)
        return ticket, True

    def verify_identity(self, ticket_id: str, evidence: IdentityEvidence, who: Identity) -> str:
        """Records how the requester was recognised, or that the attempt failed, and decides again."""

        def act(session: Session, ticket: Ticket, now: datetime) -> None:
            if evidence.verified_at is not None and evidence.verified_at > now + CLOCK_SKEW:
                raise LetheError("request.invalid", "The request has 1 fault(s).", ("verified_at: lies in the future",))
            # Whoever records it answers for it: nobody signs here in another's name.
            told = evidence.model_copy(update={"verified_by": who.actor}).model_dump(mode="json")
            attempts = [*ticket.acts.get("identity_attempts", ()), {**told, "recorded_at": now.isoformat()}]
            ticket.acts = {**ticket.acts, "identity": told, "identity_attempts": attempts[-MAX_ATTEMPTS:]}
            pack = self.packs.get(ticket.regime)
            accepted = evidence.verified and evidence.method in pack.data.identity.methods
            event = TicketEvent.VERIFY_IDENTITY if accepted else TicketEvent.IDENTITY_FAILED
            facts = {"method": evidence.method, "verified": evidence.verified}
            transition_ticket(session, ticket_id, event, actor=who.actor, facts=facts, at=now)
            if accepted:
                self._deciding.decide(session, ticket, request_of(session, ticket), now)

        return self._act(ticket_id, who, act)

    def approve(self, ticket_id: str, who: Identity, *, ground: str | None = None, version: int | None = None) -> str:
        """One person's yes; the last one that the pack needs lets the erasure go ahead."""

        def act(session: Session, ticket: Ticket, now: datetime) -> None:
            same_version(ticket, version)
            must_take(ticket, TicketEvent.APPROVE)
            if person_held(session, ticket):
                raise LetheError("ticket.person_held", "Another ticket of this person is under a legal hold.")
            if ground is not None:
                ticket.acts = {**ticket.acts, "ground": ground}
            mine = Approval(by=who.actor, role=who.role or "none", at=now)
            decision = self._deciding.decision(session, ticket, request_of(session, ticket), now, also=(mine,))
            if mine.role not in decision.approval_roles or (decision.four_eyes and mine.by == ticket.entered_by):
                needed = f"roles that count: {', '.join(decision.approval_roles)}; four eyes: {decision.four_eyes}"
                raise LetheError("ticket.approver_refused", "An approval with this key does not count.", (needed,))
            event = EVENT_OF[decision.outcome]
            if decision.outcome == "await_approval":
                event = TicketEvent.RECORD_APPROVAL
            carry_out(session, ticket, decision, event, actor=who.actor, role=mine.role, at=now)

        return self._act(ticket_id, who, act)

    def deny(self, ticket_id: str, who: Identity, *, reason: str, version: int | None = None) -> str:
        """Refuses the request, with a reason: an answer without one is none (GDPR Art. 12(4))."""
        return self._move(ticket_id, TicketEvent.DENY, who, reason=reason, version=version)

    def hold(self, ticket_id: str, who: Identity, *, reason: str, version: int | None = None) -> str:
        """A legal hold: nothing of the person is deleted or trained until it is released, for whichever ticket."""
        return self._move(ticket_id, TicketEvent.HOLD, who, reason=reason, version=version, stops_runs_of=_of_person)

    def cancel(self, ticket_id: str, who: Identity, *, reason: str | None = None, version: int | None = None) -> str:
        """The request is withdrawn."""
        return self._move(ticket_id, TicketEvent.CANCEL, who, reason=reason, version=version, stops_runs_of=_alone)

    def retry(self, ticket_id: str, who: Identity, *, version: int | None = None) -> str:
        """A ticket whose run failed, was rejected or quarantined waits for a run again."""
        return self._move(ticket_id, TicketEvent.RETRY, who, version=version)

    def release_hold(self, ticket_id: str, who: Identity, *, reason: str | None = None) -> str:
        """Ends a hold; everything is decided again, since what was true before may not be true after it.

        That of a ticket that was denied or withdrawn meanwhile, too: it would hold up the person's next one for ever.
        """

        def act(session: Session, ticket: Ticket, now: datetime) -> None:
            if ticket.status in CLOSED_TICKET and ticket.legal_hold:
                ticket.legal_hold = False
                note_on_ticket(session, ticket, TicketEvent.RELEASE_HOLD, actor=who.actor, reason=reason, at=now)
                return
            transition_ticket(session, ticket_id, TicketEvent.RELEASE_HOLD, actor=who.actor, reason=reason, at=now)
            self._deciding.decide(session, ticket, request_of(session, ticket), now)

        return self._act(ticket_id, who, act)

    def lapse(self, ticket_id: str, who: Identity) -> str:
        """Denies a ticket that nobody verified in time, where the pack has a rule for it; else it stays as it is."""
        return self._act(ticket_id, who, lambda session, ticket, now: self._deciding.lapse(session, ticket, now))

    def _store(
        self, session: Session, request: TicketRequest, digest: str, who: Identity, trace_id: str | None, now: datetime
    ) -> Ticket:
        subject_ref = sealing.new_subject(session, at=now)
        keep_request(session, subject_ref, request, at=now)
        for kind, found in lookup_hashes(session, request.subject):
            session.add(LookupHash(kind=kind, hash=found, subject_ref=subject_ref))
        return add_ticket(
            session,
            channel=request.channel,
            external_id=request.external_id,
            body_digest=digest,
            regime=request.regime,
            base=request.base,
            subject_ref=subject_ref,
            received_at=request.received_at,
            submitted_at=request.submitted_at,
            trace_id=trace_id,
            actor=who.actor,
            at=now,
        )


def _alone(_: Session, ticket: Ticket) -> list[str]:
    return [ticket.ticket_id]


def _of_person(session: Session, ticket: Ticket) -> list[str]:
    return [ticket.ticket_id, *same_person(session, ticket)]
