"""One self-contained HTML page of a result: no script, nothing loaded from anywhere."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pipelines.bench.plots import bars, scatter
from pipelines.bench.text import COLUMNS, cell

_TITLES = {"knowundo": "KnowUnDo", "tofu": "TOFU"}
_LEGEND = (
    "v: the data set's validation questions; p: phrasings that no row used. KRR and utility are shares of the base's. "
    "leak@k: chance that one of k sampled answers tells, with its upper 95 % bound. Hits after relearning: on facts "
    "that were not leaked, the worse of the numbers of steps. Over control: less the same figure of the model that "
    "never knew. Strength: how much of its change a method was left with (model mixing) to keep 95 % of the utility. "
    "A figure in brackets ranks after the others: no strength kept that much."
)
_HEADS = {
    "v_kfr": "KFR v",
    "p_kfr": "KFR p",
    "p_kfr_fluent": "KFR fluent p",
    "v_krr_ratio": "KRR v",
    "p_krr_ratio": "KRR p",
    "p_ls": "LS p",
    "p_es": "ES p",
    "p_gen_ex": "GenEx p",
    "p_rel_ex": "RelEx p",
    "leak": "leak@k",
    "leak_high": "its bound",
    "leak_over_control": "over control",
    "four_bit_drop": "KFR lost to 4 bits",
    "relearn": "hits after relearning",
    "relearn_over_control": "over control",
    "utility": "utility",
    "strength": "strength",
    "trained_utility": "utility as trained",
    "trained_p_kfr_fluent": "KFR fluent p as trained",
    "seconds": "seconds",
}


def render_page(result: Mapping[str, Any]) -> str:
    """The page of a result. Two renderings of one result are the same bytes; a figure that is missing is a dash."""
    from markupsafe import Markup

    first = next(iter(result["bases"].values()))["table"]
    figures = [row for row in first if row["combined"] is not None]
    plots = [
        ("Combined figure", bars([(_label(row), row["combined"], _colour(row)) for row in figures])),
        ("As trained: forgotten in fluent answers (unseen phrasings) against utility", scatter(_points(first))),
        ("leak@k over the control's, the closer to 0 the better", bars(_of(first, "leak_over_control"))),
        (
            "Hits after relearning over the control's, the closer to 0 the better",
            bars(_of(first, "relearn_over_control")),
        ),
    ]
    page: str = (
        _environment()
        .get_template("result.html.jinja")
        .render(
            result=result,
            title=_TITLES.get(result["data"]["form"], result["data"]["form"]),
            columns=[(_HEADS[name], name, places) for _, name, places in COLUMNS],
            legend=_LEGEND,
            # The SVG is ours; every text in it is a method's name or a number, escaped there.
            plots=[(title, Markup(svg)) for title, svg in plots if svg],  # noqa: S704
        )
    )
    return page


def _label(row: Mapping[str, Any]) -> str:
    return row["name"] if row["eligible"] else f"({row['name']})"


def _points(table: list[dict[str, Any]]) -> list[tuple[str, float, float, str]]:
    return [
        (row["name"], x, y, _colour(row))
        for row in table
        if (x := _as_trained(row, "utility")) is not None and (y := _as_trained(row, "p_kfr_fluent")) is not None
    ]


def _as_trained(row: Mapping[str, Any], name: str) -> float | None:
    figures: Mapping[str, float | None] = row["figures"]
    return figures.get(f"trained_{name}", figures.get(name))


def _of(table: list[dict[str, Any]], name: str) -> list[tuple[str, float, str]]:
    found = [(row["name"], row["figures"].get(name), _colour(row)) for row in table if row["kind"] not in _BESIDE]
    return [(label, value, colour) for label, value, colour in found if value is not None]


_BESIDE = ("base", "control")
_COLOURS = {"plain": "#2f6db3", "relearn": "#1a6b4a", "published": "#a8321f", "method": "#8794a1"}


def _colour(row: Mapping[str, Any]) -> str:
    return _COLOURS.get(row["kind"], "#1c2733")


@lru_cache(maxsize=1)
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pipelines.bench"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(cell=cell)
    return environment
