"""What the API says of a ticket. Nothing here identifies a person; ``identity`` is only for keys with that scope."""

from dataclasses import asdict
from datetime import date, datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from policies.lifecycle import CLOSED_TICKET, TICKET, TicketStatus
from policies.lifecycle import TicketEvent as Event
from services import sealing, suppression
from services.request import request_of
from services.store.holds import same_person
from services.store.runs import runs_of
from services.store.tables import ForgetSet, MatchReview, Report, Run, SealedIdentity, Ticket, TicketEvent
from services.store.tickets import REASON, day_of, history


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class RunView(_View):
    """A run, as far as it is."""

    run_id: str
    status: str
    attempt: int
    method: str
    progress: dict[str, Any] | None
    reason_code: str | None
    release_digest: str | None
    planned_at: AwareDatetime
    started_at: AwareDatetime | None
    ended_at: AwareDatetime | None


class MatchView(_View):
    """An ambiguous match: a person decides whether it is the subject's."""

    record_id: str
    reason: str
    decision: str | None


class EventView(_View):
    """Something that happened to a ticket."""

    event_id: int
    at: AwareDatetime
    event: str
    from_status: str | None
    to_status: str
    actor: str
    reason_code: str | None
    reason: str | None = Field(default=None, description="A person's words; only with the scope tickets:identity.")


class TicketSummary(_View):
    """A ticket in a list."""

    ticket_id: str
    external_id: str
    channel: str
    regime: str
    base: str
    status: str
    version: int
    received_at: AwareDatetime
    due_at: AwareDatetime | None
    due_on: date | None = Field(description="The day of due_at as the ticket's law counts it, in its zone.")
    confirm_by: AwareDatetime | None
    closed_at: AwareDatetime | None
    overdue: bool
    legal_hold: bool
    reason_code: str | None


class SuppressionView(_View):
    """Whether the subject is suppressed in answers (GDPR Art. 18); this is not erasure, and not told as such."""

    state: str = Field(description="none, off (switched off when it was approved), pending, confirmed or lifted.")
    since: AwareDatetime | None
    confirmed_at: AwareDatetime | None = Field(description="When every replica with a lease applied it.")
    lifted_at: AwareDatetime | None
    reason: str | None = Field(description="approved, restriction, rollback or probe_failed.")


class TicketView(TicketSummary):
    """Everything about a ticket that is no personal data."""

    subject_ref: str
    submitted_at: AwareDatetime | None
    identity_verified: bool
    approvals_needed: int
    approvals: list[dict[str, Any]]
    decision: dict[str, Any] | None = Field(description="Outcome, rule, article, deadlines, letter, thresholds.")
    pack_version: str | None
    pack_digest: str | None
    forget_set: dict[str, Any] | None = Field(description="Keyed digest and counts.")
    suppression: SuppressionView
    matches: list[MatchView]
    runs: list[RunView]
    possible_duplicates: list[str]
    allowed_events: list[str]
    report_ready: bool
    identity: list[dict[str, str]] | None = Field(default=None, description="Only with the scope tickets:identity.")
    notes: list[str] | None = Field(default=None, description="Codes that came with it; scope tickets:identity.")


class TicketPage(_View):
    """Some tickets, in the order of receipt."""

    tickets: list[TicketSummary]
    next: str | None = Field(description="Give it as `after` for the next page; null at the end.")


class Filed(_View):
    """A ticket was filed."""

    ticket_id: str
    status: str
    received_at: AwareDatetime
    confirm_by: AwareDatetime | None
    due_at: AwareDatetime | None
    due_on: date | None = Field(description="The day of due_at as the ticket's law counts it, in its zone.")


class Acted(_View):
    """An act was done."""

    ticket_id: str
    status: str
    suppression: SuppressionView


def as_filed(ticket: Ticket) -> Filed:
    """What whoever files a ticket is told."""
    names = set(Filed.model_fields) - {"due_on"}
    return Filed(**{name: getattr(ticket, name) for name in names}, due_on=_due_on(ticket))


