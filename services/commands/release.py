"""``lethe release``: what was released, and what the replicas serve."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from services.store.tables import Release

app = typer.Typer(no_args_is_help=True, help="List and show released adapters.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("list")
def list_(
    base: Annotated[str, typer.Option(help="Only releases of this base (digest or its beginning).")] = "",
    as_json: Json = False,
) -> None:
    """Every release, oldest first; the desired one of each base is marked."""
    from services.installation import open_installation
    from services.settings import load_settings
    from services.store.releases import list_desired, list_releases

    store = open_installation(load_settings()).open_store(with_keys=False)
    try:
        with store.read() as session:
            wanted = {state.release_digest: state.generation for state in list_desired(session)}
            rows = [r for r in list_releases(session) if r.base_digest.startswith(base)]
            releases = [_row(release, wanted.get(release.digest)) for release in rows]
    finally:
        store.close()
    if as_json:
        print(json.dumps({"releases": releases}))
        return
    for entry in releases:
        mark = "" if entry["generation"] is None else f"  live, generation {entry['generation']}"
        print(f"{entry['name']}  {entry['created_at']}  {len(entry['watermark'])} tickets{mark}")


@app.command()
def show(
    release: Annotated[str, typer.Argument(help="Name or digest, or the beginning of one.")], as_json: Json = False
) -> None:
    """One release, with its watermark and the replicas that serve it."""
    from services.installation import open_installation
    from services.settings import load_settings
    from services.store.releases import list_desired, live_replicas

    store = open_installation(load_settings()).open_store(with_keys=False)
    try:
        with store.read() as session:
            row = _find(session, release.removeprefix("u-"))
            wanted = {state.release_digest: state.generation for state in list_desired(session)}
            body = _row(row, wanted.get(row.digest)) | {
                "path": row.path,
                "verdict": row.verdict,
                "replicas": [
                    {"replica": r.replica_id, "state": r.state, "generation": r.generation}
                    for r in live_replicas(session, row.base_digest)
                    if r.release_digest == row.digest
                ],
            }
    finally:
        store.close()
    if as_json:
        print(json.dumps(body))
        return
    for name, value in body.items():
        print(f"{name:12} {value if isinstance(value, str | int) else json.dumps(value)}")


def _find(session: Any, beginning: str) -> "Release":
    from policies.errors import LetheError
    from services.store.releases import list_releases

    found = [release for release in list_releases(session) if release.digest.startswith(beginning)]
    if len(found) != 1:
        raise LetheError("release.not_found", f"{len(found)} releases begin like that.")
    return found[0]


def _row(release: "Release", generation: int | None) -> dict[str, Any]:
    return {
        "name": f"u-{release.digest[:16]}",
        "digest": release.digest,
        "base": release.base_digest,
        "parent": release.parent_digest,
        "run": release.run_id,
        "watermark": release.watermark,
        "created_at": release.created_at.isoformat(timespec="seconds"),
        "generation": generation,
    }
