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
    scope: Annotated[
        list[str] | None, typer.Option(help="What it may do; may be given several times. None: all of its role.")
    ] = None,
    role: Annotated[str | None, typer.Option(help="What its holder is (lethe key roles).")] = None,
    holder: Annotated[
        str | None, typer.Option(help="Whose it is, if that person has a key or an account (key:ID, user:ID).")
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="It expires after this many days.")] = None,
    as_json: Json = False,
) -> None:
    """Make a key. It is shown once and stored nowhere."""
    from services import auth

    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with opened_store() as store, store.write() as session:
        made = auth.create_key(
            session,
            name=name,
            scopes=scope or (),
            role=role,
            holder=holder,
            house_roles=_house_roles(),
            expires_at=expires_at,
            actor=ACTOR,
        )
    _show(as_json, {"key_id": made.key_id, "key": made.token}, made.token)


@app.command()
def roles(as_json: Json = False) -> None:
    """Every role and its scopes; a policy pack may name more, which have the scopes that their keys are given."""
    from policies.roles import ROLES, SCOPES

    found = {name: [scope for scope in SCOPES if scope in role.scopes] for name, role in ROLES.items()}
    lines = [f"{name:<16} {ROLES[name].text}\n{'':<16} {' '.join(scopes)}" for name, scopes in found.items()]
    _show(as_json, {"roles": found, "house_roles": list(_house_roles())}, "\n".join(lines))


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """All keys, without their secrets."""
    from services import auth

    with opened_store() as store, store.read() as session:
        found = [_told(row) for row in auth.list_keys(session)]
    lines = [f"{k['key_id']}  {k['state']:<8} {k['name']}  {k['role'] or '-'}  {' '.join(k['scopes'])}" for k in found]
    _show(as_json, {"keys": found}, "\n".join(lines))


@app.command()
def revoke(key_id: KeyId, as_json: Json = False) -> None:
    """End a key at once."""
    from services import auth

    with opened_store() as store, store.write() as session:
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
    with opened_store() as store, store.write() as session:
        made = auth.rotate_key(session, key_id, overlap_until=until, actor=ACTOR)
    _show(as_json, {"key_id": made.key_id, "key": made.token, "replaces": key_id}, made.token)


@app.command("rotate-kek")
def rotate_kek(as_json: Json = False) -> None:
    """Replace the key that wraps the subjects' keys, with every service stopped; older backups need the old one."""
    from services.installation import open_installation
    from services.kek import rotate_kek as replaced
    from services.settings import load_settings

    old, new, wrapped = replaced(open_installation(load_settings()), actor=ACTOR)
    data = {"retired": old, "created": new, "subjects": wrapped}
    _show(as_json, data, f"{old} is retired, {new} wraps the keys of {wrapped} subjects")


def _house_roles() -> tuple[str, ...]:
    """The roles that the installed packs name."""
    from services.intake.packs import Packs
    from services.settings import load_settings

    packs = Packs(load_settings().policy)
    return tuple(sorted({role for regime in packs.regimes() for role in packs.get(regime).data.approval.roles}))


@contextmanager
def opened_store(*, with_keys: bool = False) -> Iterator["Store"]:
    """The store of this host; ``with_keys`` only to look somebody up."""
    from services.installation import open_installation
    from services.settings import load_settings

    store = open_installation(load_settings()).open_store(with_keys=with_keys)
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
        "holder": row.holder,
        "state": "revoked" if row.revoked_at else "expired" if expired else "active",
        "created_at": row.created_at.isoformat(),
        "expires_at": row.expires_at.isoformat() if row.expires_at else None,
    }


def _show(as_json: bool, data: dict[str, Any], text: str) -> None:
    print(json.dumps(data) if as_json else text)
