"""An erasure ticket as it comes in: checked whole before anything is stored.

Whatever is wrong with a ticket is named by the field's path and never by its value: the faults of a ticket end up in
logs and answers, where no personal data may be.
"""

import json
import re
import unicodedata
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from policies.errors import LetheError
from policies.moment import NO_MOMENT, Moment

BUILTIN_REGIMES = ("ccpa", "gdpr", "lgpd", "uk_gdpr")
MAX_BODY_BYTES = 64 * 1024
CLOCK_SKEW = timedelta(minutes=5)
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)  # what claims to be older is a fault of its sender
_FIELD_NAME = re.compile(r"[a-z][a-z_]{0,39}")


def _printable(text: str) -> str:
    if any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in text):
        raise ValueError("control characters are not allowed")
    return text


Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
"""A short word of a fixed vocabulary (``withdrawn_consent``)."""

Reference = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/#-]{0,127}$")]
"""A key of another system. The pattern has no room for an e-mail address or a name with a space."""

CategoryPattern = Annotated[
    str, StringConstraints(pattern=r"^(\*|[a-z][a-z0-9_]{0,39}(\.(\*|[a-z][a-z0-9_]{0,39}))?)$")
]
"""``private.email``, ``public.*`` or ``*``."""

BaseName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
IdentifierKind = Literal["email", "phone", "name", "id", "address"]
HASH_LENGTHS = {"sha256": 64, "sha1": 40, "md5": 32}
HASHED_KINDS = ("email", "phone", "id")  # what can come as a digest
_HEX = re.compile(r"[0-9a-fA-F]+")
Channel = Literal["api", "opendsr", "webhook", "form", "csv", "email", "letter", "phone", "cli"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)


class Identifier(_Strict):
    """One thing by which the subject can be found in the corpus."""

    kind: IdentifierKind = Field(description="What the value is.")
    value: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=320), AfterValidator(_printable)
    ] = Field(repr=False, description="The value as the requester gave it. Never logged.")
    form: Literal["raw", "sha256", "sha1", "md5"] = Field(
        default="raw", description="raw, or which digest of an e-mail address, phone number or id the value is."
    )

    @model_validator(mode="after")
    def _is_a_digest(self) -> Self:
        if self.form == "raw":
            return self
        if self.kind not in HASHED_KINDS:
            raise ValueError("only an email, phone or id can come as a digest")
        if len(self.value) != HASH_LENGTHS[self.form] or not _HEX.fullmatch(self.value):
            raise ValueError(f"a {self.form} digest has {HASH_LENGTHS[self.form]} hexadecimal digits")
        return self


class IdentityEvidence(_Strict):
    """How the requester was recognised: a reference to the evidence, never the evidence itself."""

    method: Code = Field(description="How, for example email_code or account_login; the pack lists what it accepts.")
    verified: bool = Field(default=False, description="Whether the check succeeded.")
    evidence_ref: Reference | None = Field(default=None, description="Where the evidence lies; not the evidence.")
    verified_at: Moment | None = Field(default=None, description="When; with time zone.")
    verified_by: Reference | None = Field(default=None, description="Who decided: an account's key, not a name.")
    agent_ref: Reference | None = Field(default=None, description="The authority of an agent who asks for the subject.")

    @model_validator(mode="after")
    def _verified_means_when_and_how(self) -> Self:
        if self.verified and (self.verified_at is None or self.evidence_ref is None):
            raise ValueError("a verified identity needs verified_at and evidence_ref")
        return self


