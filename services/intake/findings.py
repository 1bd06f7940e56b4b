"""What a person finds out about a ticket beside its approval: exemptions, repetitions, matches, what to restrict."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from policies.deadlines import Extension
from policies.errors import LetheError
from policies.lifecycle import TicketEvent, TicketStatus
from services import audit, suppression
from services.auth import Identity
from services.intake.acting import Acting, must_take
from services.intake.deciding import keep
from services.people import duplicates, exemptions
from services.request import request_of
from services.store.holds import same_person
from services.store.tables import MatchReview, Ticket
from services.store.tickets import transition_ticket


class Findings(Acting):
    """The acts that add to what is known of a ticket."""

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

    def exempt(
        self,
        ticket_id: str,
        who: Identity,
        *,
        code: str,
        review_by: datetime,
        reason: str,
        category: str | None = None,
        record_id: str | None = None,
        version: int | None = None,
    ) -> str:
        """Keeps a category or a record of this ticket under an exemption of the pack; everything is decided again.

        Raises:
            LetheError: ``policy.unknown_exemption``, ``exemption.invalid``, ``lifecycle.forbidden``.
        """

        def act(session: Session, ticket: Ticket, now: datetime) -> None:
            exemptions.exempt(
                session,
                ticket_id,
                self.packs.get(ticket.regime),
                code=code,
                category=category,
                record_id=record_id,
                review_by=review_by,
                actor=who.actor,
                reason=reason,
                at=now,
                version=version,
            )
            self._deciding.again(session, ticket, now)

        return self._act(ticket_id, who, act)

    def end_exemption(
        self, ticket_id: str, exemption_id: str, who: Identity, *, reason: str, version: int | None = None
    ) -> str:
        """Ends an exemption; an open ticket is decided again.

        Raises:
            LetheError: ``exemption.not_found``, ``lifecycle.forbidden``.
        """

        def act(session: Session, ticket: Ticket, now: datetime) -> None:
            exemptions.end(session, ticket_id, exemption_id, actor=who.actor, reason=reason, at=now, version=version)
            self._deciding.again(session, ticket, now)

        return self._act(ticket_id, who, act)

    def link_duplicate(self, ticket_id: str, original_id: str, who: Identity, *, reason: str) -> str:
        """Closes a ticket as a repetition of an earlier one; both must be verified on their own.

        Raises:
            LetheError: ``duplicate.refused``, ``ticket.not_found``.
        """

        def act(session: Session, ticket: Ticket, now: datetime) -> None:
            candidates = same_person(session, ticket)
            duplicates.link(session, ticket, original_id, candidates, actor=who.actor, reason=reason, at=now)

        return self._act(ticket_id, who, act)

    def extend(self, ticket_id: str, extension: Extension, who: Identity) -> str:
        """Records that the period was extended and the subject told; refused after the first period."""

        def act(session: Session, ticket: Ticket, now: datetime) -> None:
            must_take(ticket, TicketEvent.CANCEL)  # whatever can still be withdrawn can still be late
            if ticket.acts.get("extension") == extension.model_dump(mode="json"):
                return
            if "extension" in ticket.acts:
                raise LetheError("policy.extension_refused", "The period was extended before: once is all there is.")
            if extension.notice_sent_at > now:
                raise LetheError(
                    "policy.extension_refused", "The notice is dated in the future: tell the subject first."
                )
            if ticket.due_at is not None and now > ticket.due_at:
                raise LetheError("policy.extension_refused", "The first period has ended.")
            ticket.acts = {**ticket.acts, "extension": extension.model_dump(mode="json")}
            keep(ticket, self._deciding.decision(session, ticket, request_of(session, ticket), now))
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
