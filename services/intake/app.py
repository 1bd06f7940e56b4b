"""The ticket API (FastAPI). ``create_app`` needs no BentoML, so tests and other hosts can use it alone."""

import re
import tempfile
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from policies.deadlines import Extension
from policies.errors import LetheError
from policies.lifecycle import TicketStatus
from policies.moment import Moment
from policies.ticket import Code, IdentityEvidence, TicketRequest
from services import audit, keys, telemetry
from services.auth import Identity, identity_of, requires
from services.installation import open_installation
from services.intake.acting import Changed
from services.intake.callbacks import add_callbacks
from services.intake.deletions import add_deletions
from services.intake.desk import Desk
from services.intake.feed import feed
from services.intake.letters import add_letters
from services.intake.packs import Packs
from services.intake.people import add_people
from services.intake.protocols.batches import BATCHES
from services.intake.protocols.rates import Rates
from services.intake.protocols.routes import add_protocols
from services.intake.reason import Reason
from services.intake.registers import add_registers
from services.intake.releases import add_releases
from services.intake.standing import add_standing
from services.intake.views import (
    Acted,
    EventView,
    Filed,
    TicketPage,
    TicketSummary,
    TicketView,
    as_filed,
    detail,
    events,
    summary,
    suppressed,
)
from services.oidc.bearer import bearer
from services.oidc.issuer import Issuer
from services.reports.pdf import render_pdf
from services.reports.write import read_report
from services.settings import Settings
from services.store.engine import Store
from services.store.tables import Report
from services.store.tickets import get_ticket, list_tickets
from services.store.types import utc_now
from services.web import add_credential, protect

RecordId = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Who = Annotated[Identity, Depends(identity_of)]
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
F = TypeVar("F", bound=Callable[..., Any])
_ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"description": text}
    for code, text in {
        401: "No key, or one that does not count.",
        403: "The key may not do that.",
        404: "There is no such ticket.",
        409: "The state does not allow it, or has changed.",
        422: "The request has faults; the details name them by field.",
    }.items()
}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class EvidenceBody(IdentityEvidence):
    """How the requester was recognised; FastAPI has read the JSON already, so times come as text."""

    model_config = ConfigDict(strict=False)


class WithVersion(_Body):
    """An act on a ticket as it was seen."""

    version: int | None = Field(default=None, description="Refuse if the ticket has changed since this version.")


class ApproveBody(WithVersion):
    """A person's yes."""

    ground: Code | None = Field(default=None, description="The ground, where the ticket named none.")


class ReasonBody(WithVersion):
    """An act that needs a reason; the words are sealed and never logged."""

    reason: Reason


class OptionalReasonBody(WithVersion):
    """An act that may have a reason."""

    reason: Reason | None = None


class ReviewBody(_Body):
    """What a person says of ambiguous matches."""

    confirm: list[RecordId] = Field(default_factory=list, max_length=1000)
    deny: list[RecordId] = Field(default_factory=list, max_length=1000)


class ExtensionBody(_Body):
    """The period is extended, and the subject was told why."""

    reason: Literal["complexity", "number_of_requests"]
    notice_sent_at: Moment


