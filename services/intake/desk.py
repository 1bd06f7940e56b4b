"""What can be done with a ticket: filed, decided, approved, denied, held, reviewed, cancelled, tried again.

Each act is one transaction: the decision, the status, the history and the audit entry together. What runs for long
(forget set, run, swap) is not done here; ``on_change`` tells whoever does it, after the commit.
"""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from policies.canonical import canonical_json
from policies.deadlines import Extension
from policies.decisions import Approval, Decision, DecisionContext, check_fits, decide
from policies.errors import LetheError
from policies.identifiers import normalise_address, normalise_email, normalise_id, normalise_name, normalise_phone
from policies.lifecycle import CLOSED_RUN, TICKET, TicketContext, TicketEvent, TicketStatus
from policies.ticket import Identifier, IdentityEvidence, TicketRequest, parse_ticket
from services import audit, sealing, suppression
from services.auth import Identity
from services.intake.packs import Packs
from services.request import keep_request, request_of
from services.store import dialect
from services.store.engine import Store
from services.store.runs import runs_of
from services.store.tables import LookupHash, MatchReview, Ticket
from services.store.tickets import add_ticket, find_ticket, get_ticket, transition_ticket
from services.store.types import utc_now

SYSTEM = "system:intake"
_EVENT_OF = {
    "hold": TicketEvent.HOLD,
    "deny": TicketEvent.DENY,
    "await_identity": TicketEvent.REQUIRE_IDENTITY,
    "await_approval": TicketEvent.REQUIRE_APPROVAL,
    "approve": TicketEvent.APPROVE,
}
_NORMALISE: dict[str, Callable[[str], str | None]] = {
    "email": normalise_email,
    "phone": normalise_phone,
    "id": normalise_id,
    "address": normalise_address,
    "name": lambda text: " ".join(normalise_name(text)),
}
Changed = Callable[[str, str], object]
M = TypeVar("M", bound=BaseModel)


