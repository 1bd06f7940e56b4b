"""What senders write, turned into the fields of a ``TicketRequest``. Pure: no store, no web, no clock.

A shape gives a field only where the message has it; whatever is wrong with it is then said by the one check of tickets,
by the field's path. A message that asks for anything but erasure is refused, so that its sender learns of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from policies.errors import LetheError
from policies.ticket import TicketRequest

Fields = dict[str, Any]
_GENERIC = frozenset(TicketRequest.model_fields) - {"channel"}
_REGIMES = {"gdpr": "gdpr", "ccpa": "ccpa", "cpra": "ccpa", "lgpd": "lgpd", "uk_gdpr": "uk_gdpr"}


@dataclass(frozen=True, slots=True)
class Shaped:
    """A message in our words.

    Attributes:
        reference: The sender's own id of the request; with the sender's it is the ticket's.
        fields: Of a ticket request, without external id and channel.
        attested: Whether the message says itself that the person was recognised.
        nameless: Whether messages of this shape have no id: a keyed digest of what was said stands for it.
    """

    reference: Any
    fields: Fields
    attested: bool = False
    nameless: bool = False


def generic(message: Mapping[str, Any]) -> Shaped:
    """Our own webhook: the fields of a ticket as ``POST /v1/tickets`` takes them; regime and base may be left out.

    Raises:
        LetheError: ``ticket.malformed`` for a field that a ticket has not.
    """
    unknown = len(set(message) - _GENERIC)
    if unknown:
        raise LetheError("ticket.malformed", "the message has 1 fault(s)", (f"(unknown field): {unknown} such",))
    fields = {name: value for name, value in message.items() if name != "external_id"}
    return Shaped(message.get("external_id"), fields, attested="identity" in fields)


def kertos(message: Mapping[str, Any]) -> Shaped:
    """Kertos' webhook: one identifier, ``operation`` and ``received_at``.

    It has no id of its own: identifier and time together stand for it.
    """
    if message.get("operation") != "delete":
        raise _not_erasure()
    identifier = message.get("data_subject_identifier")
    fields: Fields = {"subject": [{"kind": _kind_of(identifier), "value": identifier}]}
    if "received_at" in message:
        fields["received_at"] = message["received_at"]
    return Shaped(None, fields, nameless=True)


def transcend(message: Mapping[str, Any]) -> Shaped:
    """Transcend's webhook for a new job of a privacy request: one identifier a call.

    Read in excerpts only. Both the flat body and the one with ``payload.request`` are taken.
    """
    inner = message
    for name in ("payload", "request"):
        held = inner.get(name)
        inner = held if isinstance(held, Mapping) else inner
    if inner.get("type", message.get("type")) != "ERASURE":
        raise _not_erasure()
    core = inner.get("coreIdentifier")
    given = core if isinstance(core, Mapping) else {"value": core}
    value = given.get("value")
    named = str(given.get("name") or given.get("type") or "").lower()
    kind = {"email": "email", "phone": "phone"}.get(named) or ("id" if named else _kind_of(value))
    extras = inner.get("extras")
    reference = inner.get("id") or (extras.get("requestId") if isinstance(extras, Mapping) else None)
    fields: Fields = {"subject": [{"kind": kind, "value": value}]}
    if isinstance(inner.get("createdAt"), str):
        fields |= asked_at(inner["createdAt"])
    return Shaped(reference, fields)


def onetrust(message: Mapping[str, Any]) -> Shaped:
    """A body of a OneTrust integration workflow, which its user writes; names as in OneTrust's own requests.

    Read in excerpts only. ``requestQueueRefId``, ``requestTypes`` (must name deletion or erasure), ``email``,
    ``firstName``, ``lastName``, ``phone``, ``dateCreated``, ``regulation``.
    """
    types = message.get("requestTypes", message.get("requestType"))
    asked = {str(one).strip().lower() for one in (types if isinstance(types, list) else [types])}
    if not any(word in one for one in asked for word in ("delet", "eras")):
        raise _not_erasure()
    subject = [{"kind": kind, "value": message[kind]} for kind in ("email", "phone") if message.get(kind)]
    names = [message[part] for part in ("firstName", "lastName") if isinstance(message.get(part), str)]
    if any(name.strip() for name in names):
        subject.append({"kind": "name", "value": " ".join(name.strip() for name in names if name.strip())})
    fields: Fields = {"subject": subject}
    if isinstance(message.get("dateCreated"), str):
        fields |= asked_at(message["dateCreated"])
    regulation = str(message.get("regulation", "")).strip().lower().replace(" ", "_")
    if regulation:
        fields["regime"] = _REGIMES.get(regulation, regulation)  # an unknown law is refused, never replaced
    return Shaped(message.get("requestQueueRefId"), fields)


SHAPES: dict[str, Callable[[Mapping[str, Any]], Shaped]] = {
    "webhook": generic,
    "kertos": kertos,
    "transcend": transcend,
    "onetrust": onetrust,
}


def asked_at(moment: str) -> Fields:
    """When the controller had the request: the law's periods run from there, whenever it is passed on to us."""
    return {"submitted_at": moment, "received_at": moment}


def _kind_of(value: object) -> str:
    return "email" if isinstance(value, str) and "@" in value else "id"


def _not_erasure() -> LetheError:
    return LetheError("protocol.not_erasure", "The message asks for something else than erasure.")
