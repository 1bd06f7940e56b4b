"""``lethe report``: the report of a ticket, from the intake or from a file, checked against its digest."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help="The report of a ticket, as JSON, HTML or PDF.")


@app.command()
def report(
    ticket: Annotated[str, typer.Argument(help="The ticket's id (t-…), or the path of a report.json.")],
    html: Annotated[bool, typer.Option("--html", help="Write the page; without --out it goes to TICKET.html.")] = False,
    pdf: Annotated[bool, typer.Option("--pdf", help="Write the PDF; without --out it goes to TICKET.pdf.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole JSON report, which is the truth.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether the content has the digest it states.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write to this file.")] = None,
) -> None:
    """Show the report of a closed ticket. Whatever comes is checked against the digest that it states."""
    from policies.errors import LetheError
    from services.reports.write import parse_report, read_report

    if html + pdf + as_json > 1:
        raise LetheError("request.invalid", "Choose one of --html, --pdf and --json.")
    local = ticket.endswith(".json") or "/" in ticket
    found = read_report(Path(ticket)) if local else parse_report(_fetched(ticket, "json"))
    if check:
        said = {"ticket_id": found["ticket_id"], "digest": found["digest"], "unchanged": True}
        print(json.dumps(said) if as_json else f"unchanged, digest {found['digest']}")
        return
    text = json.dumps(found, indent=2, ensure_ascii=False)
    if html:
        page = _rendered(found) if local else _fetched(ticket, "html")
        _write(out or Path(f"{found['ticket_id']}.html"), page)
    elif pdf:
        from services.reports.pdf import render_pdf

        _write(out or Path(f"{found['ticket_id']}.pdf"), render_pdf(found))
    elif out is not None:
        _write(out, f"{text}\n".encode())
    else:
        print(text if as_json else "\n".join(_lines(found)))


def _fetched(ticket_id: str, form: str) -> bytes:
    from services.commands.ticket import client

    with client() as intake:
        return intake.get_bytes(f"/v1/tickets/{ticket_id}/report", form=form)


def _rendered(found: dict[str, Any]) -> bytes:
    from services.reports.html import render_html

    return render_html(found).encode()


def _write(target: Path, content: bytes) -> None:
    target.write_bytes(content)
    print(f"written to {target}")


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
        f"  {gate['name']:<36} {_figure(gate['value']):>7}  threshold {_figure(gate['threshold']):>6}  {gate['state']}"
        for gate in found["gates"]
    ]
    lines.append(f"  {len(found['missing'])} items missing, each named with its reason in the report")
    return lines


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