def _due_on(ticket: Ticket) -> date | None:
    return None if ticket.due_at is None else day_of(ticket, ticket.due_at)


def suppressed(session: Session, ticket: Ticket) -> SuppressionView:
    """Where the suppression of a ticket stands."""
    return SuppressionView(**asdict(suppression.state_of(session, ticket)))


def summary(ticket: Ticket, now: datetime) -> dict[str, Any]:
    """The fields of ``TicketSummary``."""
    is_open = ticket.status not in CLOSED_TICKET
    names = set(TicketSummary.model_fields) - {"overdue", "due_on"}
    return {
        **{name: getattr(ticket, name) for name in names},
        "due_on": _due_on(ticket),
        "overdue": is_open and ticket.due_at is not None and now > ticket.due_at,
    }


def detail(session: Session, ticket: Ticket, now: datetime, *, with_identity: bool) -> TicketView:
    """One ticket in full."""
    forget_set = session.get(ForgetSet, ticket.ticket_id)
    matches = session.scalars(
        select(MatchReview).where(MatchReview.ticket_id == ticket.ticket_id).order_by(MatchReview.record_id)
    )
    return TicketView(
        **summary(ticket, now),
        subject_ref=ticket.subject_ref,
        submitted_at=ticket.submitted_at,
        identity_verified=ticket.identity_verified,
        approvals_needed=ticket.approvals_needed,
        approvals=ticket.approvals,
        decision=ticket.decision,
        pack_version=ticket.pack_version,
        pack_digest=ticket.pack_digest,
        forget_set={"digest": forget_set.digest, "counts": forget_set.counts} if forget_set else None,
        suppression=suppressed(session, ticket),
        matches=[MatchView(record_id=m.record_id, reason=m.reason, decision=m.decision) for m in matches],
        runs=[run_view(run) for run in runs_of(session, ticket.ticket_id)],
        possible_duplicates=same_person(session, ticket),
        allowed_events=_allowed(ticket),
        report_ready=session.get(Report, ticket.ticket_id) is not None,
        identity=_identity(session, ticket) if with_identity else None,
        notes=notes_of(session, ticket) if with_identity else None,
    )


def notes_of(session: Session, ticket: Ticket) -> list[str]:
    """Codes for what whoever decides should know; none once the raw identity was deleted."""
    return [] if session.get(SealedIdentity, ticket.subject_ref) is None else list(request_of(session, ticket).notes)


def run_view(run: Run) -> RunView:
    """One run."""
    return RunView(**{name: getattr(run, name) for name in RunView.model_fields})


def events(session: Session, ticket: Ticket, *, after: int, with_identity: bool) -> list[EventView]:
    """What happened since an event; reasons in words only for who may see identities."""
    return [
        EventView(
            **{name: getattr(row, name) for name in set(EventView.model_fields) - {"reason"}},
            reason=_reason(session, ticket, row) if with_identity else None,
        )
        for row in history(session, ticket.ticket_id, after=after)
    ]


def _allowed(ticket: Ticket) -> list[str]:
    """What the lifecycle knows for its status; and a hold outlasts a denial until a person ends it."""
    closed_hold = [Event.RELEASE_HOLD] if ticket.legal_hold and ticket.status in CLOSED_TICKET else []
    return [event.value for event in (*TICKET.allowed(TicketStatus(ticket.status)), *closed_hold)]


def _identity(session: Session, ticket: Ticket) -> list[dict[str, str]]:
    return [{"kind": i.kind, "value": i.value} for i in request_of(session, ticket).subject]


def _reason(session: Session, ticket: Ticket, row: TicketEvent) -> str | None:
    if row.reason_sealed is None:
        return None
    return sealing.open_sealed(session, ticket.subject_ref, row.reason_sealed, purpose=REASON).decode()
