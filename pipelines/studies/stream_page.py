"""The page of a stream study: targets, a table by way, and plots."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.studies.drawing import BAD, SERIES, Plot, cell, gap, label, write_page
from pipelines.studies.stream import KRR_MIN
from pipelines.studies.stream_result import Line, lines, released, retries, targets

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WAYS = {"ours": "one adapter", "restart": "from the base", "summed": "adapters added up"}
_COLOUR = dict(zip(_WAYS, SERIES, strict=False))


def write_stream_page(result: Mapping[str, Any], directory: Path) -> Path:
    """Write ``index.html`` with its plots, PNG and SVG of each beside it; returns the page.

    Args:
        result: What ``StreamStudy.run`` gave.
        directory: Made if it is not there.
    """
    erasures = result["erasures"]
    found = lines(erasures)
    notes = (
        f"{len(erasures)} of {result['people']} invented people were forgotten one after another. After each "
        f"everyone so far was asked again, and {result['rest_probes']} questions about people who stay.",
        "One adapter: warm start from the last, bounded replay, compacted from the base now and then. Adapters added "
        "up: each trained alone from the base. From the base: everyone so far in one training.",
        _retried(erasures),
    )
    tables = {"Targets": _targets(erasures, result.get("device", "cpu")), "Figures": _figures(found)}
    return write_page(directory, "A stream of erasures", notes, tables, _plots(erasures, found))


def _retried(erasures: Sequence[Mapping[str, Any]]) -> str:
    number, seconds = retries(erasures)
    return (
        f"In {number} of {len(erasures)} erasures the warm start missed a limit and was not released: everyone was "
        f"trained again from the base, which took {seconds:.0f} s in all."
    )


def _targets(erasures: Sequence[Mapping[str, Any]], device: str) -> list[list[str]]:
    rows = [[t.name, cell(t.value), cell(t.limit, 2), t.state, t.note] for t in targets(erasures, device=device)]
    return [["target", "found", "limit", "state", "what"], *rows]


def _figures(found: Sequence[Line]) -> list[list[str]]:
    head = ["way", "after", "KFR mean", "KFR worst", "fell by", "named worst", "rest", "train s", "verify s"]
    rows = []
    for line in found:
        shares = [line.kfr_mean, line.kfr_worst, line.drop, line.named_worst, line.rest]
        seconds = [cell(line.train_seconds, 1), cell(line.verify_seconds, 1)]
        rows.append([_WAYS[line.way], str(line.number), *map(cell, shares), *seconds])
    return [head, *rows]


def _plots(erasures: Sequence[Mapping[str, Any]], found: Sequence[Line]) -> list[Plot]:
    return [
        Plot(
            "comes-back",
            "Does anybody come back?",
            "KFR of each person (row) after each erasure (column): 1 is forgotten. Dark: somebody came back.",
            lambda figure: _map(figure, erasures),
            (8.6, 1.6 + 0.16 * len(erasures)),
        ),
        Plot(
            "worst",
            "The worst of everyone forgotten",
            "Lowest KFR (line) and lowest share of answers that still name the person (dashes) after each erasure.",
            lambda figure: _worst(figure, found),
        ),
        Plot(
            "rest",
            "People who stay",
            f"KRR of people never forgotten, as a share of the base's; the red line is the target, {KRR_MIN}.",
            lambda figure: _rest(figure, found),
        ),
        Plot(
            "cost",
            "What an erasure costs",
            "Seconds of wall time: training (left), asking everyone again (right), which grows with the people.",
            lambda figure: _cost(figure, found),
        ),
    ]


def _map(figure: "Figure", erasures: Sequence[Mapping[str, Any]]) -> None:
    import numpy as np

    size = len(erasures)
    grid = np.full((size, size), np.nan)
    for column, erasure in enumerate(erasures):
        for row, earlier in enumerate(erasures[: column + 1]):
            value = erasure[released(erasure)]["after"]["subjects"][earlier["subject"]]["kfr"]
            grid[row, column] = np.nan if value is None else value
    axes = figure.subplots()
    low = min(0.8, float(np.nanmin(grid))) if not np.isnan(grid).all() else 0.0
    drawn = axes.imshow(grid, vmin=low, vmax=1, cmap="magma", aspect="auto", extent=(0.5, size + 0.5, size + 0.5, 0.5))
    figure.colorbar(drawn, ax=axes, label="KFR")
    axes.set_xlabel("after erasure")
    axes.set_ylabel("person")


def _worst(figure: "Figure", found: Sequence[Line]) -> None:
    axes = figure.subplots()
    for way in _WAYS:
        points = [line for line in found if line.way == way]
        if points:
            numbers = [line.number for line in points]
            axes.plot(numbers, [gap(p.kfr_worst) for p in points], "o-", color=_COLOUR[way], label=_WAYS[way], ms=3.5)
            axes.plot(numbers, [gap(p.named_worst) for p in points], "--", color=_COLOUR[way], linewidth=1)
    axes.set_ylim(-0.03, 1.03)
    label(axes, "after erasure", "lowest share")
    axes.legend(frameon=False)


def _rest(figure: "Figure", found: Sequence[Line]) -> None:
    axes = figure.subplots()
    for way in _WAYS:
        points = [line for line in found if line.way == way]
        if points:
            values = [gap(line.rest) for line in points]
            axes.plot([p.number for p in points], values, "o-", color=_COLOUR[way], label=_WAYS[way], ms=3.5)
    axes.axhline(KRR_MIN, color=BAD, linewidth=1)
    axes.set_ylim(bottom=0)
    label(axes, "after erasure", "share of the base's")
    axes.legend(frameon=False, loc="lower left")


def _cost(figure: "Figure", found: Sequence[Line]) -> None:
    train, verify = figure.subplots(1, 2)
    for way in _WAYS:
        points = [line for line in found if line.way == way]
        if points:
            numbers = [line.number for line in points]
            train.plot(numbers, [gap(p.train_seconds) for p in points], "o-", color=_COLOUR[way], ms=3.5)
            verify.plot(numbers, [p.verify_seconds for p in points], "o-", color=_COLOUR[way], label=_WAYS[way], ms=3.5)
    for axes in (train, verify):
        axes.set_ylim(bottom=0)
        label(axes, "after erasure", "seconds")
    train.set_title("training", fontsize=9.5)
    verify.set_title("verification", fontsize=9.5)
    verify.legend(frameon=False)
