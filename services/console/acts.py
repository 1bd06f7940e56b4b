"""What people do to a ticket from its page: one table, and the same functions and checks as behind the API."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from fastapi import Request
from pydantic import BaseModel, ValidationError

from policies.deadlines import Extension
from policies.errors import LetheError
from policies.lifecycle import TicketEvent
from policies.ticket import IdentityEvidence
from services.console.place import Console, field, who
from services.intake.app import ApproveBody, EvidenceBody, ExtensionBody, OptionalReasonBody, ReasonBody, WithVersion
from services.intake.people import DuplicateBody, ExemptBody
from services.store.tickets import get_ticket, zone_of

M = TypeVar("M", bound=BaseModel)
Do = Callable[[Console, Request, str], str]


@dataclass(frozen=True, slots=True)
class Act:
    """One act.

    Attributes:
        scope: What it needs; that of the API's route of this name (a test looks).
        event: The event that the lifecycle must allow; None: whatever still can be withdrawn.
        label: Of its button.
        done: What the page says afterwards.
        do: Does it.
    """

    scope: str
    event: TicketEvent
    label: str
    done: str
    do: Do


def body_of(kind: type[M], request: Request, **values: Any) -> M:
    """The form as the API's body: the same limits, the same refusals."""
    given = {name: value for name, value in values.items() if value not in ("", None)}
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        details = tuple(
            f"{'.'.join(str(part) for part in fault['loc']) or 'form'}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False)
        )
        raise LetheError("request.invalid", f"The form has {len(details)} fault(s).", details) from None


def _version(request: Request) -> int | None:
    text = field(request, "version")
    return int(text) if text.isdigit() and len(text) < 10 else None


def _reason(request: Request) -> ReasonBody:
    return body_of(ReasonBody, request, reason=field(request, "reason"), version=_version(request))


def _maybe_reason(request: Request) -> OptionalReasonBody:
    return body_of(OptionalReasonBody, request, reason=field(request, "reason"), version=_version(request))


def _approve(console: Console, request: Request, ticket_id: str) -> str:
    said = body_of(ApproveBody, request, ground=field(request, "ground"), version=_version(request))
    return console.desk().approve(ticket_id, who(request), ground=said.ground, version=said.version)


def _deny(console: Console, request: Request, ticket_id: str) -> str:
    said = _reason(request)
    return console.desk().deny(ticket_id, who(request), reason=said.reason, version=said.version)


def _hold(console: Console, request: Request, ticket_id: str) -> str:
    said = _reason(request)
    return console.desk().hold(ticket_id, who(request), reason=said.reason, version=said.version)


def _release_hold(console: Console, request: Request, ticket_id: str) -> str:
    return console.desk().release_hold(ticket_id, who(request), reason=_maybe_reason(request).reason)


def _restrict(console: Console, request: Request, ticket_id: str) -> str:
    said = _reason(request)
    return console.desk().restrict(ticket_id, who(request), reason=said.reason, version=said.version)


def _unrestrict(console: Console, request: Request, ticket_id: str) -> str:
    said = _reason(request)
    return console.desk().unrestrict(ticket_id, who(request), reason=said.reason, version=said.version)


def _cancel(console: Console, request: Request, ticket_id: str) -> str:
    said = _maybe_reason(request)
    return console.desk().cancel(ticket_id, who(request), reason=said.reason, version=said.version)


def _retry(console: Console, request: Request, ticket_id: str) -> str:
    version = body_of(WithVersion, request, version=_version(request)).version
    return console.desk().retry(ticket_id, who(request), version=version)


def _identity(console: Console, request: Request, ticket_id: str) -> str:
    verified = field(request, "verified") == "yes"
    evidence: IdentityEvidence = body_of(
        EvidenceBody,
        request,
        method=field(request, "method"),
        verified=verified,
        evidence_ref=field(request, "evidence_ref"),
        agent_ref=field(request, "agent_ref"),
        verified_at=console.clock() if verified else None,
        verified_by=who(request).actor if verified else None,
    )
    return console.desk().verify_identity(ticket_id, evidence, who(request))


def _extend(console: Console, request: Request, ticket_id: str) -> str:
    reason = field(request, "reason")
    said = body_of(ExtensionBody, request, reason=reason, notice_sent_at=_moment(field(request, "sent"), console.zone))
    extension = Extension(reason=said.reason, notice_sent_at=said.notice_sent_at, decided_by=who(request).actor)
    return console.desk().extend(ticket_id, extension, who(request))


def _moment(text: str, zone: str) -> datetime | None:
    """What a browser's field for date and time gives, in the controller's zone."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    except ValueError:
        return None


def _exempt(console: Console, request: Request, ticket_id: str) -> str:
    """To the end of the day that was chosen, in the zone of the ticket's deadlines."""
    with console.store().read() as session:
        zone = zone_of(get_ticket(session, ticket_id), console.zone)
    day = _moment(f"{field(request, 'review')}T23:59:59", zone)
    names = ("code", "category", "record", "reason")
    typed = {name: field(request, name) for name in names}
    said = body_of(ExemptBody, request, **typed, review_by=day, version=_version(request))
    return console.desk().exempt(
        ticket_id,
        who(request),
        code=said.code,
        category=said.category,
        record_id=said.record,
        review_by=said.review_by,
        reason=said.reason,
        version=said.version,
    )


def _duplicate(console: Console, request: Request, ticket_id: str) -> str:
    said = body_of(DuplicateBody, request, of=field(request, "of"), reason=field(request, "reason"))
    return console.desk().link_duplicate(ticket_id, said.of, who(request), reason=said.reason)


_E = TicketEvent
ACTS: dict[str, Act] = {
    "identity": Act("tickets:verify", _E.VERIFY_IDENTITY, "Record", "The identity check is recorded.", _identity),
    "approve": Act("tickets:approve", _E.APPROVE, "Approve", "Your approval is recorded.", _approve),
    "deny": Act("tickets:approve", _E.DENY, "Deny", "The request is denied.", _deny),
    "hold": Act("tickets:decide", _E.HOLD, "Put on hold", "The ticket is on hold.", _hold),
    "release-hold": Act("tickets:decide", _E.RELEASE_HOLD, "End the hold", "The hold is ended.", _release_hold),
    "retry": Act("tickets:decide", _E.RETRY, "Try again", "The ticket waits for a run again.", _retry),
    "extend": Act("tickets:decide", _E.CANCEL, "Extend", "The extension is recorded.", _extend),
    "restrict": Act("tickets:decide", _E.RESTRICT, "Restrict", "The person is restricted.", _restrict),
    "unrestrict": Act("tickets:decide", _E.UNRESTRICT, "End it", "The restriction is ended.", _unrestrict),
    "exempt": Act("tickets:decide", _E.EXEMPT, "Keep it", "The exemption is recorded; decide again.", _exempt),
    "duplicate": Act("tickets:decide", _E.CANCEL, "Close as a repetition", "It is closed as a repetition.", _duplicate),
    "cancel": Act("tickets:decide", _E.CANCEL, "Withdraw", "The request is withdrawn.", _cancel),
}
