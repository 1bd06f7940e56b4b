"""``lethe verify``: score answers that stand in a file."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pipelines.verify.score import Likelihood

_FIRST = ("kfr", "krr", "ls")  # what most readers look for

app = typer.Typer(no_args_is_help=True, help="Measure forgetting, retention and fluency.")


@app.callback()
def verify() -> None:
    """Measure forgetting, retention and fluency."""


@app.command()
def score(
    file: Annotated[Path | None, typer.Argument(help="JSON object with the lists forget and retain.")] = None,
    forget: Annotated[Path | None, typer.Option(help="JSON list of forget rows, instead of FILE.")] = None,
    retain: Annotated[Path | None, typer.Option(help="JSON list of retain rows, instead of FILE.")] = None,
    embedding_model: Annotated[str | None, typer.Option(help="Path or hub name; default: the packaged one.")] = None,
    nli_model: Annotated[str | None, typer.Option(help="Path or hub name of an NLI classifier; default: none.")] = None,
    ppl_model: Annotated[str | None, typer.Option(help="Path or hub name of the base, for perplexity.")] = None,
    items: Annotated[bool, typer.Option("--items", help="With --json: the score of every row too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print KFR, KRR, LS and their parts, as corrected by us, as in the paper, and as its code computes them."""
    from pipelines.verify.score import load_rows
    from pipelines.verify.score import score as run

    rows = load_rows(file, forget, retain)
    from pipelines.verify.backends import make_backends

    backends = make_backends(embedding_model=embedding_model, nli_model=nli_model)
    report = run(rows, backends, likelihood=_likelihood(ppl_model))
    if as_json:
        typer.echo(json.dumps(report if items else _without_items(report), allow_nan=False))
        return
    for line in _lines(report):
        typer.echo(line)


def _likelihood(model: str | None) -> "Likelihood | None":
    if model is None:
        return None
    from pipelines.model import load_model
    from pipelines.verify.measure import base_nll

    loaded = load_model(model)
    return lambda pairs: base_nll(loaded, pairs)


def _without_items(report: Mapping[str, Any]) -> dict[str, Any]:
    slim = dict(report)
    for name in ("forget", "retain"):
        if group := report[name]:
            metrics = {key: {k: v for k, v in m.items() if k != "items"} for key, m in group["metrics"].items()}
            slim[name] = {**group, "metrics": metrics}
    return slim


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    yield f"{'set':<8}{'metric':<18}{'mode':<11}{'value':>9}{'95 % bounds':>20}{'n':>6}{'undecided':>11}"
    notes: dict[str, None] = {}
    for name in ("forget", "retain"):
        group = report[name]
        if group is None:
            yield f"{name:<8}no rows were given"
            continue
        for metric in sorted(group["metrics"].values(), key=lambda metric: metric["name"] not in _FIRST):
            yield _line(name, metric)
            if metric["note"]:
                notes[f"{metric['name']}: {metric['note']}"] = None
        yield f"{name:<8}rows {group['rows']}, duplicates {group['duplicates']}, empty answers {group['empty_answers']}"
    yield "judges: " + ", ".join(f"{role} {judge}" for role, judge in report["backends"].items())
    yield from notes


def _line(name: str, metric: Mapping[str, Any]) -> str:
    head = f"{name:<8}{metric['name']:<18}{metric['mode'] or '':<11}"
    parts = metric["parts"]
    shown = f"   PPL {_part(parts, 'ppl')}  BI {_part(parts, 'bi')}  HS {_part(parts, 'hs')}" if parts else ""
    if metric["value"] is None:
        return head + f"{'not run' if metric['state'] == 'not_run' else '–':>9}{shown and ' ' * 37}{shown}"
    lower, upper = metric["lower"], metric["upper"]
    between = "" if lower is None or upper is None else f"{lower:.3f} … {upper:.3f}"
    return head + f"{metric['value']:>9.4f}{between:>20}{metric['n']:>6}{metric['undecided']:>11}{shown}"


def _part(parts: Mapping[str, float | None], name: str) -> str:
    value = parts.get(name)
    return "–" if value is None else f"{value:.2f}"
