"""A person's own request: it becomes a ticket once the code is given back that went to the address which it names.

Codes are kept as keyed digests, end after a while, and allow a few attempts. What was asked is sealed and deleted with
the request. Nothing here looks at the corpus: whoever asks learns the same about every address.
"""

import hmac
import json
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from policies.errors import LetheError
from policies.identifiers import normalise_email
from services import audit, sealing
from services.auth import Identity
from services.intake.desk import Desk
from services.intake.protocols.installation_seal import open_text, seal_text
from services.settings import FormSettings
from services.store.protocol_tables import FormRequest
from services.store.types import new_id

_ACTOR = Identity("form", frozenset(), None, "system:form")
_DIGITS = 8
_HOUR = timedelta(hours=1)
_LONGEST = {"email": 254, "name": 200, "customer_id": 100, "phone": 40}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person wrote."""

    email: str
    regime: str
    name: str = ""
    customer_id: str = ""
    phone: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that waits for its code; without a code none is to be sent."""

    form_id: str
    code: str | None


def faults_of(asked: Asked, settings: FormSettings) -> tuple[str, ...]:
    """Names of the fields that cannot be taken."""
    faults = [name for name, longest in _LONGEST.items() if len(getattr(asked, name)) > longest]
    faults += [name for name in _LONGEST if not getattr(asked, name).isprintable()]
    if normalise_email(asked.email) is None:
        faults.append("email")
    if asked.regime not in settings.regimes:
        faults.append("regime")
    return tuple(dict.fromkeys(faults))


def ask(session: Session, asked: Asked, settings: FormSettings, *, now: datetime) -> Waiting:
    """Keep a request until its code comes back.

    Raises:
        LetheError: ``form.invalid``, naming fields.
    """
    faults = faults_of(asked, settings)
    if faults:
        raise LetheError("form.invalid", "Some fields cannot be taken.", faults)
    ring = sealing.ring_of(session)
    _drop_lapsed(session, now)
    form_id, code = new_id("w"), f"{secrets.randbelow(10**_DIGITS):0{_DIGITS}d}"
    address = ring.lookup_hash("form.email", normalise_email(asked.email) or "")
    lately = session.scalar(
        select(func.count())
        .select_from(FormRequest)
        .where(
            FormRequest.address_hash == address, FormRequest.made_at > now - _HOUR, FormRequest.mailed_at.is_not(None)
        )
    )
    fields = {name: getattr(asked, name) for name in Asked.__slots__}
    sends = (lately or 0) < settings.codes_per_hour
    session.add(
        FormRequest(
            form_id=form_id,
            address_hash=address,
            code_hash=_hash(session, form_id, code),
            attempts=0,
            asked=seal_text(session, json.dumps(fields), f"form/{form_id}"),
            made_at=now,
            expires_at=now + timedelta(seconds=settings.code_s),
            mailed_at=now if sends else None,
        )
    )
    session.flush()
    audit.append(session, kind="form.asked", payload={"form_id": form_id, "code_sent": sends}, at=now)
    return Waiting(form_id, code if sends else None)


def confirm(desk: Desk, form_id: str, code: str, settings: FormSettings, *, base: str, now: datetime) -> str:
    """File the ticket of a request whose code was given back; the ticket's id, the same when it comes twice.

    Raises:
        LetheError: ``form.code``, whatever is wrong.
    """
    refusal = LetheError("form.code", "This code does not count.")
    with desk.store.write() as session:  # the attempt is counted before anything else, and stays counted
        row = session.get(FormRequest, form_id, with_for_update=True)
        if row is None or now >= row.expires_at or row.attempts >= settings.attempts:
            raise refusal
        right = hmac.compare_digest(row.code_hash, _hash(session, form_id, code.strip()[: _DIGITS + 1]))
        if not right:
            row.attempts += 1
            if row.attempts >= settings.attempts:
                row.asked = None
                audit.append(session, kind="form.dropped", payload={"form_id": form_id}, at=now)
        elif row.ticket_id is not None:
            return row.ticket_id
        made_at = row.made_at
        asked = None if row.asked is None or not right else json.loads(open_text(session, row.asked, f"form/{form_id}"))
    if asked is None:
        raise refusal
    ticket_id, _ = desk.file(
        _ticket(form_id, Asked(**asked), base, made_at=made_at, now=now), _ACTOR, said=form_id.encode()
    )
    with desk.store.write() as session:
        row = session.get_one(FormRequest, form_id)
        if row.ticket_id is None:
            row.ticket_id, row.asked = ticket_id, None
            facts = {"form_id": form_id, "ticket_id": ticket_id}
            audit.append(session, kind="form.confirmed", payload=facts, at=now)
    return ticket_id


def _ticket(form_id: str, asked: Asked, base: str, *, made_at: datetime, now: datetime) -> bytes:
    others = {"name": asked.name, "id": asked.customer_id, "phone": asked.phone}
    subject = [{"kind": "email", "value": asked.email}]
    subject += [{"kind": kind, "value": value} for kind, value in others.items() if value.strip()]
    ticket = {
        "external_id": form_id,
        "channel": "form",
        "regime": asked.regime,
        "base": base,
        "subject": subject,
        "received_at": made_at.isoformat(),  # the period runs from the request, not from the code's return
        "notes": ["beside_email_unverified"] if len(subject) > 1 else [],  # the code proves the address and no more
        "identity": {
            "method": "email_code",
            "verified": True,
            "evidence_ref": form_id,
            "verified_at": now.isoformat(),
            "verified_by": "system:form",
        },
    }
    return json.dumps(ticket).encode()


def _drop_lapsed(session: Session, now: datetime) -> None:
    """An hour is kept, for the count of codes."""
    session.execute(delete(FormRequest).where(FormRequest.expires_at < now - _HOUR, FormRequest.made_at < now - _HOUR))


def _hash(session: Session, form_id: str, code: str) -> str:
    return sealing.ring_of(session).keyed_digest(f"form-code\0{form_id}\0{code}".encode())
