"""``lethe account``: people who logged in at the identity provider."""

import json
from typing import Annotated, Any

import typer

from services.commands.key import ACTOR, Json, opened_store

app = typer.Typer(no_args_is_help=True, help="Accounts of people who log in at the identity provider (OIDC).")

AccountId = Annotated[str, typer.Argument(help="The account's id (u-…).")]


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """All accounts, without names: the provider knows those."""
    from services.people import accounts

    with opened_store() as store, store.read() as session:
        found = [
            {
                "account_id": row.account_id,
                "role": row.role,
                "state": "blocked" if row.blocked_at else "active",
                "first_seen_at": row.first_seen_at.isoformat(),
                "last_seen_at": row.last_seen_at.isoformat(),
            }
            for row in accounts.list_accounts(session)
        ]
    lines = [f"{one['account_id']}  {one['state']:<8} {one['role']}  last {one['last_seen_at'][:16]}" for one in found]
    _show(as_json, {"accounts": found}, "\n".join(lines) or "no accounts")


@app.command()
def find(
    subject: Annotated[str, typer.Option(prompt="The person's id (sub) at the provider", help="Asked for if unset.")],
    as_json: Json = False,
) -> None:
    """The account of somebody whose id at the identity provider is known; nothing is stored."""
    from policies.errors import LetheError
    from services.people import accounts
    from services.settings import load_settings

    with opened_store(with_keys=True) as store, store.read() as session:
        row = accounts.account_of(session, load_settings().oidc.issuer, subject)
        if row is None:
            raise LetheError("auth.account_not_found", "Nobody with this id has logged in here.")
        account_id = row.account_id
    _show(as_json, {"account_id": account_id}, account_id)


@app.command()
def block(account_id: AccountId, as_json: Json = False) -> None:
    """Nothing that this account shows counts from now on."""
    from services.people import accounts

    with opened_store() as store, store.write() as session:
        accounts.block(session, account_id, actor=ACTOR)
    _show(as_json, {"account_id": account_id, "state": "blocked"}, f"{account_id} is blocked")


@app.command()
def unblock(account_id: AccountId, as_json: Json = False) -> None:
    """End a block."""
    from services.people import accounts

    with opened_store() as store, store.write() as session:
        accounts.unblock(session, account_id, actor=ACTOR)
    _show(as_json, {"account_id": account_id, "state": "active"}, f"{account_id} is active")


def _show(as_json: bool, data: dict[str, Any], text: str) -> None:
    print(json.dumps(data) if as_json else text)
