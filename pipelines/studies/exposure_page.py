"""The page of an exposure study: when exposure is none, what utility is left, and both against the steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.studies.drawing import MUTED, SERIES, Plot, cell, gap, label, write_page
from pipelines.studies.exposure_result import crossings, curve, strata, utilities

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SETS = {"id": "in distribution", "ood": "out of distribution (canaries)"}
_COLOUR = dict(zip(_SETS, SERIES, strict=False))
_STRATUM_COLOUR = dict(zip(("memorised", "hardly memorised", "difficult", "easy"), SERIES, strict=False))


def write_exposure_page(result: Mapping[str, Any], directory: Path) -> Path:
    """Write ``index.html`` with its plots, PNG and SVG of each beside it; returns the page.

    Args:
        result: What ``ExposureStudy.run`` gave.
        directory: Made if it is not there.
    """
    settings = result["settings"]
    notes = (
        result["note"],
        f"Two forget sets of {settings['facts']} facts each. Exposure is compared with a control: the same "
        "recipe without either set. 0 is equal to it; above: still exposed; below: over-unlearned, which shows.",
        "One base and one seed, trained from scratch.",
    )
    head = [
        "method",
        "set",
        "stratum",
        "n",
        "steps to tau",
        "equivalent at",
        "GenEx 0 at",
        "utility there",
        "at the end",
    ]
    rows = [
        [
            one.method,
            one.forget_set,
            one.stratum,
            str(one.n),
            cell(one.steps_to_tau, 0),
            cell(one.equivalent_at, 0),
            cell(one.zero_at, 1),
            cell(one.utility_at_zero),
            cell(one.utility_end),
        ]
        for one in crossings(result)
    ]
    tables = {f"Exposure within ±{settings['tau']} nats a token": [head, *rows]}
    return write_page(directory, "Exposure and utility while a model unlearns", notes, tables, _plots(result))


def _plots(result: Mapping[str, Any]) -> list[Plot]:
    plots = []
    methods = list(dict.fromkeys(run["method"] for run in result["runs"]))
    for method in methods:
        runs = [run for run in result["runs"] if run["method"] == method]
        plots.append(_against_steps(method, runs, result["settings"]["tau"]))
        plots.append(_by_stratum(method, runs, result["sets"]))
    plots.append(_trade(result["runs"]))
    return plots


def _against_steps(method: str, runs: Sequence[Mapping[str, Any]], tau: float) -> Plot:
    def draw(figure: "Figure") -> None:
        exposure, utility = figure.subplots(1, 2)
        for run in runs:
            steps = [look["step"] for look in run["looks"]]
            colour = _COLOUR[run["set"]]
            for name, line in (("gen_ex_token", "-"), ("rel_ex_token_calibrated", ":")):
                means = [gap(look[name]["mean"]) for look in run["looks"]]
                exposure.plot(steps, means, line, color=colour, label=_SETS[run["set"]] if line == "-" else None)
            low = [gap(look["gen_ex_token"]["lower"]) for look in run["looks"]]
            high = [gap(look["gen_ex_token"]["upper"]) for look in run["looks"]]
            exposure.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
            utility.plot(steps, [gap(value) for value in utilities(run["looks"])], "-", color=colour)
        _band(exposure, tau)
        label(exposure, "step", "exposure, nats a token")
        label(utility, "step", "utility, share of the base's")
        utility.set_ylim(-0.03, 1.08)
        exposure.legend(frameon=False, fontsize=8.5)

    reading = "Left: GenEx (line, 90 % interval) and calibrated RelEx (dots). Right: unseen questions about kept facts."
    return Plot(f"{method}-steps", f"{method}: exposure and utility against steps", reading, draw)


def _by_stratum(method: str, runs: Sequence[Mapping[str, Any]], sets: Mapping[str, Any]) -> Plot:
    def draw(figure: "Figure") -> None:
        for axes, run in zip(figure.subplots(1, len(runs), squeeze=False)[0], runs, strict=True):
            steps = [look["step"] for look in run["looks"]]
            for stratum, places in strata(sets[run["set"]]).items():
                if stratum in _STRATUM_COLOUR:
                    means = [gap(value) for value in curve(run["looks"], places)]
                    axes.plot(steps, means, color=_STRATUM_COLOUR[stratum], label=stratum)
            axes.axhline(0, color=MUTED, linewidth=0.8)
            axes.set_title(_SETS[run["set"]], fontsize=9.5)
            label(axes, "step", "GenEx, nats a token")
            axes.legend(frameon=False, fontsize=8.5)

    reading = (
        "Mean GenEx of the halves of each set: by memorisation (what the base gained on the control) and difficulty."
    )
    return Plot(f"{method}-strata", f"{method}: by memorisation and difficulty", reading, draw)


def _trade(runs: Sequence[Mapping[str, Any]]) -> Plot:
    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        for run in runs:
            means = [gap(look["gen_ex_token"]["mean"]) for look in run["looks"]]
            useful = [gap(value) for value in utilities(run["looks"])]
            mark = "o-" if run["method"] == runs[0]["method"] else "s--"
            name = f"{run['method']}, {_SETS[run['set']]}"
            axes.plot(means, useful, mark, color=_COLOUR[run["set"]], label=name, markersize=3.5)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        label(axes, "GenEx, nats a token", "utility, share of the base's")
        axes.legend(frameon=False, fontsize=8.5)

    reading = (
        "Every checkpoint, from right (as the base) to left. Best is the top at 0: as the control, nothing else lost."
    )
    return Plot("trade-off", "Utility at each exposure", reading, draw)


def _band(axes: "Axes", tau: float) -> None:
    axes.axhspan(-tau, tau, color=MUTED, alpha=0.15, linewidth=0)
    axes.axhline(0, color=MUTED, linewidth=0.8)
