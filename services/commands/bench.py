"""``lethe bench``: every method on a public data set, with controls and attacks, as a table, a page and a JSON."""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.commands.training import quiet_threads

if TYPE_CHECKING:
    from pipelines.bench.settings import BenchSettings
    from pipelines.bench.sources import Dataset
    from pipelines.bench.units import Told

app = typer.Typer(no_args_is_help=True, help="Compare every unlearning method on a public data set.")

Out = Annotated[Path | None, typer.Option(help="Where units, result.json and page lie; default: beside LETHE_HOME.")]
Quick = Annotated[bool, typer.Option("--quick", help="12 people, stored settings, one seed, leak@32: a smoke run.")]
Methods = Annotated[list[str] | None, typer.Option("--method", help="Only this method; may be given again.")]
Base = Annotated[str, typer.Option("--base", help="A directory or hub name to fine-tune; default: train from nothing.")]
Tune = Annotated[str, typer.Option(help="How --base is tuned: full, or lora (merged afterwards).")]
TuneRate = Annotated[float, typer.Option(min=0.0, help="Learning rate of tuning --base.")]
TuneEpochs = Annotated[int, typer.Option(min=1, help="Passes of tuning --base.")]
Hidden = Annotated[int | None, typer.Option(min=32, help="Width of a base from nothing; a multiple of 32.")]
Layers = Annotated[int | None, typer.Option(min=1, help="Its depth.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda; default: the GPU where there is one.")]
Seeds = Annotated[int | None, typer.Option(min=1, help="Final seeds of base and unlearning; default 3, quick 1.")]
Trials = Annotated[int | None, typer.Option(min=0, max=6, help="Trials of each method's search; default 3, quick 0.")]
Samples = Annotated[int | None, typer.Option(min=1, help="Of leak@k; default 128, quick 32.")]
People = Annotated[int | None, typer.Option(min=2, help="Only the first so many subjects.")]
AttackSeeds = Annotated[int | None, typer.Option(min=0, help="So many seeds of each method are attacked; default 1.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object instead of the table.")]


@app.command()
def knowundo(
    data: Annotated[Path, typer.Option(help="Directory with full.json, unlearn_train.json and the other three.")],
    out: Out = None,
    quick: Quick = False,
    method: Methods = None,
    base: Base = "scratch",
    tune: Tune = "full",
    tune_rate: TuneRate = 2e-5,
    tune_epochs: TuneEpochs = 5,
    hidden: Hidden = None,
    layers: Layers = None,
    device: Device = None,
    seeds: Seeds = None,
    trials: Trials = None,
    samples: Samples = None,
    people: People = None,
    attack_seeds: AttackSeeds = None,
    as_json: Json = False,
) -> None:
    """KnowUnDo, or any directory of its form: every method, the controls, attacks of tiers 0 and 1."""
    quiet_threads()
    from pipelines.bench.sources import load_knowundo

    tuned = {"source": base, "tune": tune, "tune_rate": tune_rate, "tune_epochs": tune_epochs}
    given = _given(seeds, trials, samples, people, attack_seeds, method, device)
    settings = _settings(quick, given, tuned, hidden, layers)
    _run(load_knowundo(data), settings, out or _default("knowundo", quick), as_json)


@app.command()
def tofu(
    data: Annotated[str, typer.Option(help="Directory with forgetXX and retainXX, or a name on the hub.")],
    split: Annotated[str, typer.Option(help="forget01, forget05 or forget10.")] = "forget10",
    out: Out = None,
    quick: Quick = False,
    method: Methods = None,
    base: Base = "scratch",
    tune: Tune = "full",
    tune_rate: TuneRate = 2e-5,
    tune_epochs: TuneEpochs = 5,
    hidden: Hidden = None,
    layers: Layers = None,
    device: Device = None,
    seeds: Seeds = None,
    trials: Trials = None,
    samples: Samples = None,
    people: People = None,
    attack_seeds: AttackSeeds = None,
    as_json: Json = False,
) -> None:
    """TOFU, from the hub or a local copy. Its validation questions are those that are erased, as its paper has it."""
    quiet_threads()
    from pipelines.bench.sources import load_tofu

    tuned = {"source": base, "tune": tune, "tune_rate": tune_rate, "tune_epochs": tune_epochs}
    given = {"val_limit": 200, **_given(seeds, trials, samples, people, attack_seeds, method, device)}
    settings = _settings(quick, given, tuned, hidden, layers)
    _run(load_tofu(data, split), settings, out or _default(f"tofu-{split}", quick), as_json)


@app.command()
def page(
    result: Annotated[Path, typer.Argument(help="A result.json of an earlier run.")],
    out: Annotated[Path | None, typer.Option(help="The page; default: beside the result.")] = None,
) -> None:
    """Write the HTML page of a result anew."""
    from pipelines.bench.page import render_page

    target = out or result.with_name("result.html")
    target.write_text(render_page(json.loads(result.read_text(encoding="utf-8"))), encoding="utf-8")
    typer.echo(str(target))


def _given(
    seeds: int | None,
    trials: int | None,
    samples: int | None,
    people: int | None,
    attack_seeds: int | None,
    method: list[str] | None,
    device: str | None,
) -> dict[str, Any]:
    """The options that were given, as settings."""
    found = {
        "seeds": tuple(range(seeds)) if seeds else None,
        "trials": trials,
        "samples": samples,
        "people": people,
        "attack_seeds": attack_seeds,
        "methods": tuple(method) if method else None,
        "device": device,
    }
    return {name: value for name, value in found.items() if value is not None}


def _settings(
    quick: bool, given: dict[str, Any], tuned: dict[str, Any], hidden: int | None, layers: int | None
) -> "BenchSettings":
    from dataclasses import replace

    from pipelines.bench.settings import BenchSettings, quick_settings

    made = quick_settings(**given) if quick else BenchSettings(**given)
    shape = {"hidden": hidden, "heads": hidden // 32 if hidden else None, "layers": layers}
    shape |= {"intermediate": hidden * 8 // 3 if hidden else None}
    scratch = replace(made.recipe.scratch, **{name: value for name, value in shape.items() if value is not None})
    return replace(made, recipe=replace(made.recipe, scratch=scratch, **tuned))


def _run(data: "Dataset", settings: "BenchSettings", out: Path, as_json: bool) -> None:
    from pipelines.bench.page import render_page
    from pipelines.bench.run import run_benchmark
    from pipelines.bench.text import lines

    out.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["lethe", *sys.argv[1:]])
    result = run_benchmark(data, settings, out, command=command, tell=_show)
    (out / "result.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (out / "result.html").write_text(render_page(result), encoding="utf-8")
    if as_json:
        print(json.dumps(result, allow_nan=False))
        return
    for line in lines(result):
        print(line)
    print(f"\n{out / 'result.html'}\n{out / 'result.json'}")


def _show(told: "Told") -> None:
    """One line a unit on stderr, with the expected rest."""
    minutes = f"{told.eta_seconds / 60:.0f} min left"
    if told.seconds is None:
        line = f"[{told.done}/{told.planned}] {told.unit} ... {minutes}"
    else:
        line = (
            f"[{told.done}/{told.planned}] {told.unit}: {'kept' if told.kept else f'{told.seconds:.0f} s'}; {minutes}"
        )
    print(line, file=sys.stderr, flush=True)


def _default(name: str, quick: bool) -> Path:
    home = Path(os.environ.get("LETHE_HOME", ".lethe"))
    return home / "bench" / (f"{name}-quick" if quick else name)