class TicketRequest(_Strict):
    """A request to forget one person."""

    external_id: Reference = Field(description="The sender's own key: the same key twice is the same ticket.")
    regime: Code = Field(
        description="The law it is filed under: gdpr, uk_gdpr, ccpa, lgpd, or that of a pack of yours."
    )
    request_type: Literal["erasure"] = Field(default="erasure", description="Lethe erases; other rights are elsewhere.")
    ground: Code | None = Field(default=None, description="Why, as a code of the pack's grounds. May come later.")
    base: BaseName = Field(description="The base model that must forget.")
    subject: Annotated[tuple[Identifier, ...], Field(min_length=1, max_length=32)] = Field(
        repr=False, description="Who: at least one identifier."
    )
    received_at: Moment = Field(description="When the controller received it: every deadline counts from here.")
    submitted_at: Moment | None = Field(default=None, description="When the subject asked, if it is known.")
    identity: IdentityEvidence | None = Field(default=None, description="How the requester was recognised, if at all.")
    channel: Channel = Field(default="api", description="The way it came in.")
    legal_hold: bool = Field(default=False, description="Whether a legal hold on the subject's data is known already.")
    notes: Annotated[tuple[Code, ...], Field(max_length=16)] = Field(
        default=(), description="Codes for what a person should know (child, employee …). Never free text."
    )
    scope: Annotated[tuple[CategoryPattern, ...], Field(min_length=1, max_length=32)] = Field(
        default=("*",), description="Which categories of records the subject wants erased."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.submitted_at is not None and self.submitted_at - self.received_at > CLOCK_SKEW:
            raise ValueError("submitted_at is later than received_at")
        if len({(i.kind, i.value) for i in self.subject}) < len(self.subject):
            raise ValueError("subject: an identifier is given twice")
        return self


def parse_ticket(
    body: bytes | str | Mapping[str, Any], *, now: datetime, regimes: Collection[str] = BUILTIN_REGIMES
) -> TicketRequest:
    """The ticket in ``body``, or every fault of it at once.

    Args:
        body: A JSON object, as text or already read.
        now: The moment of receipt, with time zone; stands in where the body has no ``received_at``. A sender's clock
            may be a little ahead: nothing was received or submitted after it.
        regimes: The regimes of the packs that are loaded.

    Raises:
        LetheError: ``ticket.unreadable``, ``ticket.malformed`` (faults by field path, without values) or
            ``policy.unknown_regime``.
    """
    raw = dict(body) if isinstance(body, Mapping) else read_object(body)
    raw.setdefault("received_at", now.isoformat())
    try:
        ticket = TicketRequest.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        found = error.errors(include_input=False)
        faults = sorted({f"{_path(fault['loc'])}: {_say(fault)}" for fault in found if not _echo(fault, found)})
        if {fault["loc"] for fault in found} == {("regime",)} and isinstance(raw.get("regime"), str):
            raise _unknown_regime(regimes) from None
        raise LetheError("ticket.malformed", f"the ticket has {len(faults)} fault(s)", tuple(faults)) from None
    moments = [("received_at", ticket.received_at), ("submitted_at", ticket.submitted_at)]
    given = [(name, moment) for name, moment in moments if moment is not None]
    faults = [f"{name}: lies in the future" for name, moment in given if moment > now + CLOCK_SKEW]
    faults += [f"{name}: lies before {_EARLIEST.year}" for name, moment in given if moment < _EARLIEST]
    if faults:
        raise LetheError("ticket.malformed", f"the ticket has {len(faults)} fault(s)", tuple(faults))
    if ticket.regime not in regimes:
        raise _unknown_regime(regimes)
    received = min(ticket.received_at, now)
    submitted = None if ticket.submitted_at is None else min(ticket.submitted_at, received)
    return ticket.model_copy(update={"received_at": received, "submitted_at": submitted})


def ticket_json_schema() -> dict[str, Any]:
    """JSON Schema of a ticket, for those who send them."""
    schema = TicketRequest.model_json_schema()
    schema["required"] = [name for name in schema["required"] if name != "received_at"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def read_object(body: bytes | str) -> dict[str, Any]:
    """The JSON object of a message, without a field that is given twice.

    Raises:
        LetheError: ``ticket.unreadable``, ``ticket.malformed``.
    """
    data = body.encode() if isinstance(body, str) else body
    if len(data) > MAX_BODY_BYTES:
        raise LetheError("ticket.unreadable", f"the ticket is larger than {MAX_BODY_BYTES // 1024} KiB")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise LetheError("ticket.unreadable", "the ticket is not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise LetheError("ticket.unreadable", "the ticket is not a JSON object")
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise LetheError("ticket.malformed", "the ticket has 1 fault(s)", ("a field is given twice",))
    return found


def _unknown_regime(regimes: Collection[str]) -> LetheError:
    return LetheError("policy.unknown_regime", f"no pack for this regime; known: {', '.join(sorted(regimes))}")


def _echo(fault: Any, found: list[Any]) -> bool:
    """Pydantic calls a list too short whose only item has a fault of its own: one mistake, said twice."""
    where = fault["loc"]
    return fault["type"] == "too_short" and any(
        len(other["loc"]) > len(where) and other["loc"][: len(where)] == where for other in found
    )


def _path(location: tuple[int | str, ...]) -> str:
    """``subject.0.kind``; a name that the sender made up may be personal data and is not repeated."""
    parts = [
        str(part) if isinstance(part, int) or _FIELD_NAME.fullmatch(part) else "(unknown field)" for part in location
    ]
    return ".".join(parts) or "ticket"


def _say(fault: Any) -> str:
    """What is wrong, in words that hold no value."""
    if fault["type"] == "extra_forbidden":
        return "no such field"
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    if fault["type"].startswith("datetime") or fault["type"].startswith("timezone"):
        return NO_MOMENT
    return str(fault["msg"])
