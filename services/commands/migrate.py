"""``lethe migrate``: the one migration step alone, for a host whose keys are given to it (a hook Job in Kubernetes)."""

import json
from typing import Annotated

import typer

app = typer.Typer(help="Bring the databases to this version's schema, and nothing else; safe to repeat.")


@app.command()
def migrate(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Migrate the store and the jobs' database: no key is needed, and none is made."""
    from services import installation, jobs
    from services.settings import load_settings
    from services.store.migration import HEAD

    installation.migrate(load_settings(), also=jobs.migrate)
    print(json.dumps({"store": HEAD}) if as_json else f"the store is at {HEAD}, the jobs' database at this version")