class Desk:
    """The acts on tickets.

    Args:
        store: Opened with keys.
        packs: Of the installation.
        zone: The controller's time zone; empty: that of the pack.
        suppress: The setting ``serving.suppression``.
        on_change: Told (ticket id, status) after every commit; must not raise.
        clock: The present moment.
    """

    def __init__(
        self,
        store: Store,
        packs: Packs,
        *,
        zone: str = "",
        suppress: bool = True,
        on_change: Changed | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.store = store
        self.packs = packs
        self._suppress = suppress
        self._zone = zone or None
        self._on_change = on_change
        self._clock = clock

    def file(self, body: bytes, who: Identity, *, trace_id: str | None = None) -> tuple[str, bool]:
        """Files a ticket once; the id, and whether it is new.

        Raises:
            LetheError: ``ticket.unreadable``, ``ticket.malformed``, ``ticket.conflict`` (same id, other body),
                ``policy.unknown_regime``, ``policy.unknown_ground``.
        """
        now = self._clock()
        request = parse_ticket(body, now=now, regimes=self.packs.regimes())
        pack = self.packs.get(request.regime)
        check_fits(request, pack)
        said = canonical_json(json.loads(body))
        with self.store.write() as session:
            digest = sealing.ring_of(session).keyed_digest(said)
            # PostgreSQL lets two at once past the search; SQLite's writers are serial.
            dialect.serialise(session, f"ticket:{request.channel}:{request.external_id}")
            known = find_ticket(session, request.channel, request.external_id)
            if known is not None:
                if known.body_digest != digest:
                    raise LetheError("ticket.conflict", "This id was filed before, with another body.")
                return known.ticket_id, False
            ticket = self._store(session, request, digest, who, trace_id, now)
            self._decide(session, ticket, request, now)
            suppression.follow(session, ticket, enabled=self._suppress, actor=who.actor, at=now)
        self._tell(ticket)
        return ticket.ticket_id, True

    def verify_identity(self, ticket_id: str, evidence: IdentityEvidence, who: Identity) -> str:
        """Records how the requester was recognised, or that the attempt failed, and decides again."""

        def act(session: Session, ticket: Ticket, now: datetime) -> None:
            ticket.acts = {**ticket.acts, "identity": evidence.model_dump(mode="json")}
            pack = self.packs.get(ticket.regime)
            accepted = evidence.verified and evidence.method in pack.data.identity.methods
            event = TicketEvent.VERIFY_IDENTITY if accepted else TicketEvent.IDENTITY_FAILED
            facts = {"method": evidence.method, "verified": evidence.verified}
            transition_ticket(session, ticket_id, event, actor=who.actor, facts=facts, at=now)
            if accepted:
                self._decide(session, ticket, request_of(session, ticket), now)

        return self._act(ticket_id, who, act)

    def approve(self, ticket_id: str, who: Identity, *, ground: str | None = None, version: int | None = None) -> str:
        """One person's yes; the last one that the pack needs lets the erasure go ahead."""

        def act(session: Session, ticket: Ticket, now: datetime) -> None:
            _same_version(ticket, version)
            _must_take(ticket, TicketEvent.APPROVE)
            if ground is not None:
                ticket.acts = {**ticket.acts, "ground": ground}
            mine = Approval(by=who.actor, role=who.role or "none", at=now)
            decision = self._decision(session, ticket, request_of(session, ticket), now, also=(mine,))
            if mine.role not in decision.approval_roles or (decision.four_eyes and mine.by == ticket.entered_by):
                needed = f"roles that count: {', '.join(decision.approval_roles)}; four eyes: {decision.four_eyes}"
                raise LetheError("ticket.approver_refused", "An approval with this key does not count.", (needed,))
            event = _EVENT_OF[decision.outcome]
            if decision.outcome == "await_approval":
                event = TicketEvent.RECORD_APPROVAL
            _keep(ticket, decision)
            transition_ticket(
                session, ticket_id, event, actor=who.actor, role=mine.role, facts=_facts(decision), at=now
            )

        return self._act(ticket_id, who, act)

    def deny(self, ticket_id: str, who: Identity, *, reason: str, version: int | None = None) -> str:
        """Refuses the request, with a reason: an answer without one is none (GDPR Art. 12(4))."""
        return self._move(ticket_id, TicketEvent.DENY, who, reason=reason, version=version)

    def hold(self, ticket_id: str, who: Identity, *, reason: str, version: int | None = None) -> str:
        """A legal hold: nothing is deleted and nothing trained until it is released."""
        return self._move(ticket_id, TicketEvent.HOLD, who, reason=reason, version=version, stops_run=True)

    def cancel(self, ticket_id: str, who: Identity, *, reason: str | None = None, version: int | None = None) -> str:
        """The request is withdrawn."""
        return self._move(ticket_id, TicketEvent.CANCEL, who, reason=reason, version=version, stops_run=True)

    def retry(self, ticket_id: str, who: Identity, *, version: int | None = None) -> str:
        """A ticket whose run failed, was rejected or quarantined waits for a run again."""
        return self._move(ticket_id, TicketEvent.RETRY, who, version=version)

    def release_hold(self, ticket_id: str, who: Identity, *, reason: str | None = None) -> str:
        """Ends a hold; everything is decided again, since what was true before may not be true after it."""

        def act(session: Session, ticket: Ticket, now: datetime) -> None:
            transition_ticket(session, ticket_id, TicketEvent.RELEASE_HOLD, actor=who.actor, reason=reason, at=now)
            self._decide(session, ticket, request_of(session, ticket), now)

        return self._act(ticket_id, who, act)

    def restrict(self, ticket_id: str, who: Identity, *, reason: str, version: int | None = None) -> str:
        """The subject is suppressed in output until ``unrestrict``, whatever becomes of the approval (GDPR Art. 18).

        Raises:
            LetheError: ``suppression.off``; ``lifecycle.guarded`` where the identity is not verified.
        """

        def act(session: Session, ticket: Ticket, now: datetime) -> None:
            self._note(session, ticket, TicketEvent.RESTRICT, who, reason, version, now)
            suppression.restrict(session, ticket, enabled=self._suppress, at=now)

        return self._act(ticket_id, who, act)

    def unrestrict(self, ticket_id: str, who: Identity, *, reason: str, version: int | None = None) -> str:
        """Ends a restriction, of which the subject was told before; what an approval began goes on.

        Raises:
            LetheError: ``suppression.not_restricted``.
        """

        def act(session: Session, ticket: Ticket, now: datetime) -> None:
            self._note(session, ticket, TicketEvent.UNRESTRICT, who, reason, version, now)
            suppression.unrestrict(session, ticket, actor=who.actor, at=now)

        status = self._act(ticket_id, who, act)
        self.store.scrub()
        return status

    def extend(self, ticket_id: str, extension: Extension, who: Identity) -> str:
        """Records that the period was extended and the subject told; refused after the first period."""

        def act(session: Session, ticket: Ticket, now: datetime) -> None:
            _must_take(ticket, TicketEvent.CANCEL)  # whatever can still be withdrawn can still be late
            ticket.acts = {**ticket.acts, "extension": extension.model_dump(mode="json")}
            _keep(ticket, self._decision(session, ticket, request_of(session, ticket), now))
            ticket.version += 1
            facts = {"ticket_id": ticket_id, "reason": extension.reason, "actor": who.actor}
            audit.append(session, kind="ticket.extended", payload=facts, subject_ref=ticket.subject_ref, at=now)

        return self._act(ticket_id, who, act)

    def review(self, ticket_id: str, who: Identity, *, confirm: Sequence[str], deny: Sequence[str]) -> str:
        """Sorts ambiguous matches; with the last one the ticket goes on.

        Raises:
            LetheError: ``ticket.review_unknown``: a record that is not among the ambiguous ones, or both at once.
        """

        def act(session: Session, ticket: Ticket, now: datetime) -> None:
            query = select(MatchReview).where(MatchReview.ticket_id == ticket_id)
            rows = {row.record_id: row for row in session.scalars(query)}
            unknown = sorted({*confirm, *deny} - set(rows)) or sorted(set(confirm) & set(deny))
            if unknown or ticket.status != TicketStatus.AWAITING_REVIEW:
                raise LetheError("ticket.review_unknown", "These are no ambiguous matches of this ticket.")
            for decision, records in (("confirm", confirm), ("deny", deny)):
                for record in records:
                    row = rows[record]
                    row.decision, row.decided_by, row.decided_at = decision, who.actor, now
            session.flush()
            still_open = sum(row.decision is None for row in rows.values())
            facts = {"ticket_id": ticket_id, "confirmed": len(confirm), "denied": len(deny), "open": still_open}
            payload = {**facts, "actor": who.actor}
            audit.append(session, kind="ticket.matches_sorted", payload=payload, subject_ref=ticket.subject_ref, at=now)
            if not still_open:
                transition_ticket(session, ticket_id, TicketEvent.MATCHES_REVIEWED, actor=who.actor, at=now)

        return self._act(ticket_id, who, act)

    def _act(self, ticket_id: str, who: Identity, act: Callable[[Session, Ticket, datetime], None]) -> str:
        with self.store.write() as session:
            ticket = get_ticket(session, ticket_id, lock=True)
            now = self._clock()
            act(session, ticket, now)
            lifted = suppression.follow(session, ticket, enabled=self._suppress, actor=who.actor, at=now)
        if lifted:
            self.store.scrub()
        self._tell(ticket)
        return ticket.status

    def _move(
        self,
        ticket_id: str,
        event: TicketEvent,
        who: Identity,
        *,
        reason: str | None = None,
        version: int | None = None,
        stops_run: bool = False,
    ) -> str:
        def act(session: Session, ticket: Ticket, now: datetime) -> None:
            transition_ticket(
                session, ticket_id, event, actor=who.actor, reason=reason, expected_version=version, at=now
            )
            for run in runs_of(session, ticket_id) if stops_run else ():
                if run.status not in CLOSED_RUN:
                    run.cancel_requested = True

        return self._act(ticket_id, who, act)

    @staticmethod
    def _note(
        session: Session,
        ticket: Ticket,
        event: TicketEvent,
        who: Identity,
        reason: str,
        version: int | None,
        now: datetime,
    ) -> None:
        """An act that leaves the status as it is, and why the ticket stands there."""
        code, ticket_id = ticket.reason_code, ticket.ticket_id
        transition_ticket(
            session, ticket_id, event, actor=who.actor, reason=reason, expected_version=version, at=now
        ).reason_code = code

    def _tell(self, ticket: Ticket) -> None:
        if self._on_change is not None:
            self._on_change(ticket.ticket_id, ticket.status)

    def _store(
        self, session: Session, request: TicketRequest, digest: str, who: Identity, trace_id: str | None, now: datetime
    ) -> Ticket:
        subject_ref = sealing.new_subject(session, at=now)
        keep_request(session, subject_ref, request, at=now)
        for kind, found in lookup_hashes(sealing.ring_of(session), request.subject):
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

    def _decision(
        self,
        session: Session,
        ticket: Ticket,
        request: TicketRequest,
        now: datetime,
        *,
        also: tuple[Approval, ...] = (),
    ) -> Decision:
        acts = ticket.acts
        given = tuple(
            Approval(by=a["by"], role=a["role"] or "none", at=datetime.fromisoformat(a["at"])) for a in ticket.approvals
        )
        context = DecisionContext(
            identity=_restored(IdentityEvidence, acts.get("identity")),
            ground=acts.get("ground"),
            approvals=(*given, *also),
            entered_by=ticket.entered_by,
            hold_active=ticket.legal_hold if ticket.decision is not None else None,
            extension=_restored(Extension, acts.get("extension")),
            waived=frozenset(acts.get("waived", ())),
            zone=self._zone,
        )
        return decide(request, self.packs.get(ticket.regime), context, now)

    def _decide(self, session: Session, ticket: Ticket, request: TicketRequest, now: datetime) -> None:
        """Decides a ticket with status ``received`` and moves it where the decision says."""
        decision = self._decision(session, ticket, request, now)
        pack = self.packs.get(ticket.regime)
        evidence = _restored(IdentityEvidence, ticket.acts.get("identity")) or request.identity
        known = evidence is not None and evidence.verified and evidence.method in pack.data.identity.methods
        ticket.identity_verified = known or not pack.data.identity.required
        _keep(ticket, decision)
        event = _EVENT_OF[decision.outcome]
        code = decision.rule_id if decision.outcome in {"deny", "hold"} else None
        transition_ticket(
            session,
            ticket.ticket_id,
            event,
            actor=SYSTEM,
            reason_code=code,
            facts={**_facts(decision), "pack_digest": decision.pack_digest},
            at=now,
        )


def lookup_hashes(ring: sealing.KeyRing, subject: Sequence[Identifier]) -> set[tuple[str, str]]:
    """(kind, hash) of every identifier, in the form in which they are compared."""
    found: set[tuple[str, str]] = set()
    for identifier in subject:
        value = _NORMALISE[identifier.kind](identifier.value)
        if value:
            found.add((identifier.kind, ring.lookup_hash(identifier.kind, value)))
    return found


def possible_duplicates(session: Session, ticket: Ticket) -> list[str]:
    """Other tickets that share an identifier: perhaps the same person, perhaps a household. A person looks."""
    mine = select(LookupHash.kind, LookupHash.hash).where(LookupHash.subject_ref == ticket.subject_ref).subquery()
    query = (
        select(Ticket.ticket_id)
        .join(LookupHash, LookupHash.subject_ref == Ticket.subject_ref)
        .join(mine, (mine.c.kind == LookupHash.kind) & (mine.c.hash == LookupHash.hash))
        .where(Ticket.ticket_id != ticket.ticket_id)
        .distinct()
        .order_by(Ticket.ticket_id)
    )
    return list(session.scalars(query))


def _keep(ticket: Ticket, decision: Decision) -> None:
    """Copies what the register needs from a decision to its row."""
    ticket.decision = decision.model_dump(mode="json")
    ticket.pack_name = decision.regime
    ticket.pack_version = decision.pack_version
    ticket.pack_digest = decision.pack_digest
    ticket.approvals_needed = decision.approvals_needed
    ticket.confirm_by = decision.deadlines.confirm_by
    ticket.due_at = decision.deadlines.answer_by


def _facts(decision: Decision) -> dict[str, Any]:
    return {
        "rule": decision.rule_id,
        "article": decision.article,
        "outcome": decision.outcome,
        "approvals_given": decision.approvals_given,
        "approvals_needed": decision.approvals_needed,
    }


def _must_take(ticket: Ticket, event: TicketEvent) -> None:
    """Says what the lifecycle says, before the identity is unsealed: it is gone once a ticket is closed."""
    status = TicketStatus(ticket.status)
    if event not in TICKET.allowed(status):
        TICKET.apply(status, event, TicketContext())


def _same_version(ticket: Ticket, version: int | None) -> None:
    if version is not None and ticket.version != version:
        raise LetheError("ticket.changed", f"The ticket is at version {ticket.version} by now.")


def _restored(kind: type[M], data: dict[str, Any] | None) -> M | None:
    return None if data is None else kind.model_validate_json(json.dumps(data))
