"""OpenDSR, version 2, and OpenGDPR, version 1, under their own names: discovery, request, status, cancel.

Answers are signed by the domain's certificate. Errors have the form of that specification, with our code as ``reason``.
A sender sees its own requests only; somebody else's are not there.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

from policies.errors import LetheError
from policies.lifecycle import TicketStatus
from policies.ticket import read_object
from services.auth import Identity, open_to_all, requires
from services.callbacks.signing import Signer, signer_of
from services.intake.desk import Desk
from services.intake.protocols.front import external_id, file_shaped
from services.intake.protocols.opendsr_request import FORMATS, IDENTITY_KINDS, callback_urls, request_id, shape
from services.intake.protocols.opendsr_views import (
    RESPONSES,
    Cancelled,
    Discovery,
    OpenDsrError,
    RequestAccepted,
    RequestStatus,
    error_body,
)
from services.intake.protocols.rates import Rates
from services.intake.protocols.senders import SCOPE, sender_of_key
from services.settings import ProtocolSettings
from services.store.callbacks import REQUEST_STATUS
from services.store.protocol_tables import Sender
from services.store.tables import Ticket
from services.store.tickets import find_ticket, history

_KEPT = frozenset({401, 403, 404, 409, 413, 429})  # every other refusal is a 400 there
_BODY = {"content": {"application/json": {"schema": {"type": "object"}}}, "required": True}


@dataclass(frozen=True, slots=True)
class Version:
    """One version's own names."""

    prefix: str
    requests: str
    number: str
    old: bool


VERSIONS = (
    Version("/opendsr/v2", "requests", "2.0", old=False),
    Version("/opengdpr/v1", "opengdpr_requests", "1.0", old=True),
)


class OpenDsr:
    """What the routes of one version do.

    Args:
        version: Its names.
        desk: Where tickets are filed.
        settings: Of the protocols.
        clock: The present moment.
        rates: How often a sender may ask.
    """

    def __init__(
        self,
        version: Version,
        desk: Callable[[], Desk],
        settings: ProtocolSettings,
        clock: Callable[[], datetime],
        rates: Rates,
    ) -> None:
        self._version = version
        self._desk = desk
        self._settings = settings
        self._clock = clock
        self._rates = rates

    def discovery(self) -> Discovery:
        """What is supported."""
        return Discovery(
            api_version=self._version.number,
            supported_identities=[
                {"identity_type": kind, "identity_format": form} for kind in IDENTITY_KINDS for form in FORMATS
            ],
            supported_subject_request_types=["erasure"],
            processor_certificate=f"{self._settings.public_url}{self._version.prefix}/certificate.pem",
        )

    def submit(self, body: bytes, who: Identity, trace_id: str | None) -> RequestAccepted:
        """File a request; the same again is answered the same."""
        desk, now = self._desk(), self._clock()
        sender = self._sender(desk, who)
        message = read_object(body)
        shaped = shape(message, domain=self._settings.domain, old=self._version.old)
        urls = callback_urls(message, sender.domains, loopback=self._settings.callbacks_to_loopback)
        file_shaped(desk, sender, shaped, message, channel="opendsr", now=now, callback_urls=urls, trace_id=trace_id)
        ticket = self._ticket(desk, sender, str(shaped.reference))
        with desk.store.read() as session:
            arrived = history(session, ticket.ticket_id)[0].at
        return RequestAccepted(
            controller_id=sender.sender_id,
            subject_request_id=str(shaped.reference),
            received_time=arrived,
            expected_completion_time=ticket.due_at,
            encoded_request=base64.b64encode(body).decode(),
            api_version=self._version.number,
        )

    def status(self, reference: str, who: Identity) -> RequestStatus:
        """Where a request stands, in the specification's word and, in the extension, in ours."""
        desk = self._desk()
        sender = self._sender(desk, who)
        ticket = self._ticket(desk, sender, request_id(reference))
        own = {"ticket_id": ticket.ticket_id, "ticket_status": ticket.status, "reason_code": ticket.reason_code}
        return RequestStatus(
            controller_id=sender.sender_id,
            subject_request_id=reference,
            expected_completion_time=ticket.due_at,
            request_status=REQUEST_STATUS[TicketStatus(ticket.status)],
            api_version=self._version.number,
            results_url=None,
            extensions={self._settings.domain: own},
        )

    def cancel(self, reference: str, who: Identity) -> Cancelled:
        """Withdraw a request that is pending; twice is once."""
        desk, now = self._desk(), self._clock()
        sender = self._sender(desk, who)
        ticket = self._ticket(desk, sender, request_id(reference))
        if ticket.status != TicketStatus.CANCELLED:
            if REQUEST_STATUS[TicketStatus(ticket.status)] != "pending":
                raise LetheError("lifecycle.forbidden", "Only a pending request can be cancelled.")
            desk.cancel(ticket.ticket_id, who, version=ticket.version)
        return Cancelled(
            controller_id=sender.sender_id,
            subject_request_id=reference,
            received_time=now,
            api_version=self._version.number,
        )

    def signer(self) -> Signer:
        """Signs answers."""
        return signer_of(self._settings)

    def _sender(self, desk: Desk, who: Identity) -> Sender:
        with desk.store.read() as session:
            sender = sender_of_key(session, who, "opendsr")
        self._rates.take(f"sender/{sender.sender_id}", self._settings.sender_per_minute)
        return sender

    @staticmethod
    def _ticket(desk: Desk, sender: Sender, reference: str) -> Ticket:
        with desk.store.read() as session:
            ticket = find_ticket(session, "opendsr", external_id(sender.sender_id, reference))
        if ticket is None:
            raise LetheError("ticket.not_found", "There is no such request.")
        return ticket


