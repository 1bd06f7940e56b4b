"""An OpenDSR request in our words. Pure: what is wrong is named by field, never by value."""

import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from policies.errors import LetheError
from policies.ticket import HASH_LENGTHS
from services.callbacks.address import check_url
from services.intake.protocols.shapes import Fields, Shaped, asked_at

_UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_KINDS = {"email": "email", "controller_customer_id": "id"}
_DEVICES = (
    "android_advertising_id",
    "android_id",
    "fire_advertising_id",
    "ios_advertising_id",
    "ios_vendor_id",
    "microsoft_advertising_id",
    "microsoft_publisher_id",
    "roku_advertising_id",
    "roku_publisher_id",
)
IDENTITY_KINDS = {**_KINDS, **dict.fromkeys(_DEVICES, "id")}
OWN_KINDS = ("name", "phone", "address", "email", "id")  # in the extension
FORMATS = ("raw", *HASH_LENGTHS)
REGULATIONS = ("gdpr", "ccpa")
_FIELDS = frozenset(
    {
        "regulation",
        "subject_request_id",
        "subject_request_type",
        "submitted_time",
        "subject_identities",
        "api_version",
        "status_callback_urls",
        "extensions",
        "group_id",
    }
)
_MAX_URLS = 5


def request_id(text: object) -> str:
    """The id, if it is a UUID of version 4 in small letters.

    Raises:
        LetheError: ``ticket.malformed``.
    """
    if not isinstance(text, str) or not _UUID4.fullmatch(text):
        raise _fault("subject_request_id: must be a UUID of version 4 in small letters")
    return text


def shape(message: Mapping[str, Any], *, domain: str, old: bool) -> Shaped:
    """A request as a ticket's fields.

    Args:
        message: The body.
        domain: Ours; names the extension that is read here.
        old: Version 1 (OpenGDPR), which has no ``regulation``.

    Raises:
        LetheError: ``ticket.malformed``, ``protocol.unsupported`` for other rights, identities and formats.
    """
    if set(message) - _FIELDS:
        raise _fault("(unknown field): no such field")
    reference = request_id(message.get("subject_request_id"))
    kind = message.get("subject_request_type")
    if kind in ("access", "portability"):
        raise LetheError("protocol.unsupported", "Only erasure is supported.", ("subject_request_type: erasure only",))
    if kind != "erasure":
        raise _fault("subject_request_type: must be erasure")
    regulation = message.get("regulation", "gdpr" if old else None)
    if regulation not in REGULATIONS:
        raise _fault("regulation: must be gdpr or ccpa")
    submitted = _moment(message.get("submitted_time"))
    extension = _extension(message, domain)
    subject = [*_identities(message.get("subject_identities", []), IDENTITY_KINDS, "subject_identities")]
    own = extension.get("identities", [])
    subject += _identities(own, {one: one for one in OWN_KINDS}, "extensions.identities")
    if not subject:
        raise _fault("subject_identities: at least one")
    fields: Fields = {"regime": regulation, **asked_at(submitted), "subject": subject}
    if "base" in extension:
        fields["base"] = extension["base"]
    return Shaped(reference, fields)


def callback_urls(message: Mapping[str, Any], domains: Collection[str], *, loopback: bool) -> tuple[str, ...]:
    """Whom to tell, each once.

    Raises:
        LetheError: ``ticket.malformed``, ``callback.address``.
    """
    given = message.get("status_callback_urls") or []
    if not isinstance(given, list) or len(given) > _MAX_URLS or not all(isinstance(one, str) for one in given):
        raise _fault(f"status_callback_urls: a list of at most {_MAX_URLS} addresses")
    for url in given:
        check_url(url, domains, loopback=loopback)
    return tuple(dict.fromkeys(given))


def _extension(message: Mapping[str, Any], domain: str) -> Mapping[str, Any]:
    extensions = message.get("extensions") or {}
    own = extensions.get(domain, {}) if isinstance(extensions, Mapping) else None
    if not isinstance(own, Mapping) or set(own) - {"base", "identities"}:
        raise _fault("extensions: ours may hold base and identities")
    return own


def _identities(given: object, kinds: Mapping[str, str], path: str) -> list[dict[str, Any]]:
    if not isinstance(given, list) or not all(isinstance(one, Mapping) for one in given):
        raise _fault(f"{path}: must be a list of objects")
    found = []
    for number, one in enumerate(given):
        named, form = one.get("identity_type"), one.get("identity_format", "raw")
        if not isinstance(named, str) or named not in kinds or form not in FORMATS:
            raise LetheError(
                "protocol.unsupported",
                "An identity is of a type or format that is not supported.",
                (f"{path}.{number}: see discovery",),
            )
        found.append({"kind": kinds[named], "value": one.get("identity_value"), "form": form})
    return found


def _moment(text: object) -> str:
    try:
        if isinstance(text, str) and datetime.fromisoformat(text).tzinfo is not None:
            return text
    except ValueError:
        pass
    raise _fault("submitted_time: must be a date and time with time zone (RFC 3339)")


def _fault(text: str) -> LetheError:
    return LetheError("ticket.malformed", "The request has 1 fault(s).", (text,))
