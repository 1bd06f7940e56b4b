"""``lethe deletion``: the source records of forgotten people, looked for and deleted."""

import json
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Delete the source records of forgotten people, and show the proof.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
TicketId = Annotated[str, typer.Argument(help="The ticket's id (t-…).")]


@app.command("list")
def list_all(
    status: Annotated[str | None, typer.Option(help="planned, tried, ordered, done, held or failed.")] = None,
    as_json: Json = False,
) -> None:
    """What is to be deleted, the oldest first."""
    from services.commands.ticket import client

    with client() as intake:
        _show(intake.get("/v1/deletions", status=status, limit=1000), as_json)


@app.command()
def show(ticket: TicketId, as_json: Json = False) -> None:
    """What each source holds or held of one ticket's person: the dry run's counts, and the proof."""
    from services.commands.ticket import client

    with client() as intake:
        _show(intake.get(f"/v1/tickets/{ticket}/deletions"), as_json)


@app.command()
def run(ticket: TicketId, as_json: Json = False) -> None:
    """Order what the dry run showed; it is deleted by a durable job, and the report tells the proof."""
    from services.commands.ticket import client

    with client() as intake:
        _show(intake.post(f"/v1/tickets/{ticket}/deletions"), as_json)


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"deletions": rows}))
        return
    for row in rows:
        print(_line(row))
    if not rows:
        print("nothing is to be deleted")


def _line(row: dict[str, Any]) -> str:
    found = (
        "not looked for yet" if row["found_before"] is None else f"{row['found_before']} of {row['rows_before']} rows"
    )
    after = "" if row["found_after"] is None else f", {row['found_after']} of {row['rows_after']} left"
    why = f"  {row['reason_code']}" if row["reason_code"] else ""
    return f"{row['ticket_id']}  {row['source']:<12} {row['status']:<8} {found}{after}{why}"
