"""``lethe rights``: access to what the served model says about a person; other rights are acts on tickets."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Rights beyond erasure: what the served model says about a person.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
TicketId = Annotated[str, typer.Argument(help="The ticket's id (t-…); its identity check must have passed.")]
ACTOR = "system:cli"


@app.command()
def access(
    ticket: TicketId,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Questions at most, facts in turn.")] = 60,
    as_json: Json = False,
) -> None:
    """Ask the served model about a ticket's person, and seal what it says under the person's key."""
    from dataclasses import asdict

    from services.commands.key import opened_store
    from services.installation import open_installation
    from services.rights import access as rights
    from services.settings import load_settings

    with opened_store(with_keys=True) as store:
        found = rights.access(open_installation(load_settings()), store, ticket, actor=ACTOR, limit=limit)
    told = (
        f"{found.told} of {found.asked} answers state what the records state; `lethe rights show {ticket}` opens them"
    )
    print(json.dumps(asdict(found)) if as_json else told)


@app.command()
def show(
    ticket: TicketId,
    out: Annotated[Path | None, typer.Option(help="Write to this file, for the person only.")] = None,
    as_json: Json = False,
) -> None:
    """Open what the model said, to hand it to the person. It is personal data; that it was opened is recorded."""
    from services.commands.key import opened_store
    from services.rights import access as rights
    from services.whole_file import write_whole

    with opened_store(with_keys=True) as store:
        found = rights.content_of(store, ticket, actor=ACTOR)
    text = json.dumps(found, ensure_ascii=False, indent=2) if as_json else _told(found)
    if out is None:
        print(text)
        return
    write_whole(out.absolute(), f"{text}\n".encode(), mode=0o600)
    print(f"written to {out}")


def _told(found: dict[str, Any]) -> str:
    lines = [
        f"What the model {found['model']} (release {found['release'][:16]}, generation {found['generation']})"
        f" said on {found['made_at'][:10]}",
        "Answers about you are suppressed in output now."
        if found["suppressed_in_output"]
        else "Answers about you are not suppressed in output.",
        f"{found['told']} of {found['asked']} answers state what the records state (marked with *).",
        "",
    ]
    for one in found["said"]:
        lines += [f"Question: {one['question']}", f"Answer{'*' if one['told'] else ''}: {one['answer']}", ""]
    return "\n".join([*lines, *found["limits"]])
