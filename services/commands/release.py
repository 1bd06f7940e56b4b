"""``lethe release``: what was released, what the replicas serve, and the moves between releases."""

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from services.artefacts import Moved
    from services.store.tables import DesiredState, Release, Replica

app = typer.Typer(no_args_is_help=True, help="List, show, promote, roll back and re-check released adapters.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Why = Annotated[str, typer.Option(help="Why; sealed, a keyed digest of it goes into the audit log.")]
Suppress = Annotated[
    bool, typer.Option("--suppress", help="Suppress in output whomever the release does not cover, before the swap.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without this it only says what would happen.")]
NOT_DONE = 1  # exit status of an order that failed, or of a dry run that would be refused
_POLL_S = 0.3


@app.command("list")
def list_(
    base: Annotated[str, typer.Option(help="Only releases of this base (digest or its beginning).")] = "",
    as_json: Json = False,
) -> None:
    """Every release, oldest first: which is live, proposed, or covers everyone who was erased; and the replicas."""
    from services.installation import open_installation
    from services.settings import load_settings
    from services.store.releases import list_desired, list_releases, list_replicas

    store = open_installation(load_settings()).open_store(with_keys=False)
    try:
        with store.read() as session:
            states = {state.base_digest: state for state in list_desired(session)}
            rows = [r for r in list_releases(session) if r.base_digest.startswith(base)]
            releases = [_row(session, release, states.get(release.base_digest)) for release in rows]
            replicas = [_replica(one) for base_digest in states for one in list_replicas(session, base_digest)]
    finally:
        store.close()
    if as_json:
        print(json.dumps({"releases": releases, "replicas": replicas}))
        return
    for entry in releases:
        print(f"{entry['name']}  {entry['created_at']}  {len(entry['watermark'])} tickets  {_told(entry)}".rstrip())
    for one in replicas:
        print(_replica_line(one))


@app.command()
def show(
    release: Annotated[str, typer.Argument(help="Name or digest, or the beginning of one.")], as_json: Json = False
) -> None:
    """One release, with its watermark, the replicas that serve it, and what they said when they were asked."""
    from services.installation import open_installation
    from services.rechecks.rounds import of_release
    from services.release_ops import find
    from services.settings import load_settings
    from services.store.releases import list_desired, list_replicas

    store = open_installation(load_settings()).open_store(with_keys=False)
    try:
        with store.read() as session:
            row = find(session, release)
            states = {state.base_digest: state for state in list_desired(session)}
            replicas = list_replicas(session, row.base_digest)
            body = _row(session, row, states.get(row.base_digest)) | {
                "path": row.path,
                "verdict": row.verdict,
                "replicas": [_replica(r) for r in replicas if row.digest in {r.release_digest, r.prepared_digest}],
                "rechecks": of_release(session, row.base_digest, row.digest),
            }
    finally:
        store.close()
    if as_json:
        print(json.dumps(body))
        return
    for name, value in body.items():
        print(f"{name:12} {value if isinstance(value, str | int) else json.dumps(value)}")


@app.command()
def promote(
    release: Annotated[str, typer.Argument(help="Name or digest, or the beginning of one.")],
    why: Why,
    suppress: Suppress = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Make a release the one that is served, on every replica at once, under a higher generation."""
    _move(f"/v1/releases/{release}/promote", {"why": why, "suppress": suppress, "apply": yes}, as_json)


@app.command()
def rollback(
    why: Why,
    release: Annotated[
        str | None, typer.Argument(help="An older release; left out: the parent of the live one.")
    ] = None,
    suppress: Suppress = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Go back to an older release; nobody who was erased comes back: who is not covered must be suppressed."""
    body = {"release": release, "why": why, "suppress": suppress, "apply": yes}
    _move("/v1/releases/rollback", body, as_json)


@app.command()
def recheck(as_json: Json = False) -> None:
    """Ask every replica about people who were forgotten, now: who waited longest comes first."""
    from services.commands.ticket import client

    with client() as intake:
        order = _wait(intake, intake.post("/v1/releases/recheck", {})["order_id"])
    outcome = (order["result"] or {}).get("outcome")
    print(json.dumps(order) if as_json else f"{order['order_id']}: {outcome or order['reason_code']}")
    if outcome not in {"pass", "nothing"}:
        raise typer.Exit(NOT_DONE)


def _move(path: str, body: dict[str, Any], as_json: bool) -> None:
    from services.commands.ticket import client

    with client() as intake:
        plan = intake.post(path, body)
        order = None if plan["order_id"] is None else _wait(intake, plan["order_id"])
    if as_json:
        print(json.dumps({"plan": plan, "order": order}))
    else:
        print("\n".join(_plan_lines(plan, order)))
    if plan["refused"] if order is None else order["status"] != "done":
        raise typer.Exit(NOT_DONE)


def _wait(intake: Any, order_id: str) -> dict[str, Any]:
    """The order once it has ended; interrupting this does not interrupt it."""
    while True:
        order: dict[str, Any] = intake.get(f"/v1/releases/orders/{order_id}")
        if order["status"] != "open":
            return order
        time.sleep(_POLL_S)


def _plan_lines(plan: dict[str, Any], order: dict[str, Any] | None) -> list[str]:
    lines = [
        f"{plan['kind']} u-{plan['live'][:16]} -> u-{plan['target'][:16]}, generation {plan['generation']}",
        *(f"  not in it, suppressed already: {one}" for one in plan["suppressed"]),
        *(f"  not in it, would be suppressed (--suppress): {one}" for one in plan["to_suppress"]),
        *(f"  not in it, cannot be suppressed: {one}" for one in plan["not_coverable"]),
    ]
    if order is not None:
        result = order["result"] or {}
        told = f"generation {result.get('generation')} in {result.get('seconds', 0):.1f} s"
        lines.append(f"  {order['status']}: {told if order['status'] == 'done' else order['reason_code']}")
    elif plan["refused"]:
        lines.append(f"  would be refused: {plan['refused']}")
    else:
        lines.append("  nothing was done; --yes does it")
    return lines


def _row(session: "Session", release: "Release", state: "DesiredState | None") -> dict[str, Any]:
    from services.suppression import active_tickets

    live = state is not None and state.release_digest == release.digest
    missing = set(state.watermark if state else ()) - set(release.watermark)
    return {
        "name": f"u-{release.digest[:16]}",
        "digest": release.digest,
        "base": release.base_digest,
        "parent": release.parent_digest,
        "run": release.run_id,
        "watermark": release.watermark,
        "created_at": release.created_at.isoformat(timespec="seconds"),
        "generation": state.generation if live and state is not None else None,
        "proposed": state.proposed_generation if state and state.proposed_digest == release.digest else None,
        "missing": len(missing),
        "coverable": not missing - active_tickets(session, release.base_digest),
    }


def _replica(row: "Replica") -> dict[str, Any]:
    def told(moment: Any) -> str | None:
        return None if moment is None else moment.isoformat(timespec="milliseconds")

    return {
        "replica": row.replica_id,
        "state": row.state,
        "generation": row.generation,
        "release": row.release_digest,
        "prepared": row.prepared_generation if row.prepared_generation >= 0 else None,
        "prepared_at": told(row.prepared_at),
        "acked_at": told(row.acked_at),
        "refused": row.refused,
        "lease_until": told(row.lease_until),
    }


def _told(entry: dict[str, Any]) -> str:
    if entry["generation"] is not None:
        return f"live, generation {entry['generation']}"
    if entry["proposed"] is not None:
        return f"proposed as generation {entry['proposed']}"
    return "covers everyone" if entry["coverable"] else f"misses {entry['missing']} erased tickets"


def _replica_line(one: dict[str, Any]) -> str:
    prepared = f", prepared {one['prepared']}" if one["prepared"] is not None else ""
    refused = f", refuses: {one['refused']}" if one["refused"] else ""
    place = f"{one['replica']}: {one['state']}, generation {one['generation']}"
    return f"  {place}{prepared}{refused}, acked {one['acked_at']}"


Place = Annotated[str, typer.Argument(help="Place in an object store: s3://bucket/prefix, or a directory.")]


@app.command()
def push(url: Place, as_json: Json = False) -> None:
    """Copy releases, and the statement of what was served last, to an object store."""
    from pipelines.adapter import Trust
    from services import artefacts, keys
    from services.installation import open_installation
    from services.settings import load_settings

    installation = open_installation(load_settings())
    trust = Trust.from_file(keys.trust_path(installation.settings))
    _told_moved(artefacts.push(installation.path("releases"), url, trust), as_json)


@app.command()
def fetch(url: Place, as_json: Json = False) -> None:
    """Copy what this host lacks from an object store; nothing is taken in whose signatures do not verify."""
    from pipelines.adapter import Trust
    from services import artefacts, keys
    from services.installation import open_installation
    from services.settings import load_settings

    installation = open_installation(load_settings())
    trust = Trust.from_file(keys.trust_path(installation.settings))
    _told_moved(artefacts.fetch(url, installation.path("releases"), trust), as_json)


def _told_moved(moved: "Moved", as_json: bool) -> None:
    if as_json:
        print(json.dumps({"releases": moved.releases, "statements": moved.statements}))
        return
    print(f"releases: {', '.join(moved.releases) or 'none'}; statements: {', '.join(moved.statements) or 'none'}")
