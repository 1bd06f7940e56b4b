"""``lethe verify``: score answers that stand in a file, and attack an adapter."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from policies.errors import LetheError

if TYPE_CHECKING:
    from pipelines.verify.attacks.port import AttackResult
    from pipelines.verify.attacks.suite import AttackSuite
    from pipelines.verify.score import Likelihood
    from pipelines.verify.scores import Reckoned

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


@app.command()
def attacks(
    base: Annotated[Path, typer.Option(help="Directory of the base.")],
    adapter: Annotated[Path, typer.Option(help="Directory of the LoRA adapter.")],
    probes: Annotated[Path, typer.Option(help="JSONL: question, answer, fact; optional value, subject, names, group.")],
    control: Annotated[Path | None, typer.Option(help="A model that never saw the subjects, to compare with.")] = None,
    tier: Annotated[int, typer.Option(min=0, max=2, help="Attacks up to this tier.")] = 0,
    only: Annotated[list[str] | None, typer.Option(help="Only this attack; repeatable.")] = None,
    out: Annotated[Path | None, typer.Option(help="Keep each finished attack here, and go on behind them.")] = None,
    nli_model: Annotated[str | None, typer.Option(help="Path or hub name of an NLI classifier; default: none.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Attack any adapter by hand, and print what came out; no text of an answer is printed or written."""
    from services.commands.training import quiet_threads

    quiet_threads()
    from pipelines.model import load_model, with_adapter
    from pipelines.rows import ProbeGroup, Secret
    from pipelines.verify.attacks.port import AttackContext
    from pipelines.verify.attacks.suite import run_attacks
    from pipelines.verify.backends import make_backends
    from pipelines.verify.probe_file import read_probes

    asked = read_probes(probes)
    forget = tuple(probe for probe in asked if probe.group is ProbeGroup.FORGET)
    loaded = load_model(base)
    with with_adapter(loaded, adapter) as attacked:
        context = AttackContext(
            loaded=attacked,
            adapter=adapter,
            forget=forget,
            retain=tuple(probe for probe in asked if probe.group is ProbeGroup.RETAIN),
            secrets=tuple(Secret(fact=p.fact, answers=(p.answer,), value=p.value, allowed=p.names) for p in forget),
            control=load_model(control, device=loaded.device, dtype=loaded.dtype) if control else None,
            backends=make_backends(embedding_model=None, nli_model=nli_model),
            progress=None if as_json else _show_attack,
        )
        tiers: frozenset[Any] = frozenset(range(tier + 1))
        suite = run_attacks(context, tiers=tiers, only=only or (), out_dir=out)
    if as_json:
        typer.echo(suite.model_dump_json())
        return
    for line in _attack_lines(suite):
        typer.echo(line)


@app.command()
def scores(
    what: Annotated[str, typer.Argument(help="A ticket's id (t-…), or the path of a file that --out wrote.")],
    out: Annotated[Path | None, typer.Option(help="Write the scores to this file; it holds ids and figures.")] = None,
    digest: Annotated[str | None, typer.Option(help="The digest in the report, which a file must have.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Reckon the figures of a ticket's verdict from the score of each probe again; a file needs no installation."""
    from pipelines.verify.scores import digest_of, parse_scores, reckon

    text, stated = _scores_text(what)
    found, its = parse_scores(text), digest_of(text)
    if {stated, digest} - {None, its}:
        raise LetheError("verify.other_scores", f"These scores have the digest {its}, not the one stated.")
    if out is not None:
        _write_scores(out, text)
    rows = list(reckon(found))
    if as_json:
        figures = [
            {"model": row.model, "group": row.group, "outcome": row.outcome, "why": row.why}
            | row.metric.model_dump(exclude={"items"})
            for row in rows
        ]
        typer.echo(json.dumps({"digest": its, "subject": found.subject, "figures": figures}, allow_nan=False))
    else:
        for line in _score_lines(rows):
            typer.echo(line)
        typer.echo(f"digest {its}")
    if any(row.outcome == "differs" for row in rows):
        raise typer.Exit(1)


def _scores_text(what: str) -> tuple[bytes, str | None]:
    """The scores, and the digest that the verification stated where a ticket is asked."""
    if Path(what).exists() or not what.startswith("t-"):
        try:
            return Path(what).read_bytes(), None
        except OSError as error:
            raise LetheError("score.unreadable", "The file of scores cannot be read.") from error
    from services.commands.key import opened_store
    from services.verdict_scores import open_scores

    with opened_store(with_keys=True) as store:
        return open_scores(store, what, actor="system:cli")


def _write_scores(out: Path, text: bytes) -> None:
    from services.whole_file import write_whole

    try:
        write_whole(out.absolute(), text, mode=0o600)
    except OSError as error:
        raise LetheError("score.unwritable", "The file of scores cannot be written.") from error


def _score_lines(rows: "list[Reckoned]") -> Iterator[str]:
    head = f"{'model':<9}{'group':<12}{'metric':<22}{'better':<8}"
    yield f"{head}{'value':>10}{'95 % bounds':>22}{'n':>6}  from its scores"
    for row in rows:
        one = row.metric
        value = "–" if one.value is None else f"{one.value:.4f}"
        between = "" if one.lower is None or one.upper is None else f"{one.lower:.4f} … {one.upper:.4f}"
        told = {"same": ", ".join(filter(None, ("the same", row.why))), "differs": "DIFFERS", "not_reckoned": row.why}[
            row.outcome
        ]
        head = f"{row.model:<9}{row.group:<12}{one.key:<22}{one.direction:<8}"
        yield f"{head}{value:>10}{between:>22}{one.n:>6}  {told}"
    counted = Counter(row.outcome for row in rows)
    told = f"{counted['same']} follow from their scores, {counted['differs']} differ"
    yield f"{told}, {counted['not_reckoned']} cannot be reckoned from them"
    yield "not among them: attacks, what stands beside a control, people forgotten earlier"


def _show_attack(name: str, done: int, total: int) -> None:
    typer.echo(f"\r\033[K{name} {done}/{total}", err=True, nl=False)


def _attack_lines(suite: "AttackSuite") -> Iterator[str]:
    yield f"{'attack':<34}{'tier':>4}  {'measure':<13}{'before':>8}{'value':>8}{'control':>9}{'n':>6}{'seconds':>9}"
    for one in suite.results:
        if one.state != "measured":
            yield f"{one.name:<34}{one.tier:>4}  {one.state.replace('_', ' ')}: {one.note or 'no reason given'}"
            continue
        figures = "".join(f"{'–' if v is None else f'{v:.3f}':>{w}}" for v, w in _columns(one))
        yield f"{one.name:<34}{one.tier:>4}  {one.measure or '':<13}{figures}{one.n:>6}{one.seconds:>9.1f}"
    yield f"{len(suite.results)} results in {suite.seconds:.1f} s"


def _columns(one: "AttackResult") -> tuple[tuple[float | None, int], ...]:
    return (one.before, 8), (one.value, 8), (one.control, 9)


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
