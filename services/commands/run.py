"""`lethe run`: what the unlearning service works on."""

import json
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="List, show, cancel and resume unlearning runs.")
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def _call(method: str, path: str) -> Any:
    from services.client import ServiceClient
    from services.settings import load_settings

    settings = load_settings()
    with ServiceClient(settings, settings.unlearning) as service:
        return service.get(path) if method == "GET" else service.post(path)


def _line(run: dict[str, Any]) -> str:
    reason = f"  ({run['reason_code']})" if run["reason_code"] else ""
    return f"{run['run_id']}  {run['status']:12} attempt {run['attempt']}  {run['method']}{reason}"


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """Every run, in the order of planning."""
    runs = _call("GET", "/v1/runs")
    print(json.dumps({"runs": runs}) if as_json else "\n".join(_line(run) for run in runs) or "no runs")


@app.command()
def show(run_id: str, as_json: Json = False) -> None:
    """One run with its steps and their durations."""
    run = _call("GET", f"/v1/runs/{run_id}")
    if as_json:
        print(json.dumps(run))
        return
    print(_line(run))
    for name, step in run["steps"].items():
        print(f"  {name:10} {step['started_at']} – {step['ended_at'] or 'under way'}")


@app.command()
def cancel(run_id: str, as_json: Json = False) -> None:
    """Ask the worker to stop; the run's tickets become ready for the next run."""
    run = _call("POST", f"/v1/runs/{run_id}/cancel")
    print(json.dumps(run) if as_json else _line(run))


@app.command()
def resume(
    reason: Annotated[str | None, typer.Option(help="Only tickets that stand with this code (storage.full).")] = None,
    as_json: Json = False,
) -> None:
    """Let every ticket whose run failed wait for a run again, singly: `lethe ticket retry`."""
    from services.client import ServiceClient
    from services.settings import load_settings

    with ServiceClient(load_settings()) as intake:
        done = intake.post("/v1/tickets/retry", {} if reason is None else {"reason_code": reason})["retried"]
    print(json.dumps({"retried": done}) if as_json else "\n".join(done) or "no ticket stands")
