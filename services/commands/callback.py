"""``lethe callback``: what was told to senders of tickets, over HTTP with an API key."""

from typing import Annotated

import typer

from services.commands.letter import Json, show

app = typer.Typer(no_args_is_help=True, help="Callbacks to senders: list them, send again what was given up.")


@app.command("list")
def list_all(
    state: Annotated[str | None, typer.Option(help="open, delivered or given_up.")] = None, as_json: Json = False
) -> None:
    """Messages to senders, the newest first."""
    from services.commands.ticket import client

    with client() as intake:
        found = intake.get("/v1/callbacks", state=state)
    lines = [
        f"{one['callback_id']}  {one['ticket_id']}  {one['ticket_status']}  {one['state']}"
        f"  {one['attempts']} attempt(s)  {one['failed_code'] or ''}".rstrip()
        for one in found
    ]
    show(as_json, {"callbacks": found}, "\n".join(lines) or "none")


@app.command()
def retry(
    ticket_id: Annotated[str | None, typer.Argument(help="Of this ticket; without it all that were given up.")] = None,
    as_json: Json = False,
) -> None:
    """Send again what was given up."""
    from services.commands.ticket import client

    with client() as intake:
        found = intake.post("/v1/callbacks/retry", {"ticket_id": ticket_id} if ticket_id else {})
    show(as_json, found, "\n".join(f"{one}  open" for one in found["retried"]) or "none was given up")
