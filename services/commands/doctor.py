"""`lethe doctor`: what is wrong with an installation, and how to mend it."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

app = typer.Typer(help="Look at settings, keys, stores, clocks, disk, workers, engine and dates.")
_SHOWN = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}


@app.callback(invoke_without_command=True)
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Say what is wrong and what to do about it. Exit status 1 if something does not work; changes nothing."""
    from policies.errors import LetheError
    from services.doctor import Finding, examine
    from services.settings import load_settings

    try:
        found = examine(load_settings())
    except LetheError as error:  # the settings themselves
        faults = "; ".join(error.details)
        found = [Finding(check="settings", state="fail", found=faults or error.message, remedy=error.kind.remedy)]
    healthy = all(one.state != "fail" for one in found)
    if as_json:
        print(json.dumps({"healthy": healthy, "findings": [asdict(one) for one in found]}))
    else:
        for one in found:
            print(f"{_SHOWN[one.state]}  {one.check}: {one.found}")
            if one.remedy:
                print(f"        {one.remedy}")
    raise typer.Exit(0 if healthy else 1)
