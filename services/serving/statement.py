"""The high-water statement: what was committed last, signed, beside the releases.

A replica without a memory of its own (a new pod, another disk) reads here which generation was served already, and
refuses a store that is behind it: a restored backup is a rollback into remembering.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pipelines.adapter import Trust, dsse
from policies.errors import LetheError
from services import keys
from services.whole_file import write_whole

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:lethe:attestation:desired:v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A committed desired state.

    Attributes:
        base_digest: Of which base.
        generation: That was committed.
        release_digest: That it means.
        watermark: Every ticket that was erased by then.
        at: When it was signed, by the clock that dates keys.
    """

    base_digest: str
    generation: int
    release_digest: str
    watermark: frozenset[str]
    at: datetime


def statement_path(releases: Path, base_digest: str) -> Path:
    """Where the statement of a base lies."""
    return releases / f"desired-{base_digest[:16]}.json"


def write_statement(releases: Path, statement: Statement, key: keys.SigningKey, trust: Trust) -> bool:
    """Keep a statement, unless the one that is there is as high already; it never falls.

    Args:
        releases: The artefact store.
        statement: What was committed.
        key: The audit key.
        trust: Keys that count; the statement that is there must be signed by one of them.

    Returns:
        Whether it was written.

    Raises:
        LetheError: ``serving.statement_damaged``: the one that is there cannot be trusted, nor overwritten.
    """
    known = read_statement(releases, statement.base_digest, trust)
    if known is not None and known.generation >= statement.generation:
        return False
    body = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": "release", "digest": {"sha256": statement.release_digest}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "base": statement.base_digest,
            "generation": statement.generation,
            "watermark": sorted(statement.watermark),
            "at": statement.at.isoformat(),
        },
    }
    data = dsse.sign(body, key.key, key.id)
    # Replicas of other users read it; its signature is what protects it.
    write_whole(statement_path(releases, statement.base_digest), data, mode=0o644)
    return True


def read_statement(releases: Path, base_digest: str, trust: Trust) -> Statement | None:
    """The statement of a base, verified; None where none was made yet.

    Raises:
        LetheError: ``serving.statement_damaged``: never taken for "none", which would forget the generation.
    """
    try:
        raw = statement_path(releases, base_digest).read_bytes()
    except FileNotFoundError:
        return None
    statement = open_statement(raw, trust)
    if statement.base_digest != base_digest:
        raise LetheError("serving.statement_damaged", "The statement of what was served last is of another base.")
    return statement


def open_statement(raw: bytes, trust: Trust) -> Statement:
    """A statement out of its signed envelope.

    Raises:
        LetheError: ``serving.statement_damaged``.
    """
    try:
        body, key = dsse.open_envelope(raw, lambda keyid: trust.find(keyid, "audit"))
        statement = _parse(body)
        if not key.valid_at(statement.at.isoformat()):
            raise ValueError("dated outside the life of its key")
        return statement
    except (LetheError, ValueError, KeyError, TypeError) as error:
        raise LetheError("serving.statement_damaged", "The statement of what was served last is damaged.") from error


def _parse(body: dict[str, Any]) -> Statement:
    if (body["_type"], body["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise ValueError("another kind of statement")
    (subject,) = body["subject"]
    predicate = body["predicate"]
    return Statement(
        base_digest=str(predicate["base"]),
        generation=int(predicate["generation"]),
        release_digest=str(subject["digest"]["sha256"]),
        watermark=frozenset(map(str, predicate["watermark"])),
        at=datetime.fromisoformat(predicate["at"]),
    )
