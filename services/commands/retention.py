"""``lethe retention``: what is over its time, and its deletion; the intake does it by itself too."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from services.retention import Due

app = typer.Typer(no_args_is_help=True, help="Delete what was kept of people for as long as the policy says.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
ACTOR = "system:cli"


@app.command()
def plan(as_json: Json = False) -> None:
    """Say what is over its time; changes nothing."""
    from services import retention
    from services.commands.key import opened_store
    from services.installation import open_installation
    from services.settings import load_settings

    with opened_store(with_keys=True) as store, store.read() as session:
        _show(retention.plan(open_installation(load_settings()), session), as_json)


@app.command()
def run(as_json: Json = False) -> None:
    """Delete it now."""
    from services import retention
    from services.commands.key import opened_store
    from services.installation import open_installation
    from services.settings import load_settings

    with opened_store(with_keys=True) as store:
        _show(retention.carry_out(open_installation(load_settings()), store, actor=ACTOR), as_json)


def _show(due: "Due", as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        print(json.dumps(asdict(due)))
        return
    for ticket_id, purposes in due.items:
        print(f"{ticket_id}  sealed items: {', '.join(purposes)}")
    for ticket_id in due.subjects:
        print(f"{ticket_id}  the subject's key")
    if due.rechecks:
        print(f"{due.rechecks} re-checks")
    for ticket_id, why in due.waiting:
        print(f"{ticket_id}  waits: {why}")
    if due.nothing:
        print("nothing is over its time")
