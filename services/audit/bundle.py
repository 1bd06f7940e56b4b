r"""An exported audit log, and its check without database, network or this installation.

One canonical JSON value a line: a header, every entry in order, and after the last entry that a checkpoint covers the
signed checkpoint. The last line is a checkpoint over everything, so each entry stands under a signature. Every line
must be spelt exactly as RFC 8785 spells it, so that no byte of the file is outside the check.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from policies.canonical import canonical_json
from policies.errors import LetheError
from services.audit import checkpoints
from services.audit.checkpoints import SignedCheckpoint
from services.audit.entry import GENESIS, OPENED, AuditEntry, body_hash
from services.keys import TrustBundle

FORMAT = "lethe-audit/1"
MAX_LINE = 1_000_000
MAX_FAULTS = 20

_ENTRY_FIELDS = frozenset({"seq", "at", "kind", "subject", "payload", "prev", "hash"})
_TAIL_UNKNOWN = (
    "No checkpoint from elsewhere was given, so entries cut off the end together with their checkpoints cannot be "
    "found. Give one with --checkpoint."
)


@dataclass(frozen=True)
class Fault:
    """Something that does not fit: where and what, as a stable code."""

    line: int
    code: str


@dataclass(frozen=True, kw_only=True)
class AuditVerification:
    """What the check of an exported log found.

    ``tail`` says whether a cut end could have been found: ``checked`` against the checkpoint given, which covers the
    first ``checkpoint_size`` entries, or ``not_checkable`` without one.
    """

    ok: bool
    origin: str | None
    entries: int
    checkpoints: int
    head: str | None
    signed_at: str | None
    tail: Literal["checked", "not_checkable"]
    checkpoint_size: int | None
    note: str
    faults: tuple[Fault, ...]

    def to_json(self) -> dict[str, Any]:
        """The form of ``--json``."""
        return asdict(self)


def write_lines(origin: str, parts: Iterable[AuditEntry | SignedCheckpoint]) -> Iterator[bytes]:
    """The lines of a bundle."""
    yield canonical_json({"format": FORMAT, "origin": origin}) + b"\n"
    for part in parts:
        yield canonical_json({"entry": asdict(part)} if isinstance(part, AuditEntry) else part.to_json()) + b"\n"


def verify(file: Path, trust: TrustBundle, checkpoint: SignedCheckpoint | None = None) -> AuditVerification:
    """Check an exported log against public keys, and its end against a checkpoint that was kept elsewhere.

    Reads line by line: memory does not grow with the log.

    Raises:
        LetheError: ``audit.unreadable`` when there is no such file.
    """
    walk = _Walk(trust=trust, outside=checkpoint)
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(_lines(stream), start=1):
                walk.take(number, line)
                if len(walk.faults) >= MAX_FAULTS:
                    break
    except OSError as error:
        raise LetheError("audit.unreadable", "The exported log cannot be opened.") from error
    return walk.result()


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    while line := stream.readline(MAX_LINE):
        yield line


@dataclass
class _Walk:
    """The state while lines pass by."""

    trust: TrustBundle
    outside: SignedCheckpoint | None
    origin: str | None = None
    line: int = 0
    size: int = 0
    head: str = GENESIS
    signed: SignedCheckpoint | None = None
    count: int = 0
    outside_met: bool = False
    faults: list[Fault] = field(default_factory=list)

    def fault(self, code: str) -> None:
        self.faults.append(Fault(self.line, code))

    def take(self, number: int, line: bytes) -> None:
        """Check one line against all that came before it."""
        self.line = number
        value = _canonical_value(line)
        if value is None:
            self.fault("line.not_canonical")
        elif number == 1:
            self.header(value)
        elif set(value) == {"entry"}:
            self.entry(value["entry"])
        elif set(value) == {"checkpoint", "signature"}:
            self.checkpoint(value)
        else:
            self.fault("line.unknown")

    def header(self, value: dict[str, Any]) -> None:
        if set(value) != {"format", "origin"} or value["format"] != FORMAT or not isinstance(value["origin"], str):
            self.fault("header.form")
            return
        self.origin = value["origin"]

    def entry(self, value: Any) -> None:
        if not isinstance(value, dict) or set(value) != _ENTRY_FIELDS or not isinstance(value["payload"], dict):
            self.fault("entry.form")
            return
        body = {name: item for name, item in value.items() if name != "hash"}
        if value["seq"] != self.size + 1:
            self.fault("entry.order")
        if value["prev"] != self.head:
            self.fault("entry.chain")
        computed = body_hash(body)
        if value["hash"] != computed:
            self.fault("entry.hash")
        if self.size == 0 and (value["kind"] != OPENED or value["payload"].get("origin") != self.origin):
            self.fault("entry.origin")
        self.size += 1
        self.head = computed
        if self.outside is not None and self.outside.checkpoint.size == self.size:
            self.outside_met = True
            if self.outside.checkpoint.head != self.head:
                self.fault("outside.head")

    def checkpoint(self, value: dict[str, Any]) -> None:
        try:
            signed = checkpoints.parse(value)
        except ValueError:
            self.fault("checkpoint.form")
            return
        point = signed.checkpoint
        if reason := checkpoints.fault_of(signed, self.trust):
            self.fault(reason)
        if (point.origin, point.size, point.head) != (self.origin, self.size, self.head):
            self.fault("checkpoint.mismatch")
        if point.number != self.count + 1:
            self.fault("checkpoint.order")
        self.count += 1
        self.signed = signed

    def end(self) -> None:
        """What only the end can show."""
        if self.line == 0:
            self.fault("file.empty")
        elif self.signed is None or self.signed.checkpoint.size != self.size:
            self.fault("file.end_not_signed")
        if self.outside is None:
            return
        if reason := checkpoints.fault_of(self.outside, self.trust):
            self.fault(f"outside.{reason.removeprefix('checkpoint.')}")
        if self.outside.checkpoint.origin != self.origin:
            self.fault("outside.origin")
        if not self.outside_met:
            self.fault("outside.tail_cut")

    def result(self) -> AuditVerification:
        self.end()
        ok = not self.faults
        if self.outside is None:
            note = _TAIL_UNKNOWN
        else:
            note = f"Complete up to entry {self.outside.checkpoint.size}, by the checkpoint given." if ok else ""
        return AuditVerification(
            ok=ok,
            origin=self.origin,
            entries=self.size,
            checkpoints=self.count,
            head=self.head if self.size else None,
            signed_at=self.signed.checkpoint.at if self.signed else None,
            tail="not_checkable" if self.outside is None else "checked",
            checkpoint_size=self.outside.checkpoint.size if self.outside else None,
            note=note,
            faults=tuple(self.faults[:MAX_FAULTS]),
        )


def _canonical_value(line: bytes) -> dict[str, Any] | None:
    """The object on a line, if the line is its one canonical spelling."""
    try:
        value = json.loads(line)
        if not isinstance(value, dict) or canonical_json(value) + b"\n" != line:
            return None
    except (ValueError, RecursionError):  # also what RFC 8785 cannot spell: NaN, an integer beyond 2**53
        return None
    return value
