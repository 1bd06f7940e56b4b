"""``POST /v1/hooks/SENDER``: webhooks of registered senders, each proved by its own kind's signature, token or key."""

from collections.abc import Callable, Mapping
from datetime import datetime

from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

from policies.errors import LetheError
from policies.ticket import read_object
from services import auth
from services.auth import open_to_all
from services.guard import token_of
from services.intake.desk import Desk
from services.intake.protocols import signature, sombra
from services.intake.protocols.error_responses import ERRORS
from services.intake.protocols.front import file_shaped
from services.intake.protocols.rates import Rates, address_of
from services.intake.protocols.senders import BY_KEY, BY_SIGNATURE, secrets_of
from services.intake.protocols.shapes import SHAPES
from services.intake.views import Filed, as_filed
from services.settings import ProtocolSettings
from services.store.engine import Store
from services.store.protocol_tables import Sender
from services.store.tickets import get_ticket

_BODY = {"content": {"application/json": {"schema": {"type": "object"}}}, "required": True}


def add_hooks(
    app: FastAPI,
    desk: Callable[[], Desk],
    settings: ProtocolSettings,
    clock: Callable[[], datetime],
    trace_of: Callable[[Request], str | None],
    rates: Rates,
) -> None:
    """Add the route.

    Args:
        app: The intake's.
        desk: Where tickets are filed.
        settings: Of the protocols.
        clock: The present moment.
        trace_of: The trace that a request belongs to.
        rates: How often who may ask.
    """

    @app.post(
        "/v1/hooks/{sender_id}",
        status_code=201,
        response_model=Filed,
        responses={200: {"model": Filed, "description": "Sent before, the same."}, **ERRORS},
        openapi_extra={"requestBody": _BODY},
        tags=["protocols"],
    )
    @open_to_all("the sender proves itself by a signature over the message, a signed token or its own API key")
    async def hook(sender_id: str, request: Request, response: Response) -> Filed:
        """File what a registered sender sends, in the sender's own shape (docs/intake.md)."""
        rates.take(f"hooks/{address_of(request)}", settings.address_per_minute)
        body = await request.body()

        def file() -> tuple[Filed, bool]:
            the_desk, now = desk(), clock()
            token = token_of(request)
            sender = recognised(the_desk.store, sender_id, request.headers, token, body, settings.window_s, now)
            rates.take(f"sender/{sender.sender_id}", settings.sender_per_minute)
            message = read_object(body)
            shaped = SHAPES[sender.kind](message)
            ticket_id, new = file_shaped(
                the_desk, sender, shaped, message, channel="webhook", now=now, trace_id=trace_of(request)
            )
            with the_desk.store.read() as session:
                return as_filed(get_ticket(session, ticket_id)), new

        filed, new = await run_in_threadpool(file)
        response.status_code = 201 if new else 200
        return filed


def recognised(
    store: Store,
    sender_id: str,
    headers: Mapping[str, str],
    token: str | None,
    body: bytes,
    window_s: float,
    now: datetime,
) -> Sender:
    """The sender, once the message has proved to be its own; before anything of the body is parsed.

    Raises:
        LetheError: ``protocol.signature`` (also for a sender that does not exist, or was revoked), ``protocol.stale``,
            ``auth.missing``, ``auth.invalid``, ``auth.expired``.
    """
    with store.read() as session:
        sender = session.get(Sender, sender_id)
        if sender is None or sender.revoked_at is not None or sender.kind not in SHAPES:
            raise LetheError("protocol.signature", "The signature is missing or does not fit.")
        if sender.kind in BY_KEY:
            if auth.authenticate(session, token, at=now).actor != f"sender:{sender_id}":
                raise LetheError("auth.invalid", "This API key is not valid.")
        elif sender.kind in BY_SIGNATURE:
            signature.verify(secrets_of(session, sender, now), headers, body, now=now, window_s=window_s)
        else:
            sombra.verify(sender.public_key or "", headers, now=now, window_s=window_s)
        return sender
