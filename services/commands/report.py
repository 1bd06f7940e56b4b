"""``lethe report``: the report of a ticket."""

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The report of a ticket, as JSON or HTML.")


@app.command()
def report(
    ticket_id: Annotated[str, typer.Argument(help="The ticket's id (t-…).")],
    html: Annotated[
        bool, typer.Option("--html", help="The readable form; without --out it goes to TICKET.html.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The JSON, which is the truth (the default).")] = False,
    out: Annotated[Path | None, typer.Option(help="Write to this file.")] = None,
) -> None:
    """Fetch the report of a closed ticket."""
    from policies.errors import LetheError
    from services.commands.ticket import client

    if html and as_json:
        raise LetheError("request.invalid", "Choose one of --html and --json.")
    with client() as intake:
        content = intake.get_bytes(f"/v1/tickets/{ticket_id}/report", form="html" if html else "json")
    target = out or (Path(f"{ticket_id}.html") if html else None)
    if target is None:
        print(content.decode())
        return
    target.write_bytes(content)
    print(json.dumps({"file": str(target)}) if as_json else f"written to {target}")
