"""A CSV file of requests, row by row as it arrives: never whole in memory, never on disk."""

import codecs
import csv
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from policies.errors import LetheError
from policies.ticket import HASH_LENGTHS
from services.intake.protocols.shapes import Fields, Shaped

KINDS = ("email", "phone", "id", "name", "address")
_DIGESTS = {f"{kind}_{form}": (kind, form) for kind in ("email", "phone", "id") for form in HASH_LENGTHS}
_OTHER = ("reference", "regime", "base", "ground", "received_at", "submitted_at")
COLUMNS = frozenset((*_OTHER, *KINDS, *_DIGESTS))
_MAX_LINE = 65_536


def rows(chunks: Iterable[bytes]) -> Iterator[tuple[int, dict[str, str]]]:
    """(number, fields that are not empty) of every row after the header; the first row is number 1.

    Raises:
        LetheError: ``batch.malformed``: not UTF-8, no CSV, an unknown column, or too many or few cells.
    """
    reader = csv.reader(_lines(chunks), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        _check(header)
        for number, cells in enumerate(reader, start=1):
            if len(cells) != len(header):
                raise _fault(f"row {number}: {len(cells)} cells, and the header has {len(header)}")
            yield number, {name: cell.strip() for name, cell in zip(header, cells, strict=True) if cell.strip()}
    except csv.Error:
        raise _fault("a row is not CSV") from None


def shape(row: Mapping[str, str]) -> Shaped:
    """A row as a ticket's fields; a column that names a digest gives an identifier of that form."""
    subject: list[dict[str, Any]] = [{"kind": kind, "value": row[kind]} for kind in KINDS if kind in row]
    for name, (kind, form) in _DIGESTS.items():
        if name in row:
            subject.append({"kind": kind, "value": row[name], "form": form})
    fields: Fields = {name: row[name] for name in _OTHER[1:] if name in row}
    return Shaped(row.get("reference"), {**fields, "subject": subject})


def _check(header: list[str]) -> None:
    unknown = [number for number, name in enumerate(header, start=1) if name not in COLUMNS]
    if unknown or len(set(header)) < len(header) or "reference" not in header:
        raise _fault(
            f"the header needs `reference`, and each column once; known: {', '.join(sorted(COLUMNS))}",
            *(f"column {number}: not known" for number in unknown[:20]),
        )


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Lines with their ends, for the reader to put those inside quotes together again."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="strict")
    rest = ""
    try:
        for chunk in chunks:
            *whole, rest = (rest + decoder.decode(chunk)).splitlines(keepends=True) or [""]
            if rest.endswith("\n"):
                whole, rest = [*whole, rest], ""
            yield from (_short(line) for line in whole)
            _short(rest)
        rest += decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise _fault("the file is not UTF-8") from None
    if rest:
        yield rest


def _short(line: str) -> str:
    if len(line) > _MAX_LINE:
        raise _fault("a line is too long")
    return line


def _fault(text: str, *more: str) -> LetheError:
    return LetheError("batch.malformed", "The file of requests has a fault.", (text, *more))
