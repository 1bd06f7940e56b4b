"""`lethe report`: show, check and export the report of a ticket."""

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

_TICKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def register(app: typer.Typer) -> None:
    """Adds the command to the program."""
    app.command("report")(report)


def report(
    ticket: Annotated[str, typer.Argument(help="A ticket's id, or the path of a report.json.")],
    out: Annotated[Path | None, typer.Option("--out", help="Also write report.json and report.html here.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only check that the content still has its digest.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole JSON report.")] = False,
) -> None:
    """Show the report of a ticket: its JSON is the truth, the HTML page is made from it."""
    from services.reports.write import HTML_NAME, read_report, write_built

    path = _path(ticket)
    found = read_report(path)
    if out is not None:
        written = write_built(found, out)
        path, page = written.json_path, written.html_path
    else:
        page = path.with_name(HTML_NAME)
    if check:
        said = {"report": str(path), "digest": found["digest"], "unchanged": True}
        print(json.dumps(said, indent=2) if as_json else f"{path}: unchanged, digest {found['digest']}")
        return
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    print("\n".join(_lines(found)))
    print(f"\n{path}\n{page}")


def _path(ticket: str) -> Path:
    """The report of a ticket in this installation, or the file itself."""
    from policies.errors import LetheError
    from services.reports.write import JSON_NAME
    from services.settings import load_settings

    if ticket.endswith(".json") or "/" in ticket:
        return Path(ticket)
    if not _TICKET.fullmatch(ticket):  # a ticket's id is a directory's name here
        raise LetheError("report.not_found", "this is no ticket's id")
    return load_settings().home / "reports" / ticket / JSON_NAME


def _lines(found: dict[str, Any]) -> list[str]:
    summary = found["summary"]
    lines = [
        f"Ticket {found['ticket_id']} ({summary['regime']}), subject {found['subject_ref']}",
        f"  status {summary['status']}, verdict {summary['verdict'] or 'none yet'}",
    ]
    if summary["live"]:
        lines.append(f"  live as generation {summary['generation']}")
    if summary["answer_due"]:
        lines.append(f"  answer due {summary['answer_due'][:10]}")
    lines += [
        f"  {gate['name']:<20} {_figure(gate['value']):>7}  threshold {_figure(gate['threshold']):>6}  {gate['state']}"
        for gate in found["gates"]
    ]
    lines.append(f"  {len(found['missing'])} items missing, each named with its reason in the report")
    return lines


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
