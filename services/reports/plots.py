"""Plots as SVG, the same bytes for the same report: no date, no random ids, text as text."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from services.reports.gates import before_of, view_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

T = TypeVar("T")
INK, MUTED, LINE = "#1c2733", "#5b6875", "#c9d1d9"
GOOD, BAD, OPEN, BEFORE = "#1a6b4a", "#a8321f", "#8a6100", "#8794a1"
_STATE_COLOUR = {"pass": GOOD, "fail": BAD, "undecided": OPEN, "not_run": OPEN}
_SERIES = ("#1c2733", "#2f6db3", "#1a6b4a", "#a8321f", "#8a6100", "#6b4fa0")
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
MAX_POINTS = 600


TITLES = {
    "metrics": "Each metric against its threshold, before and after",
    "attacks": "Share of secrets that stays untold, before and under each attack",
    "training": "Loss terms over the training steps",
}


class Picture(NamedTuple):
    """A plot as PNG, for a document that takes no SVG; ``shape`` is its height by its width."""

    title: str
    png: bytes
    shape: float


def metrics_plot(gates: Sequence[Mapping[str, Any]]) -> str | None:
    """The metrics as SVG; None where there are none."""
    return _written("metrics", partial(_metrics, gates), _svg)


def attacks_plot(attacks: Sequence[Mapping[str, Any]]) -> str | None:
    """The attacks as SVG; None where none has a share of secrets."""
    return _written("attacks", partial(_attacks, attacks), _svg)


def training_plot(training: Mapping[str, Any] | None) -> str | None:
    """The loss terms as SVG; None where nothing was trained."""
    return _written("training", partial(_training, training), _svg)


def pictures(report: Mapping[str, Any]) -> list[Picture]:
    """The plots of a report that there are, in the order of its page."""
    attacks = report.get("attacks")
    gates = [gate for gate in report["gates"] if not gate["name"].startswith("attack:")]  # these have their own plot
    found = (
        _written("metrics", partial(_metrics, gates), _png),
        _written("attacks", partial(_attacks, attacks["tried"]), _png) if attacks else None,
        _written("training", partial(_training, report.get("training")), _png),
    )
    return [one for one in found if one is not None]


def _written(name: str, draw: Callable[[], "Figure | None"], write: Callable[["Figure", str], T]) -> T | None:
    with _style(name):
        figure = draw()
        return None if figure is None else write(figure, name)


def _png(figure: "Figure", name: str) -> Picture:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=180, metadata={"Software": None})
    width, height = figure.get_size_inches()
    return Picture(TITLES[name], buffer.getvalue(), float(height / width))


def _metrics(gates: Sequence[Mapping[str, Any]]) -> "Figure | None":
    """One row a gate: value with its bound, the threshold with the side that fails, and where it stood before.

    Of the subjects forgotten before, the worst of each gate: there may be hundreds.
    """
    shown = _worst_of_earlier([g for g in gates if g["value"] is not None and g["threshold"] is not None])
    if not shown:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 0.2 + 0.42 * len(shown)))
    axes = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
    for row, gate in zip(axes, shown, strict=True):
        _gate_row(row, gate)
    figure.subplots_adjust(left=0.47, right=0.86, top=0.99, bottom=0.01, hspace=0.5)
    return figure


def _worst_of_earlier(gates: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    rows: dict[Any, Mapping[str, Any]] = {}
    for place, gate in enumerate(gates):
        key = gate["name"] if gate["name"].startswith("earlier_") else place
        if key not in rows or _room(gate) < _room(rows[key]):
            rows[key] = gate
    return list(rows.values())


def _room(gate: Mapping[str, Any]) -> float:
    """How far a gate's value is within its threshold."""
    room = float(gate["value"]) - float(gate["threshold"])
    return room if view_of(gate["name"]).better == "higher" else -room