def add_opendsr(
    app: FastAPI,
    desk: Callable[[], Desk],
    settings: ProtocolSettings,
    clock: Callable[[], datetime],
    trace_of: Callable[[Request], str | None],
    identity: Callable[[Request], Identity],
    rates: Rates,
) -> None:
    """Add the routes of both versions."""
    for version in VERSIONS:
        _add_version(app, OpenDsr(version, desk, settings, clock, rates), version, trace_of, identity)


def _add_version(
    app: FastAPI,
    does: OpenDsr,
    version: Version,
    trace_of: Callable[[Request], str | None],
    identity: Callable[[Request], Identity],
) -> None:
    base, requests = version.prefix, f"{version.prefix}/{version.requests}"
    tags: list[str | Enum] = [f"OpenDSR {version.number}"]

    async def signed(status: int, act: Callable[[], Any]) -> Response:
        def answer() -> tuple[int, bytes, dict[str, str]]:
            signer = does.signer()
            try:
                code, said = status, act().model_dump_json().encode()
            except LetheError as error:
                kept = error.kind.status if error.kind.status in _KEPT or error.kind.status >= 500 else 400
                code, said = kept, json.dumps(error_body(error, kept)).encode()
            return code, said, signer.headers(said)

        code, said, headers = await run_in_threadpool(answer)
        return Response(said, code, {**headers, "Cache-Control": "no-store"}, "application/json")

    @app.get(f"{base}/discovery", response_model=Discovery, responses=RESPONSES, tags=tags)
    @open_to_all("OpenDSR's discovery: what is supported and where the certificate lies, about nobody")
    async def discovery() -> Response:
        """What this processor supports."""
        return await signed(200, does.discovery)

    @app.get(f"{base}/certificate.pem", response_class=Response, responses=RESPONSES, tags=tags)
    @open_to_all("the public certificate by which receivers check signatures")
    def certificate() -> Response:
        """The certificate that signs answers and callbacks."""
        return Response(does.signer().certificate, media_type="application/x-pem-file")

    @app.post(
        requests,
        status_code=201,
        response_model=RequestAccepted,
        responses={400: {"model": OpenDsrError, "description": "The request has faults."}, **RESPONSES},
        openapi_extra={"requestBody": _BODY},
        tags=tags,
    )
    @requires(SCOPE)
    async def submit(request: Request) -> Response:
        """Ask for a person's erasure."""
        body, who, trace = await request.body(), identity(request), trace_of(request)
        return await signed(201, lambda: does.submit(body, who, trace))

    @app.get(f"{requests}/{{subject_request_id}}", response_model=RequestStatus, responses=RESPONSES, tags=tags)
    @requires(SCOPE)
    async def status(subject_request_id: str, request: Request) -> Response:
        """Where a request stands."""
        who = identity(request)
        return await signed(200, lambda: does.status(subject_request_id, who))

    @app.delete(
        f"{requests}/{{subject_request_id}}",
        status_code=202,
        response_model=Cancelled,
        responses=RESPONSES,
        tags=tags,
    )
    @requires(SCOPE)
    async def cancel(subject_request_id: str, request: Request) -> Response:
        """Withdraw a request that is pending."""
        who = identity(request)
        return await signed(202, lambda: does.cancel(subject_request_id, who))
