"""``lethe recover``: rebuild a store that is older than what the replicas served."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from services.recover import Found

app = typer.Typer(help="Rebuild a store that is older than what was served, from signed releases.")
ACTOR = "cli:recover"


@app.command()
def recover(
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this it only says what it found.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """After a backup of the store was restored: releases, generation and watermark from what is signed.

    Nothing is lowered and nothing unsigned is taken in. Tickets that the store does not know any more are named: file
    them again from the controller's own register.
    """
    from services.installation import open_installation
    from services.recover import look
    from services.recover import recover as carry_out
    from services.settings import load_settings

    installation = open_installation(load_settings())
    store = installation.open_store(with_keys=False)
    try:
        found = carry_out(installation, store, actor=ACTOR) if yes else look(installation, store)
    finally:
        store.close()
    if as_json:
        print(json.dumps({"applied": yes, "bases": [asdict(one) for one in found]}))
        return
    for one in found:
        print("\n".join(_lines(one, yes)))


def _lines(one: "Found", applied: bool) -> list[str]:
    lines = [f"base {one.base_digest[:16]}: the store is at generation {one.stored}"]
    if not one.behind:
        return [*lines, "  nothing is behind"]
    lines += [
        f"  {one.by} knows generation {one.generation}, release u-{one.release_digest[:16]}",
        f"  {len(one.watermark)} erased tickets, {len(one.releases)} signed releases that the store does not know",
        *(f"  ticket {ticket} is erased, and the store does not know it" for ticket in one.unknown),
        *(f"  ticket {ticket} is erased, and open in the store" for ticket in one.reopened),
        "  recovered" if applied else "  nothing was changed; --yes does it",
    ]
    return lines
