"""``lethe key``: API keys, made and ended on the host of the store."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from services.store.engine import Store
    from services.store.tables import ApiKey

app = typer.Typer(no_args_is_help=True, help="API keys: each has scopes, and a role where it approves.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
KeyId = Annotated[str, typer.Argument(help="The key's id, the middle part of lethe_ID_…")]
ACTOR = "system:cli"


@app.command()
def create(
    name: Annotated[str, typer.Option(help="What it is for.")],
    scope: Annotated[list[str], typer.Option(help="What it may do; may be given several times.")],
    role: Annotated[str | None, typer.Option(help="What its holder is to a policy pack (privacy_officer).")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="It expires after this many days.")] = None,
    as_json: Json = False,
) -> None:
    """Make a key. It is shown once and stored nowhere."""
    from services import auth

    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with _store() as store, store.write() as session:
        made = auth.create_key(session, name=name, scopes=scope, role=role, expires_at=expires_at, actor=ACTOR)
    _show(as_json, {"key_id": made.key_id, "key": made.token}, made.token)


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """All keys, without their secrets."""
    from services import auth

    with _store() as store, store.read() as session:
        found = [_told(row) for row in auth.list_keys(session)]
    lines = [f"{k['key_id']}  {k['state']:<8} {k['name']}  {' '.join(k['scopes'])}" for k in found]
    _show(as_json, {"keys": found}, "\n".join(lines))


@app.command()
def revoke(key_id: KeyId, as_json: Json = False) -> None:
    """End a key at once."""
    from services import auth

    with _store() as store, store.write() as session:
        auth.revoke_key(session, key_id, actor=ACTOR)
    _show(as_json, {"key_id": key_id, "state": "revoked"}, f"{key_id} is revoked")


@app.command()
def rotate(
    key_id: KeyId,
    overlap_hours: Annotated[float, typer.Option(min=0, help="How long the old one still counts.")] = 0,
    as_json: Json = False,
) -> None:
    """Make a key with the name, scopes and role of another, which ends."""
    from services import auth

    until = datetime.now(UTC) + timedelta(hours=overlap_hours) if overlap_hours else None
    with _store() as store, store.write() as session:
        made = auth.rotate_key(session, key_id, overlap_until=until, actor=ACTOR)
    _show(as_json, {"key_id": made.key_id, "key": made.token, "replaces": key_id}, made.token)


@contextmanager
def _store() -> Iterator["Store"]:
    from services.installation import open_installation
    from services.settings import load_settings

    store = open_installation(load_settings()).open_store(with_keys=False)
    try:
        yield store
    finally:
        store.close()


def _told(row: "ApiKey") -> dict[str, Any]:
    expired = row.expires_at is not None and row.expires_at <= datetime.now(UTC)
    return {
        "key_id": row.key_id,
        "name": row.name,
        "scopes": row.scopes,
        "role": row.role,
        "state": "revoked" if row.revoked_at else "expired" if expired else "active",
        "created_at": row.created_at.isoformat(),
        "expires_at": row.expires_at.isoformat() if row.expires_at else None,
    }


def _show(as_json: bool, data: dict[str, Any], text: str) -> None:
    print(json.dumps(data) if as_json else text)
