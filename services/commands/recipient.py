"""``lethe recipient``: to whom data or adapters went, and who has to be told of an erasure (GDPR Art. 19)."""

from typing import Annotated

import typer

from services.commands.letter import Json, line, show

app = typer.Typer(no_args_is_help=True, help="Recipients of data and adapters, and the notices that are due to them.")

RecipientId = Annotated[str, typer.Argument(help="A code (crm-vendor); no name of a person.")]


@app.command()
def add(
    recipient_id: RecipientId,
    kind: Annotated[str, typer.Option(help="data: records about people went there; model: adapters did.")],
    base: Annotated[str | None, typer.Option(help="Of this base only.")] = None,
    as_json: Json = False,
) -> None:
    """Register a recipient; erasures that are approved from now on make a notice."""
    from services.commands.ticket import client

    with client() as intake:
        made = intake.post("/v1/recipients", {"recipient_id": recipient_id, "kind": kind, "base": base})
    show(as_json, made, f"{recipient_id} is registered")


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """The register."""
    from services.commands.ticket import client

    with client() as intake:
        found = intake.get("/v1/recipients")
    lines = [
        f"{one['recipient_id']}  {one['kind']}  {one['base'] or 'every base'}{'  removed' if one['removed_at'] else ''}"
        for one in found
    ]
    show(as_json, {"recipients": found}, "\n".join(lines) or "none")


@app.command()
def remove(recipient_id: RecipientId, as_json: Json = False) -> None:
    """No new notices for this recipient; those that were made stay due."""
    from services.commands.ticket import client

    with client() as intake:
        intake.delete(f"/v1/recipients/{recipient_id}")
    show(as_json, {"recipient_id": recipient_id, "state": "removed"}, f"{recipient_id} is removed")


@app.command()
def send(as_json: Json = False) -> None:
    """Send every notice that is due by mail, to the addresses of mail.recipients."""
    from services.commands.ticket import client

    with client() as intake:
        found = intake.post("/v1/notices/send")
    lines = [f"{one}  sent" for one in found["sent"]]
    lines += [f"{one}  {code}" for one, code in found["refused"].items()]
    show(as_json, found, "\n".join(lines) or "none is due")


@app.command()
def due(as_json: Json = False) -> None:
    """Notices that are due: the erasure is done, and the recipient was not told. Read one with `lethe letter text`."""
    from services.commands.ticket import client

    with client() as intake:
        found = intake.get("/v1/notices")
    show(as_json, {"notices": found}, "\n".join(line(one) for one in found) or "none")