def create_app(
    settings: Settings,
    *,
    open_store: Callable[[], Store] | None = None,
    on_change: Changed | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> FastAPI:
    """The app.

    Args:
        settings: Of the installation.
        open_store: Gives the store, with keys, from the first request on; None: the installation's.
        on_change: Told (ticket id, status) after every commit.
        clock: The present moment.
    """
    app = FastAPI(
        title="Lethe intake",
        version="1",
        description="Erasure tickets, from filing to report.",
        telemetry=telemetry.NO_FASTAPI_TELEMETRY,
    )
    the_store = open_store or lru_cache(maxsize=1)(lambda: open_installation(settings).open_store())

    def the_desk() -> Desk:
        return Desk(
            the_store(),
            Packs(settings.policy),
            zone=settings.policy.zone,
            suppress=settings.serving.suppression,
            bases=settings.base.names,
            on_change=on_change,
            clock=clock,
        )

    rates = Rates()
    _add_filing(app, the_desk, settings, clock, rates)
    _add_acts(app, the_desk)
    _add_reading(app, the_desk, settings, clock)
    add_releases(app, the_store, on_change)
    add_people(app, the_desk, clock)
    add_letters(app, the_store, settings, clock)
    add_protocols(app, the_desk, settings, clock, _trace_of, rates)
    add_deletions(app, the_store, on_change)
    add_standing(app, the_desk)
    add_callbacks(app, the_store, clock)
    add_registers(app, the_store, settings, clock)
    if settings.oidc.issuer and settings.oidc.audience:
        add_credential(app, bearer(Issuer(settings.oidc)))
    protect(
        app,
        open_store=the_store,
        max_body_bytes=settings.intake.max_body_bytes,
        larger_bodies={BATCHES: settings.protocols.batch_max_bytes},
    )
    return app


def _add_filing(
    app: FastAPI, desk: Callable[[], Desk], settings: Settings, clock: Callable[[], datetime], rates: Rates
) -> None:
    told = TicketRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    schema = {"content": {"application/json": {"schema": told}}, "required": True}

    @app.post(
        "/v1/tickets",
        status_code=201,
        response_model=Filed,
        responses={200: {"model": Filed, "description": "Filed before with the same body."}, **_ERRORS},
        openapi_extra={"requestBody": schema},
        tags=["tickets"],
    )
    @requires("tickets:submit")
    async def submit(request: Request, response: Response, who: Who) -> Filed:
        """File a ticket. The same external id with the same body again answers 200 and changes nothing."""
        rates.take(f"key/{who.actor}", settings.protocols.sender_per_minute)
        body = await request.body()

        def file() -> tuple[Filed, bool]:
            ticket, new = desk().receive(body, who, trace_id=_trace_of(request))
            return as_filed(ticket), new

        filed, new = await run_in_threadpool(file)
        response.status_code = 201 if new else 200
        response.headers["Location"] = f"/v1/tickets/{filed.ticket_id}"
        return filed

    @app.get("/v1/tickets", response_model=TicketPage, responses=_ERRORS, tags=["tickets"])
    @requires("tickets:read")
    def list_all(
        status: Annotated[list[TicketStatus] | None, Query()] = None,
        due_before: Moment | None = None,
        base: str | None = None,
        after: Annotated[str | None, Query(max_length=120, description="`next` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> TicketPage:
        """Tickets in the order of receipt."""
        with desk().store.read() as session:
            found = list_tickets(
                session,
                statuses=[s.value for s in status or ()],
                due_before=due_before,
                base=base,
                after=_cursor(after),
                limit=limit + 1,
            )
        page = found[:limit]
        more = len(found) > limit
        return TicketPage(
            tickets=[TicketSummary(**summary(ticket, clock())) for ticket in page],
            next=f"{page[-1].received_at.isoformat()}~{page[-1].ticket_id}" if more else None,
        )


def _add_acts(app: FastAPI, desk: Callable[[], Desk]) -> None:
    def act(path: str) -> Callable[[F], F]:
        return app.post(f"/v1/tickets/{{ticket_id}}/{path}", response_model=Acted, responses=_ERRORS, tags=["acts"])

    def acted(ticket_id: str, status: str) -> Acted:
        with desk().store.read() as session:
            state = suppressed(session, get_ticket(session, ticket_id))
        return Acted(ticket_id=ticket_id, status=status, suppression=state)

    @act("identity")
    @requires("tickets:verify")
    def identity(ticket_id: str, body: EvidenceBody, who: Who) -> Acted:
        """Record how the requester was recognised, or that it failed: a reference, never the evidence itself."""
        return acted(ticket_id, desk().verify_identity(ticket_id, body, who))

    @act("approve")
    @requires("tickets:approve")
    def approve(ticket_id: str, who: Who, body: ApproveBody | None = None) -> Acted:
        """Approve; where the pack needs several, each counts once for each person."""
        said = body or ApproveBody()
        status = desk().approve(ticket_id, who, ground=said.ground, version=said.version)
        return acted(ticket_id, status)

    @act("deny")
    @requires("tickets:approve")
    def deny(ticket_id: str, body: ReasonBody, who: Who) -> Acted:
        """Deny, with a reason."""
        return acted(ticket_id, desk().deny(ticket_id, who, reason=body.reason, version=body.version))

    @act("hold")
    @requires("tickets:decide")
    def hold(ticket_id: str, body: ReasonBody, who: Who) -> Acted:
        """Put under a legal hold; a run that works on it is cancelled and the others of it planned again."""
        return acted(ticket_id, desk().hold(ticket_id, who, reason=body.reason, version=body.version))

    @act("release-hold")
    @requires("tickets:decide")
    def release_hold(ticket_id: str, who: Who, body: OptionalReasonBody | None = None) -> Acted:
        """End a hold; everything is decided again."""
        return acted(ticket_id, desk().release_hold(ticket_id, who, reason=body.reason if body else None))

    @act("restrict")
    @requires("tickets:decide")
    def restrict(ticket_id: str, body: ReasonBody, who: Who) -> Acted:
        """Have the subject suppressed in answers until this is ended, whether the request is approved or not."""
        return acted(ticket_id, desk().restrict(ticket_id, who, reason=body.reason, version=body.version))

    @act("unrestrict")
    @requires("tickets:decide")
    def unrestrict(ticket_id: str, body: ReasonBody, who: Who) -> Acted:
        """End a restriction, of which the subject was told before; what an approval began goes on."""
        return acted(ticket_id, desk().unrestrict(ticket_id, who, reason=body.reason, version=body.version))

    @act("cancel")
    @requires("tickets:decide")
    def cancel(ticket_id: str, who: Who, body: OptionalReasonBody | None = None) -> Acted:
        """Withdraw the request."""
        said = body or OptionalReasonBody()
        status = desk().cancel(ticket_id, who, reason=said.reason, version=said.version)
        return acted(ticket_id, status)

    @act("retry")
    @requires("tickets:decide")
    def retry(ticket_id: str, who: Who, body: WithVersion | None = None) -> Acted:
        """Let a ticket whose run failed, was rejected or quarantined wait for a run again."""
        return acted(ticket_id, desk().retry(ticket_id, who, version=body.version if body else None))

    @act("review")
    @requires("tickets:decide")
    def review(ticket_id: str, body: ReviewBody, who: Who) -> Acted:
        """Say which ambiguous matches are the subject's and which are a namesake's."""
        return acted(ticket_id, desk().review(ticket_id, who, confirm=body.confirm, deny=body.deny))

    @act("extend")
    @requires("tickets:decide")
    def extend(ticket_id: str, body: ExtensionBody, who: Who) -> Acted:
        """Record that the period was extended and the subject told, within the first period."""
        extension = Extension(reason=body.reason, notice_sent_at=body.notice_sent_at, decided_by=who.actor)
        return acted(ticket_id, desk().extend(ticket_id, extension, who))


def _add_reading(app: FastAPI, desk: Callable[[], Desk], settings: Settings, clock: Callable[[], datetime]) -> None:
    @app.get("/v1/tickets/{ticket_id}", response_model=TicketView, responses=_ERRORS, tags=["tickets"])
    @requires("tickets:read")
    def show(ticket_id: str, who: Who, identity: bool = False) -> TicketView:
        """One ticket: status, decision, deadlines, runs. Raw identity only on request and with its own scope."""
        _may_see(who, identity)
        with desk().store.read() as session:
            return detail(session, get_ticket(session, ticket_id), clock(), with_identity=identity)

    @app.get("/v1/tickets/{ticket_id}/events", response_model=list[EventView], responses=_ERRORS, tags=["tickets"])
    @requires("tickets:read")
    def happened(ticket_id: str, who: Who, request: Request, after: int = 0, identity: bool = False) -> Any:
        """What happened; with ``Accept: text/event-stream`` a stream of events and progress until the ticket ends."""
        _may_see(who, identity)
        last = request.headers.get("last-event-id", "")
        after = int(last) if last.isdigit() else after
        store = desk().store
        with store.read() as session:
            ticket = get_ticket(session, ticket_id)
            if "text/event-stream" not in request.headers.get("accept", ""):
                return events(session, ticket, after=after, with_identity=identity)
        stream = feed(store, ticket_id, after=after, every_s=settings.intake.progress_poll_s)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

    @app.get("/v1/tickets/{ticket_id}/report", response_class=FileResponse, responses=_ERRORS, tags=["reports"])
    @requires("tickets:read")
    def report(ticket_id: str, form: Annotated[str, Query(pattern="^(json|html|pdf)$")] = "json") -> Response:
        """The report of a closed ticket, as JSON (the truth), HTML or PDF (made from it)."""
        with desk().store.read() as session:
            get_ticket(session, ticket_id)
            row = session.get(Report, ticket_id)
        path = None if row is None else row.html_path if form == "html" else row.json_path
        if path is None or not (file := settings.home / path).is_file():
            raise LetheError("report.not_ready", "There is no report of this ticket yet.")
        if form == "pdf":
            return Response(render_pdf(read_report(file)), media_type="application/pdf")
        return FileResponse(file, media_type="application/json" if form == "json" else "text/html")

    @app.get("/v1/audit/export", response_class=FileResponse, responses=_ERRORS, tags=["audit"])
    @requires("audit:read")
    def audit_export() -> FileResponse:
        """The whole audit log as a bundle that ends with a signed checkpoint; check it with `lethe audit verify`."""
        with tempfile.NamedTemporaryFile(prefix="audit-", suffix=".jsonl", delete=False) as file:
            path = Path(file.name)
        audit.export(desk().store, path, keys.load_private(settings, "audit"))
        return FileResponse(
            path, media_type="application/jsonl", filename="lethe-audit.jsonl", background=BackgroundTask(path.unlink)
        )


def _trace_of(request: Request) -> str | None:
    """The intake's own span in W3C form, so that a run can link back to it; else the one that the caller announced."""
    announced = request.headers.get("traceparent", "")
    return telemetry.traceparent() or (announced if _TRACEPARENT.fullmatch(announced) else None)


def _may_see(who: Identity, identity: bool) -> None:
    if identity and "tickets:identity" not in who.scopes:
        raise LetheError("auth.forbidden", "This key may not see identities.", ("needs tickets:identity",))


def _cursor(after: str | None) -> tuple[datetime, str] | None:
    if after is None:
        return None
    moment, _, ticket_id = after.partition("~")
    try:
        received_at = datetime.fromisoformat(moment)
    except ValueError:
        received_at = None
    if received_at is None or received_at.tzinfo is None or not ticket_id:
        raise LetheError("request.invalid", "The request has 1 fault(s).", ("query.after: not a cursor of this API",))
    return received_at, ticket_id
