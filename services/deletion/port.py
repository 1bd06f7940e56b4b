"""The port to a source of records, and the count that every source is proved with."""

import hashlib
import hmac
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """What one reading of a whole source found.

    Attributes:
        rows: All rows.
        found: Rows that are among the records asked for.
        content: Keyed digest of those rows, in their order; None where there are none.
        rest: Keyed digest of all other rows, in their order: it stays the same if nothing else was changed.
    """

    rows: int
    found: int
    content: str | None
    rest: str


class Source(Protocol):
    """Where records lie. Both calls may be repeated; a crash in ``delete`` leaves the old state or the new one.

    Attributes:
        kind: ``file``, ``datasets`` or ``sql``.
    """

    kind: str

    def census(self, record_ids: Collection[str], key: bytes) -> Census:
        """Read the whole source anew.

        Raises:
            LetheError: ``deletion.no_ids``, ``deletion.source_unreachable``, or what reading the rows raises.
        """

    def delete(self, record_ids: Collection[str]) -> int:
        """Delete the records that are there; how many rows.

        Raises:
            LetheError: As ``census``; ``deletion.source_changed``, ``deletion.source_busy``, ``deletion.refused``,
                ``storage.full``.
        """


def take_census(rows: Iterable[tuple[str | None, bytes]], record_ids: Collection[str], key: bytes) -> Census:
    """Count rows by id and digest them as they pass: memory does not grow with the source."""
    wanted = frozenset(record_ids)
    content, rest = (hmac.new(key, label, hashlib.sha256) for label in (b"deleted\0", b"rest\0"))
    count = found = 0
    for record_id, row in rows:
        count += 1
        mine = record_id in wanted
        found += mine
        # The length first: rows must not run into each other.
        (content if mine else rest).update(len(row).to_bytes(8) + row)
    return Census(rows=count, found=found, content=content.hexdigest() if found else None, rest=rest.hexdigest())


def as_id(value: object) -> str | None:
    """A record's id as the corpus spells it; None: the row has none."""
    if isinstance(value, str):
        return value if value and not value.isspace() else None
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
