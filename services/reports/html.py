"""One self-contained HTML page from a JSON report: no script, nothing loaded from anywhere."""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from services.reports.attacks import shown
from services.reports.gates import before_of, view_of
from services.reports.plots import attacks_plot, metrics_plot, training_plot

_STATES = {"pass": "passed", "fail": "missed", "undecided": "undecided", "not_run": "not run"}
_YES = {True: "yes", False: "no"}


def render_html(report: Mapping[str, Any]) -> str:
    """The page of a report. Two renderings of one report are the same bytes."""
    from markupsafe import Markup

    gates = _shown_gates(report)
    attacks = report.get("attacks")  # a report from before there were any has no such block
    plots = {
        "metrics": metrics_plot(gates),
        "attacks": attacks_plot(attacks["tried"]) if attacks else None,
        "training": training_plot(report["training"]),
    }
    page: str = (
        _environment()
        .get_template("report.html.jinja")
        .render(
            report=report,
            gates=[_row(gate) for gate in gates],
            attacks=[_attack(one) for one in attacks["tried"]] if attacks else [],
            attack_seconds=attacks["seconds"] if attacks else None,
            # The SVG is ours; every text in it is a label of gates.py, a number or a term's name.
            plots={name: None if svg is None else Markup(svg) for name, svg in plots.items()},  # noqa: S704
            steps=_with_shares(report["timeline"]),
        )
    )
    return page


@lru_cache(maxsize=1)
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("services.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(moment=_moment, seconds=_seconds, figure=_figure, shown=_shown, words=_words)
    return environment


def rows_of(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The gates as rows of a table, with the threshold in words."""
    rows = [_row(gate) for gate in _shown_gates(report)]
    return [
        row | {"needs": "–" if row["threshold"] is None else f"{row['sign']} {_shown(row['threshold'])}"}
        for row in rows
    ]


def shown_value(value: Any) -> str:
    """Any value of a report as a person reads it."""
    return _shown(value)


def shown_seconds(value: float | None) -> str:
    """A duration as a person reads it."""
    return _seconds(value)


def _shown_gates(report: Mapping[str, Any]) -> list[Any]:
    return [gate for gate in report["gates"] if not gate["name"].startswith("attack:")]  # these have their own table


def _row(gate: Mapping[str, Any]) -> dict[str, Any]:
    view = view_of(gate["name"])
    return {
        **gate,
        "label": view.label,
        "group": view.group,
        "sign": "≥" if view.better == "higher" else "≤",
        "before": before_of(gate),
        "state_words": _STATES[gate["state"]],
    }


_MEASURES = {
    "kfr": "KFR",
    "leak_at_k": "secrets told in samples",
    "hits": "secrets told after tuning",
    "any_of_k": "secrets told by any wording",
    "auc": "AUC",
    "interference": "interference",
    "used": "given facts used",
}


def _attack(one: Mapping[str, Any]) -> dict[str, Any]:
    result = one["result"] or ("not_run" if one["state"] == "not_run" else None)
    return {
        **one,
        "label": shown(one["name"]),
        "figure": _MEASURES.get(one["measure"], "no figure"),
        "badge": result,
        "result_words": _STATES[result] if result else "evidence",
    }


def _with_shares(timeline: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each step with the share of the longest one, for its bar."""
    longest = max((step["seconds"] or 0.0 for step in timeline), default=0.0)
    return [
        {**step, "share": round(100 * (step["seconds"] or 0.0) / longest, 1) if longest else 0.0} for step in timeline
    ]


def _moment(value: str | None) -> str:
    """A moment as it reads best in a report: the zone is always named."""
    if value is None:
        return "not yet"
    moment = datetime.fromisoformat(value)
    zone = moment.strftime("%z")
    named = "UTC" if zone in {"+0000", ""} else f"UTC{zone[:3]}:{zone[3:]}"
    return f"{moment:%d %B %Y, %H:%M:%S} {named}".lstrip("0")


def _seconds(value: float | None) -> str:
    if value is None:
        return "not ended"
    if value < 60:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    return " ".join(f"{amount} {unit}" for amount, unit in parts if amount)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _shown(value: Any) -> str:
    """A value in a table's cell."""
    if isinstance(value, bool):
        return _YES[value]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(_shown(item) for item in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items()) or "none"
    if isinstance(value, str) and len(value) >= 19 and value[4:5] == "-" and value[10:11] == "T":
        return _moment(value)
    return "–" if value is None else str(value)
