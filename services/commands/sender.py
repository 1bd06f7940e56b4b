"""``lethe sender``: systems that file tickets, registered on the host of the store."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from services.intake.protocols.senders import NewSender
    from services.store.engine import Store
    from services.store.protocol_tables import Sender

app = typer.Typer(no_args_is_help=True, help="Senders: systems that file tickets over a protocol (docs/intake.md).")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
SenderId = Annotated[str, typer.Argument(help="A short word: small letters, digits and _.")]
ACTOR = "system:cli"


@app.command()
def add(
    sender: SenderId,
    kind: Annotated[str, typer.Option(help="webhook, transcend, onetrust, kertos, opendsr or csv.")],
    base: Annotated[str | None, typer.Option(help="The base meant where a message names none.")] = None,
    regime: Annotated[str | None, typer.Option(help="The law meant where a message names none.")] = None,
    attests: Annotated[bool, typer.Option(help="Its word that the person was recognised counts.")] = False,
    domain: Annotated[list[str] | None, typer.Option(help="A host to which callbacks may go; repeatable.")] = None,
    public_key: Annotated[Path | None, typer.Option(help="PEM file of its key (transcend).")] = None,
    as_json: Json = False,
) -> None:
    """Register a sender. Its secret or key is shown once."""
    from policies.errors import LetheError
    from services.intake.protocols import senders

    if kind not in senders.KINDS:
        raise LetheError("sender.invalid", "There is no such kind of sender.", (f"known: {', '.join(senders.KINDS)}",))
    with _store() as store, store.write() as session:
        made = senders.add_sender(
            session,
            sender,
            kind,
            actor=ACTOR,
            base=base,
            regime=regime,
            attests=attests,
            domains=domain or (),
            public_key=None if public_key is None else _text_of(public_key),
        )
    _show_new(made, as_json)


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """All senders, without their secrets."""
    from services.intake.protocols import senders

    with _store() as store, store.read() as session:
        found = [_told(row) for row in senders.list_senders(session)]
    lines = [f"{one['sender']:<16} {one['kind']:<10} {one['state']:<8} {' '.join(one['domains'])}" for one in found]
    _show(as_json, {"senders": found}, "\n".join(lines))


@app.command()
def rotate(
    sender: SenderId,
    overlap_hours: Annotated[float, typer.Option(min=0, help="How long the old one still counts.")] = 0,
    as_json: Json = False,
) -> None:
    """Give a sender a new secret or key."""
    from services.intake.protocols import senders

    with _store() as store, store.write() as session:
        made = senders.rotate_sender(session, sender, actor=ACTOR, overlap=timedelta(hours=overlap_hours))
    _show_new(made, as_json)


@app.command()
def revoke(sender: SenderId, as_json: Json = False) -> None:
    """Take nothing from a sender any more; its tickets stay."""
    from services.intake.protocols import senders

    with _store() as store, store.write() as session:
        senders.revoke_sender(session, sender, actor=ACTOR)
    _show(as_json, {"sender": sender, "state": "revoked"}, f"{sender} is revoked")


@contextmanager
def _store() -> Iterator["Store"]:
    from services.installation import open_installation
    from services.settings import load_settings

    store = open_installation(load_settings()).open_store()
    try:
        yield store
    finally:
        store.close()


def _text_of(path: Path) -> str:
    from policies.errors import LetheError

    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        raise LetheError("sender.invalid", "The file of the public key cannot be read.") from None


def _told(row: "Sender") -> dict[str, Any]:
    return {
        "sender": row.sender_id,
        "kind": row.kind,
        "base": row.base,
        "regime": row.regime,
        "attests": row.attests,
        "domains": row.domains,
        "state": "revoked" if row.revoked_at else "active",
        "created_at": row.created_at.isoformat(),
    }


def _show_new(made: "NewSender", as_json: bool) -> None:
    data = {"sender": made.sender_id, "kind": made.kind, "secret": made.secret}
    _show(as_json, data, made.secret or f"{made.sender_id} is registered: it signs with its own key")


def _show(as_json: bool, data: dict[str, Any], text: str) -> None:
    print(json.dumps(data) if as_json else text)
