"""Writes a report to disk and reads it back: ``report.json``, and ``report.html`` made from it."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policies.errors import LetheError
from services.reports.build import SCHEMA, report_digest
from services.whole_file import write_whole

JSON_NAME, HTML_NAME = "report.json", "report.html"
_SHORTEST = 4  # shorter identifiers ("Li") are found in ordinary words


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """Where a report lies, and its digest."""

    json_path: Path
    html_path: Path
    digest: str


def write_report(report: Mapping[str, Any], directory: Path, *, forbidden: Iterable[str] = ()) -> WrittenReport:
    """Writes the report of a ticket and the page from it, each file whole or not at all.

    Args:
        report: As ``build_report`` made it.
        directory: ``reports/<ticket_id>`` of the installation; made if it is not there.
        forbidden: The subject's identifiers; a report that holds one of them is not written.

    Raises:
        LetheError: ``report.personal_data``.
    """
    from services.reports.html import render_html

    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    _refuse_personal_data(text, forbidden)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    written = WrittenReport(directory / JSON_NAME, directory / HTML_NAME, str(report["digest"]))
    write_whole(written.json_path, text.encode(), mode=0o600)
    write_whole(written.html_path, render_html(report).encode(), mode=0o600)
    return written


def read_report(path: Path) -> dict[str, Any]:
    """The report in a JSON file, its content checked against its own digest.

    Raises:
        LetheError: ``report.not_found``, ``report.invalid`` (no report of this version) or ``report.changed``.
    """
    try:
        return parse_report(path.read_bytes())
    except FileNotFoundError:
        raise LetheError("report.not_found", "there is no report here") from None
    except OSError:
        raise LetheError("report.invalid", "the file cannot be read") from None


def parse_report(body: bytes) -> dict[str, Any]:
    """The report in these bytes, its content checked against its own digest.

    Raises:
        LetheError: ``report.invalid`` (no report of this version) or ``report.changed``.
    """
    try:
        report = json.loads(body)
    except (ValueError, RecursionError):
        raise LetheError("report.invalid", "this is not a JSON report") from None
    if not isinstance(report, dict) or report.get("schema") != SCHEMA:
        raise LetheError("report.invalid", f"this is not a report of the schema {SCHEMA}")
    try:
        unchanged = report_digest(report) == report.get("digest")
    except ValueError:  # numbers that canonical JSON cannot spell
        unchanged = False
    if not unchanged:
        raise LetheError("report.changed", "the content of the report does not have the digest that it states")
    return report


def _refuse_personal_data(text: str, forbidden: Iterable[str]) -> None:
    folded = text.casefold()
    for value in forbidden:
        word = value.strip().casefold()
        if len(word) >= _SHORTEST and re.search(rf"(?<!\w){re.escape(word)}(?!\w)", folded):
            raise LetheError("report.personal_data", "the report would hold an identifier of the subject")
