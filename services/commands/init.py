"""``lethe init``: make an installation, or bring one up to this version's schema."""

import json
from typing import Annotated

import typer

app = typer.Typer(help="Make an installation in LETHE_HOME, or bring it up to date; safe to repeat.")


@app.command()
def init(
    everything: Annotated[
        bool,
        typer.Option("--all", help="Also the corpus' subject index and release 0 of the base, as `lethe up` does."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make directories, keys, database and the operator's API key where they are missing; migrate the schema."""
    from services import jobs
    from services.installation import create_installation
    from services.settings import load_settings
    from services.up import prepare

    settings = load_settings()
    installation = prepare(settings) if everything else create_installation(settings, also=jobs.migrate)
    told = {"home": str(installation.home), "operator_key": str(installation.operator_key_path)}
    print(json.dumps(told) if as_json else f"ready: {told['home']} (API key of the operator: {told['operator_key']})")
