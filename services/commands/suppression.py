"""``lethe suppression``: who is suppressed in answers, by ticket, and which replicas apply it. No personal data."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from services.store.tables import Suppression

app = typer.Typer(no_args_is_help=True, help="List and show who is suppressed in answers, by ticket.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("list")
def list_(
    ended: Annotated[bool, typer.Option("--ended", help="Also what was lifted.")] = False, as_json: Json = False
) -> None:
    """Every suppression in force, and the version of the rules that each replica applies."""
    from services.store import suppressions
    from services.store.releases import list_desired

    with _session() as session:
        rows = [_row(row) for row in suppressions.listed(session, ended=ended)]
        bases: list[dict[str, Any]] = [
            {"base": state.base_digest, "version": state.suppression_version, "replicas": _replicas(session, state)}
            for state in list_desired(session)
        ]
    if as_json:
        print(json.dumps({"suppressions": rows, "bases": bases}))
        return
    for row in rows:
        print(_line(row))
    if not rows:
        print("nobody is suppressed")
    for base in bases:
        for replica in base["replicas"]:
            behind = "" if replica["applied"] else "  BEHIND"
            print(f"  replica {replica['replica']}: version {replica['version']} of {base['version']}{behind}")


@app.command()
def show(ticket_id: Annotated[str, typer.Argument(help="The ticket's id (t-…).")], as_json: Json = False) -> None:
    """One ticket: every suppression that it had, and why each began."""
    from dataclasses import asdict

    from services import suppression
    from services.store import suppressions
    from services.store.tickets import get_ticket

    with _session() as session:
        ticket = get_ticket(session, ticket_id)
        state = {name: _text(value) for name, value in asdict(suppression.state_of(session, ticket)).items()}
        rows = [_row(row) for row in suppressions.of_ticket(session, ticket_id)]
    if as_json:
        print(json.dumps({"ticket_id": ticket_id, **state, "suppressions": rows}))
        return
    print(f"{ticket_id}: {state['state']}")
    for row in rows:
        print(f"  {_line(row)}")


@contextmanager
def _session() -> Iterator["Session"]:
    from services.installation import open_installation
    from services.settings import load_settings

    store = open_installation(load_settings()).open_store(with_keys=False)
    try:
        with store.read() as session:
            yield session
    finally:
        store.close()


def _row(row: "Suppression") -> dict[str, Any]:
    names = ("suppression_id", "ticket_id", "base_digest", "reason", "version", "since", "confirmed_at", "lifted_at")
    found = {name: _text(getattr(row, name)) for name in names}
    return {**found, "state": "lifted" if row.lifted_at else "confirmed" if row.confirmed_at else "pending"}


def _replicas(session: "Session", state: Any) -> list[dict[str, Any]]:
    from services.store.releases import live_replicas

    return [
        {
            "replica": replica.replica_id,
            "version": replica.suppression_version,
            "applied": replica.suppression_version >= state.suppression_version,
        }
        for replica in live_replicas(session, state.base_digest)
    ]


def _text(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


def _line(row: dict[str, Any]) -> str:
    until = f" until {row['lifted_at'][:19]}" if row["lifted_at"] else ""
    return f"{row['ticket_id']}  {row['state']:<9}  {row['reason']:<12} since {row['since'][:19]}{until}"
