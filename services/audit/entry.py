"""One entry of the audit log: what it may hold, and how it is chained to the one before."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from policies.canonical import canonical_json, sha256_hex
from policies.errors import LetheError

GENESIS = "0" * 64  # `prev` of the first entry
OPENED = "log.opened"  # kind of the first entry; its payload holds the origin

MAX_TEXT = 200
MAX_ITEMS = 256
MAX_DEPTH = 4
MAX_NUMBER = 2**53 - 1  # beyond it JSON numbers of RFC 8785 lose digits

_KIND = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_KEY = re.compile(r"[a-z][a-z0-9_]{0,63}")
# Ids, digests, codes, versions, times: no blank, no "@", no sign that only a person's data needs.
_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/=,+\-]*")
_NAME_LIKE = re.compile(r"[A-Z][a-z]+([-,.][A-Z][a-z]*)*")  # "Anna", "Meyer-Holt", "Meyer,Anna"
# The only values with blanks: a law and its article ("GDPR Art. 17(1)(b)").
_LAW_KEYS = frozenset({"article", "articles", "law", "laws"})
_LAW = re.compile(
    r"(?:UK |EU )?(?:GDPR|CCPA|CPRA|LGPD|DPA|\d{1,2} CCR §|Cal\.|Civ\.|Art\.?|Article|Section|Sec\.|§)"
    r"[A-Za-z0-9 .,;:()§/\-]{0,100}"
)


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """An entry as it is stored and exported; ``hash`` covers every other field."""

    seq: int
    at: str
    kind: str
    subject: str | None
    payload: Mapping[str, Any]
    prev: str
    hash: str

    def body(self) -> dict[str, Any]:
        """The fields that the hash covers."""
        return {
            "seq": self.seq,
            "at": self.at,
            "kind": self.kind,
            "subject": self.subject,
            "payload": dict(self.payload),
            "prev": self.prev,
        }


def chain(*, seq: int, at: str, kind: str, subject: str | None, payload: Mapping[str, Any], prev: str) -> AuditEntry:
    """The entry that follows ``prev``."""
    entry = AuditEntry(seq=seq, at=at, kind=kind, subject=subject, payload=payload, prev=prev, hash="")
    return AuditEntry(**entry.body(), hash=body_hash(entry.body()))


def body_hash(body: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical JSON of an entry's body."""
    return sha256_hex(canonical_json(dict(body)))


def timestamp(at: datetime) -> str:
    """Times in the log: UTC, microseconds, one spelling.

    Raises:
        ValueError: ``at`` has no time zone.
    """
    if at.tzinfo is None:
        raise ValueError("a time without zone cannot be recorded")
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def check_payload(kind: str, payload: Mapping[str, Any]) -> None:
    """Let ids, digests, codes, numbers and articles of law pass, and nothing that could be a text about a person.

    This is a net with a fine mesh, not a proof: a lower-case name would pass as a code. The acceptance test with a
    planted person is what shows that no caller puts one in.

    Raises:
        LetheError: ``audit.personal_data``, naming the fields but never their values.
    """
    faults = [] if _KIND.fullmatch(kind) else ["kind"]
    faults += _faults(payload, "payload", "", 0)
    if faults:
        raise LetheError("audit.personal_data", "An audit entry holds a value that is not on the list.", tuple(faults))


def opaque_faults(value: Any) -> tuple[str, ...]:
    """Where a JSON value is more than ids, digests, codes and numbers: paths, never values. Empty if it is not."""
    return tuple(_faults(value, "value", "", 0))


def _faults(value: Any, path: str, key: str, depth: int) -> list[str]:
    """Paths of every value that is not allowed; ``key`` is the name of the nearest object field above."""
    if value is None or isinstance(value, bool):
        return []
    if isinstance(value, int | float):
        return [] if abs(value) <= MAX_NUMBER else [path]  # false for NaN too, which is not JSON
    if isinstance(value, str):
        return [] if _allowed_text(value, key) else [path]
    if depth >= MAX_DEPTH or not isinstance(value, Mapping | list | tuple) or len(value) > MAX_ITEMS:
        return [path]
    if isinstance(value, Mapping):
        faults = [f"{path}.?" for name in value if not (isinstance(name, str) and _KEY.fullmatch(name))]
        for name, item in value.items():
            if isinstance(name, str) and _KEY.fullmatch(name):
                faults += _faults(item, f"{path}.{name}", name, depth + 1)
        return faults
    return [fault for i, item in enumerate(value) for fault in _faults(item, f"{path}[{i}]", key, depth + 1)]


def _allowed_text(text: str, key: str) -> bool:
    if len(text) > MAX_TEXT:
        return False
    if key in _LAW_KEYS and _LAW.fullmatch(text):
        return True
    return text == "" or (_TOKEN.fullmatch(text) is not None and _NAME_LIKE.fullmatch(text) is None)
