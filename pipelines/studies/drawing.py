"""Plots of a study as files: PNG and SVG of each, and one HTML page that needs nothing else."""

import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, LINE = "#1c2733", "#5b6875", "#c9d1d9"
GOOD, BAD = "#1a6b4a", "#a8321f"
SERIES = ("#2f6db3", "#a8321f", "#1a6b4a", "#8a6100", "#6b4fa0", "#1c2733")
Draw = Callable[["Figure"], None]


class Plot:
    """One plot: its file name, its title, a sentence on how to read it, its size in inches and what draws it."""

    def __init__(self, name: str, title: str, reading: str, draw: Draw, size: tuple[float, float] = (8.6, 3.2)) -> None:
        self.name, self.title, self.reading, self.draw, self.size = name, title, reading, draw, size

    def save(self, directory: Path) -> str:
        """Write ``<name>.png`` and ``<name>.svg``; returns the SVG. The same figures give the same bytes."""
        from matplotlib.figure import Figure

        with _style(self.name):
            figure = Figure(figsize=self.size, layout="constrained")
            self.draw(figure)
            figure.savefig(directory / f"{self.name}.png", dpi=150, metadata={"Software": None})
            buffer = io.StringIO()
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        text = buffer.getvalue()
        text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
        # matplotlib numbers its groups anew in each figure; all figures share one page.
        text = re.sub(r'(\bid="|url\(#|href="#)', lambda found: f"{found[1]}{self.name}-", text)
        (directory / f"{self.name}.svg").write_text(text, encoding="utf-8")
        return text


def write_page(
    directory: Path,
    title: str,
    notes: Sequence[str],
    tables: Mapping[str, Sequence[Sequence[str]]],
    plots: Sequence[Plot],
) -> Path:
    """Write every plot, and ``index.html`` with them, the notes and the tables (first row is the head)."""
    directory.mkdir(parents=True, exist_ok=True)
    body = [f"<h1>{html.escape(title)}</h1>", *(f"<p>{html.escape(note)}</p>" for note in notes)]
    for name, rows in tables.items():
        body += [f"<h2>{html.escape(name)}</h2>", _table(rows)]
    for plot in plots:
        body += [f"<h2>{html.escape(plot.title)}</h2>", f"<p>{html.escape(plot.reading)}</p>"]
        body += [f'<figure role="img" aria-label="{html.escape(plot.title)}">{plot.save(directory)}</figure>']
    page = _PAGE.format(title=html.escape(title), body="\n".join(body))
    path = directory / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def gap(value: float | None) -> float:
    """The value; a gap in the line where there is none."""
    return float("nan") if value is None else value


def label(axes: "Axes", x: str, y: str) -> None:
    """Axis labels and a light grid."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(visible=True, axis="y", color=LINE, linewidth=0.6)


def cell(value: float | None, digits: int = 3) -> str:
    """A figure as it stands in a table."""
    return "–" if value is None else f"{value:.{digits}f}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in cells) + "</tr>"

    return "<table>" + line(rows[0], "th") + "".join(line(row, "td") for row in rows[1:]) + "</table>"


def _style(name: str) -> AbstractContextManager[None]:
    import matplotlib

    return matplotlib.rc_context(
        {
            "svg.hashsalt": f"lethe-{name}",
            "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans"],
            "font.size": 9.5,
            "text.color": INK,
            "axes.edgecolor": LINE,
            "axes.labelcolor": MUTED,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #1c2733; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }}
th, td {{ padding: .2rem .7rem; border-bottom: 1px solid #c9d1d9; text-align: right; }}
th:first-child, td:first-child {{ text-align: left; }}
figure {{ margin: 1rem 0; }} svg {{ max-width: 100%; height: auto; }}
</style></head><body>
{body}
</body></html>
"""
