"""A register as CSV or JSON."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(rows: Iterable[Mapping[str, Any]], fields: Sequence[str]) -> str:
    """CSV with a header. A cell that a spreadsheet would take for a formula is led by an apostrophe."""
    target = io.StringIO()
    writer = csv.DictWriter(target, fieldnames=fields, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({field: _safe(row[field]) for field in fields})
    return target.getvalue()


def as_json(rows: Iterable[Mapping[str, Any]]) -> str:
    """A JSON list."""
    return json.dumps(list(rows), indent=2, ensure_ascii=False) + "\n"


def _safe(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
