"""One attempt to deliver one callback; the control loop makes the next one due, with growing pauses."""

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx
from sqlalchemy.orm import Session

from policies.errors import LetheError
from services import audit
from services.callbacks.address import Resolve, Target, resolve
from services.callbacks.signing import signer_of
from services.intake.protocols.installation_seal import open_text
from services.settings import ProtocolSettings
from services.store.callbacks import DELIVERED, GIVEN_UP, OPEN
from services.store.engine import Store
from services.store.protocol_tables import Callback, Sender, SentTicket
from services.store.types import utc_now

_LONGEST = timedelta(hours=6)
_STATES = {"delivered": "callback.delivered", "given_up": "callback.given_up"}


@dataclass(frozen=True, slots=True)
class _Message:
    url: str
    domains: tuple[str, ...]
    body: bytes


def deliver(
    store: Store,
    settings: ProtocolSettings,
    callback_id: str,
    *,
    now: datetime | None = None,
    look_up: Resolve | None = None,
) -> str:
    """Send a callback that is open; what became of it (``open``, ``delivered``, ``given_up``).

    Any 2xx counts as delivered; redirects are not followed. Sent at least once: a crash between the answer and its
    record sends the same message again.
    """
    moment = now or utc_now()
    with store.read() as session:
        row = session.get(Callback, callback_id)
        if row is None or row.state != OPEN:
            return GIVEN_UP if row is None else row.state
        message = _message_of(session, row, settings)
    answer, code = None, None
    if message is None:
        code = "sender.revoked"
    else:
        try:
            answer = _send(settings, message, look_up)
        except LetheError as error:
            code = error.code
    with store.write() as session:
        return _record(session, callback_id, settings, answer, code, moment)


def body_of(session: Session, row: Callback, sent: SentTicket, url: str, domain: str) -> dict[str, Any]:
    """What a callback says: OpenDSR's fields, and our own statuses in the extension."""
    return {
        "controller_id": sent.sender_id,
        "expected_completion_time": None if row.expected_at is None else row.expected_at.isoformat(),
        "status_callback_url": url,
        "subject_request_id": sent.reference,
        "request_status": row.request_status,
        "api_version": "2.0",
        "results_url": None,
        "extensions": {
            domain: {
                "ticket_id": row.ticket_id,
                "ticket_status": row.ticket_status,
                "reason_code": row.reason_code,
                "sequence": row.sequence,
                "at": row.made_at.isoformat(),
            }
        },
    }


def _message_of(session: Session, row: Callback, settings: ProtocolSettings) -> _Message | None:
    sent = session.get(SentTicket, row.ticket_id)
    sender = None if sent is None else session.get(Sender, sent.sender_id)
    if sent is None or sender is None or sender.revoked_at is not None or sent.callback_urls is None:
        return None
    url = str(json.loads(open_text(session, sent.callback_urls, f"callbacks/{row.ticket_id}"))[row.number])
    body = json.dumps(body_of(session, row, sent, url, settings.domain)).encode()
    return _Message(url, tuple(sender.domains), body)


def _send(settings: ProtocolSettings, message: _Message, look_up: Resolve | None) -> int:
    headers = signer_of(settings).headers(message.body)
    target = resolve(message.url, message.domains, loopback=settings.callbacks_to_loopback, look_up=look_up)
    return post(target, message.body, headers, timeout_s=settings.callback_timeout_s)


def post(
    target: Target, body: bytes, headers: Mapping[str, str], *, timeout_s: float, trust: ssl.SSLContext | None = None
) -> int:
    """The status of the answer; its body is not read, redirects are not followed, no proxy is asked.

    Args:
        target: Where to, with its address checked.
        body: Signed already.
        headers: With the signature.
        timeout_s: For each part of the exchange.
        trust: Whose certificates count; None: the public authorities'.

    Raises:
        LetheError: ``callback.failed``.
    """
    request = {**headers, "Host": target.host, "Content-Type": "application/json", "User-Agent": "lethe"}
    verify = True if trust is None else trust
    try:
        with (
            httpx.Client(timeout=timeout_s, trust_env=False, follow_redirects=False, verify=verify) as client,
            client.stream(
                "POST",
                target.url,
                content=body,
                headers=request,
                extensions={"sni_hostname": target.name},  # the certificate is that of the name, not of the address
            ) as answer,
        ):
            return answer.status_code
    except (httpx.HTTPError, httpx.InvalidURL):
        raise LetheError("callback.failed", "The callback could not be delivered.") from None


def _record(
    session: Session, callback_id: str, settings: ProtocolSettings, answer: int | None, code: str | None, now: datetime
) -> str:
    row = session.get_one(Callback, callback_id)
    if row.state != OPEN:
        return row.state
    row.attempts += 1
    row.answer = answer
    if answer is not None and 200 <= answer < 300:
        row.state, row.failed_code = DELIVERED, None
    else:
        row.failed_code = code or "callback.failed"
        if row.attempts >= settings.callback_attempts or code == "sender.revoked":
            row.state = GIVEN_UP
        pause = timedelta(seconds=settings.callback_first_s) * 2 ** min(row.attempts - 1, 30)
        row.next_at = now + min(pause, _LONGEST)
    if row.state != OPEN:
        row.ended_at = now
        facts = {
            "ticket_id": row.ticket_id,
            "callback_id": row.callback_id,
            "request_status": row.request_status,
            "attempts": row.attempts,
            "answer": answer,
            "reason_code": row.failed_code,
        }
        audit.append(session, kind=_STATES[row.state], payload=facts, at=now)
    return row.state
