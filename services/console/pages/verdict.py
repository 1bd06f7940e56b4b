"""The verdict on a ticket's last run: gates, attacks and their plots, from the very data of the report."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import Response

from policies.errors import LetheError
from services.auth import requires
from services.console.place import Console
from services.reports.attacks import shown
from services.reports.build import build_report
from services.reports.collect import collect
from services.reports.gates import before_of, view_of
from services.reports.plots import attacks_plot, metrics_plot, training_plot

_PLOT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
RESULT = {
    "pass": ("passed", "✓", "good"),
    "fail": ("missed", "✕", "bad"),
    "undecided": ("undecided", "▲", "person"),
    "not_run": ("not run", "○", "over"),
    None: ("evidence only", "○", "over"),
}
OUTCOME = {
    "accepted": ("Accepted: every threshold of the policy is met", "✓", "good"),
    "rejected": ("Rejected: at least one threshold is missed", "✕", "bad"),
    "undecided": ("Undecided: at least one threshold could not be decided", "▲", "person"),
}


def add_verdict(app: FastAPI, console: Console) -> None:
    """Adds ``/tickets/{ticket_id}/verdict`` and its plots."""

    @app.get("/tickets/{ticket_id}/verdict")
    @requires("tickets:read")
    def show(request: Request, ticket_id: str) -> Response:
        """What was measured, against which threshold, and what it means."""
        report = _report(console, ticket_id)
        attacks = report["attacks"]
        gates = [_gate(one) for one in _gates(report)]
        values = {
            "ticket_id": ticket_id,
            "outcome": OUTCOME[report["summary"]["verdict"]],
            "summary": report["summary"],
            "before": report["thresholds_set_before_the_measurement"],
            "missed": [one for one in gates if one["state"] == "fail"],
            "gates": gates,
            "attacks": [_attack(one) for one in attacks["tried"]] if attacks else [],
            "attacks_said": attacks["summary"] if attacks else None,
            "plots": [name for name in _PLOTS if _PLOTS[name](report) is not None],
            "not_claimed": report["not_claimed"],
        }
        return console.page(request, "verdict.html.jinja", values, here="board")

    @app.get("/tickets/{ticket_id}/verdict/{name}.svg")
    @requires("tickets:read")
    def plot(ticket_id: str, name: str) -> Response:
        """A plot as a picture of its own: its style then needs no exception in the page's policy."""
        svg = _PLOTS[name](_report(console, ticket_id)) if name in _PLOTS else None
        if svg is None:
            raise LetheError("request.not_found", "There is no such plot.")
        text = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) if " xmlns=" not in svg else svg
        headers = {"Content-Security-Policy": _PLOT_POLICY}
        return Response(text, media_type="image/svg+xml", headers=headers)


def _report(console: Console, ticket_id: str) -> dict[str, Any]:
    with console.store().read() as session:
        data = collect(session, ticket_id)
    if data.verdict is None:
        raise LetheError("report.not_ready", "Nothing was measured for this ticket yet.")
    return build_report(data)


def _gates(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Without those of attacks, which have their own table."""
    return [gate for gate in report["gates"] if not gate["name"].startswith("attack:")]


_PLOTS = {
    "metrics": lambda report: metrics_plot(_gates(report)),
    "attacks": lambda report: attacks_plot(report["attacks"]["tried"]) if report["attacks"] else None,
    "training": lambda report: training_plot(report["training"]),
}


def _gate(gate: Mapping[str, Any]) -> dict[str, Any]:
    view = view_of(gate["name"])
    return {
        **gate,
        "label": view.label,
        "sign": "≥" if view.better == "higher" else "≤",
        "before": before_of(gate),
        "shown": RESULT[gate["state"]],
    }


def _attack(one: Mapping[str, Any]) -> dict[str, Any]:
    state = one["result"] or ("not_run" if one["state"] == "not_run" else None)
    return {**one, "label": shown(one["name"]), "shown": RESULT[state]}