def _attacks(attacks: Sequence[Mapping[str, Any]]) -> "Figure | None":
    """One row an attack: the share of secrets that stays untold (KFR), before and under the attack.

    Shares of secrets told (samples, fine-tuning) are turned round, so that every row reads alike.
    """
    from services.reports.attacks import shown

    rows = [one for one in attacks if one["value"] is not None and one["measure"] in _SHARES]
    if not rows:
        return None
    from matplotlib.figure import Figure

    height = 0.75 + 0.27 * len(rows)
    figure = Figure(figsize=(8.6, height))
    axes = figure.subplots()
    for place, one in enumerate(rows):
        value, before, control, bound = (_untold(one, name) for name in ("value", "before", "control", "bound"))
        assert value is not None
        colour = _STATE_COLOUR.get(one["result"] or "", INK)
        axes.plot([value if before is None else before, value], [place, place], color=LINE, linewidth=2, zorder=1)
        if bound is not None:
            axes.plot([bound, value], [place, place], color=colour, linewidth=2.4, solid_capstyle="butt", zorder=2)
        if control is not None:
            axes.plot([control], [place], "x", color=MUTED, markersize=7, markeredgewidth=1.6, zorder=3)
        if before is not None:
            axes.plot([before], [place], "o", markersize=8, markerfacecolor="white", markeredgecolor=BEFORE, zorder=3)
        axes.plot([value], [place], "o", markersize=5.5, color=colour, zorder=4)
    axes.set_yticks(range(len(rows)), [shown(one["name"]) for one in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    known = [v for one in rows for name in ("value", "before", "bound") if (v := _untold(one, name)) is not None]
    axes.set_xlim(max(-0.02, min([0.8, *known]) - 0.05), 1.02)
    axes.set_xlabel("share of secrets that stays untold (KFR)")
    axes.grid(visible=True, axis="x", color=LINE, linewidth=0.6)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    figure.subplots_adjust(left=0.3, right=0.98, top=0.99, bottom=0.5 / height)
    return figure


_SHARES = frozenset({"kfr", "leak_at_k", "hits", "any_of_k"})


def _untold(attack: Mapping[str, Any], field: str) -> float | None:
    figure = attack[field]
    if figure is None:
        return None
    return float(figure) if attack["measure"] == "kfr" else 1.0 - float(figure)


def _training(training: Mapping[str, Any] | None) -> "Figure | None":
    """The loss terms over the training steps."""
    if not training or not training["steps"]:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 3.0))
    axes = figure.subplots()
    for colour, (name, values) in zip(_cycle(len(training["terms"])), sorted(training["terms"].items()), strict=True):
        steps, kept = _thin(training["steps"], values)
        axes.plot(steps, kept, label=name, color=colour, linewidth=1.4)
    axes.set_xlabel("training step")
    axes.set_ylabel("loss")
    if all(value >= 0 for values in training["terms"].values() for value in values if value is not None):
        axes.set_ylim(bottom=0)  # an ascent's loss is negative
    axes.grid(visible=True, axis="y", color=LINE, linewidth=0.6)
    axes.legend(frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(-0.01, 1.0), fontsize=9)
    figure.subplots_adjust(left=0.08, right=0.99, top=0.87, bottom=0.16)
    return figure


def _gate_row(axes: "Axes", gate: Mapping[str, Any]) -> None:
    view, value, threshold = view_of(gate["name"]), float(gate["value"]), float(gate["threshold"])
    before, bound = before_of(gate), gate["bound"]
    known = [v for v in (value, threshold, before, bound) if v is not None]
    low, high = min(0.0, *known), max(1.0 if view.better == "higher" else threshold * 1.6, *known)
    room = (high - low) * 0.04
    axes.set_xlim(low - room, high + room)
    axes.set_ylim(-1, 1)
    left, right = (low - room, threshold) if view.better == "higher" else (threshold, high + room)
    axes.axvspan(left, right, ymin=0.2, ymax=0.8, color=BAD, alpha=0.10, linewidth=0)
    axes.plot([low - room, high + room], [0, 0], color=LINE, linewidth=1)
    axes.plot([threshold] * 2, [-0.85, 0.85], color=BAD, linewidth=1.6)
    colour = _STATE_COLOUR[gate["state"]]
    if bound is not None:
        axes.plot([bound, value], [0, 0], color=colour, linewidth=3, solid_capstyle="butt")
        axes.plot([bound] * 2, [-0.4, 0.4], color=colour, linewidth=1.5)
    if before is not None:
        axes.plot(
            [before], [0], "o", markersize=7, markerfacecolor="white", markeredgecolor=BEFORE, markeredgewidth=1.6
        )
    axes.plot([value], [0], "o", markersize=8, color=colour)
    axes.set_yticks([])
    axes.set_xticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    axes.text(-0.02, 0.5, view.label, transform=axes.transAxes, ha="right", va="center", color=INK, fontsize=9.5)
    sign = "≥" if view.better == "higher" else "≤"
    words = f"{value:.3f}  ({sign} {threshold:g})"
    axes.text(1.02, 0.5, words, transform=axes.transAxes, ha="left", va="center", color=colour, fontsize=9.5)


def _thin(steps: Sequence[int], values: Sequence[float | None]) -> tuple[list[int], list[float]]:
    """At most ``MAX_POINTS`` of the points that have a value; a page with a million points opens nowhere."""
    pairs = [(step, value) for step, value in zip(steps, values, strict=False) if value is not None]
    every = max(1, -(-len(pairs) // MAX_POINTS))
    kept = pairs[::every] + ([pairs[-1]] if pairs and (len(pairs) - 1) % every else [])
    return [step for step, _ in kept], [value for _, value in kept]


def _cycle(count: int) -> list[str]:
    return [_SERIES[index % len(_SERIES)] for index in range(count)]


def _style(name: str) -> Any:
    """Settings of matplotlib for one plot; a salt of its own keeps the ids of two plots in one page apart."""
    import matplotlib

    return matplotlib.rc_context(
        {
            "svg.hashsalt": f"lethe-{name}",
            "svg.fonttype": "none",
            "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans"],
            "font.size": 9.5,
            "axes.edgecolor": LINE,
            "axes.labelcolor": MUTED,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )


def _svg(figure: "Figure", name: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"font: ([^;\"']*?)'DejaVu Sans'[^;\"]*", lambda found: f"font: {found[1]}{_FONT}", text)
    text = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'width="100%"', text, count=1)
    # matplotlib numbers its groups anew in each figure; two figures share one page.
    text = re.sub(r'(\bid="|url\(#|href="#)', lambda found: f"{found[1]}{name}-", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{TITLES[name]}" ', 1)
