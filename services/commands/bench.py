"""``lethe bench``: every method on a public data set, with controls and attacks, as a table, a page and a JSON."""

import inspect
import json
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from services.commands.training import quiet_threads

if TYPE_CHECKING:
    from pipelines.bench.run import Told
    from pipelines.bench.settings import BenchSettings
    from pipelines.bench.sources import Dataset

app = typer.Typer(no_args_is_help=True, help="Compare every unlearning method on a public data set.")

Out = Annotated[Path | None, typer.Option(help="Where units, result.json and page lie; default: beside LETHE_HOME.")]
Quick = Annotated[bool, typer.Option("--quick", help="12 people, stored settings, one seed, leak@32: a smoke run.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Units at a time; default: one for each core, on a GPU one.")]
Methods = Annotated[list[str] | None, typer.Option("--method", help="Only this method; may be given again.")]
Base = Annotated[str, typer.Option("--base", help="A directory or hub name to fine-tune; default: train from nothing.")]
Tune = Annotated[Literal["full", "lora"], typer.Option(help="How --base is tuned: full, or lora (merged afterwards).")]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What every data set's command takes beside where its rows are; nothing given is None, or the recipe's default."""

    out: Out = None
    quick: Quick = False
    jobs: Jobs = None
    method: Methods = None
    base: Base = "scratch"
    tune: Tune = "full"
    tune_rate: TuneRate = 2e-5
    tune_epochs: TuneEpochs = 5
    hidden: Hidden = None
    layers: Layers = None
    device: Device = None
    seeds: Seeds = None
    trials: Trials = None
    samples: Samples = None
    people: People = None
    attack_seeds: AttackSeeds = None
    as_json: Json = False

    def settings(self, **changes: Any) -> "BenchSettings":
        """The settings of a run; ``changes`` are those of the data set."""
        from dataclasses import replace

        from pipelines.bench.settings import BenchSettings, quick_settings

        given = {
            "seeds": tuple(range(self.seeds)) if self.seeds else None,
            "methods": tuple(self.method) if self.method else None,
            **{name: getattr(self, name) for name in ("trials", "samples", "people", "attack_seeds", "device")},
        }
        changes |= {name: value for name, value in given.items() if value is not None}
        made = quick_settings(**changes) if self.quick else BenchSettings(**changes)
        shape = made.recipe.scratch
        if self.hidden:
            width = self.hidden
            shape = replace(shape, hidden=width, heads=width // 32, intermediate=width * 8 // 3)
        recipe = replace(
            made.recipe,
            scratch=replace(shape, layers=self.layers or shape.layers),
            source=self.base,
            tune=self.tune,
            tune_rate=self.tune_rate,
            tune_epochs=self.tune_epochs,
        )
        return replace(made, recipe=recipe)


def takes_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options of ``Options``, which reach it as one argument."""
    shared = [
        inspect.Parameter(
            one.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=one.type,
            default=inspect.Parameter.empty if one.default is MISSING else one.default,
        )
        for one in fields(Options)
    ]
    own = [one for name, one in inspect.signature(command).parameters.items() if name != "options"]
    names = {one.name for one in shared}

    def called(**given: Any) -> None:
        mine = {name: value for name, value in given.items() if name not in names}
        command(**mine, options=Options(**{name: given[name] for name in names}))

    called.__name__, called.__doc__ = command.__name__, command.__doc__
    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own] + shared
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {one.name: one.annotation for one in parameters}
    return called


@app.command()
@takes_options
def knowundo(
    data: Annotated[Path, typer.Option(help="Directory with full.json, unlearn_train.json and the other three.")],
    options: Options,
) -> None:
    """KnowUnDo, or any directory of its form: every method, the controls, attacks of tiers 0 and 1."""
    quiet_threads()
    from pipelines.bench.sources import load_knowundo

    _run(load_knowundo(data), options.settings(), options, "knowundo")


@app.command()
@takes_options
def tofu(
    data: Annotated[str, typer.Option(help="Directory with forgetXX and retainXX, or a name on the hub.")],
    options: Options,
    split: Annotated[str, typer.Option(help="forget01, forget05 or forget10.")] = "forget10",
) -> None:
    """TOFU, from the hub or a local copy. Its validation questions are those that are erased, as its paper has it."""
    quiet_threads()
    from pipelines.bench.sources import load_tofu

    _run(load_tofu(data, split), options.settings(val_limit=200), options, f"tofu-{split}")


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


def _run(data: "Dataset", settings: "BenchSettings", options: Options, name: str) -> None:
    from pipelines.bench.run import run_benchmark
    from pipelines.bench.text import lines

    out = options.out or _default(name, options.quick)
    out.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["lethe", *sys.argv[1:]])
    result = run_benchmark(
        data,
        settings,
        out,
        jobs=options.jobs,
        command=command,
        tell=_show,
        so_far=lambda found: _write(found, out),
    )
    _write(result, out)
    if options.as_json:
        print(json.dumps(result, allow_nan=False))
        return
    for line in lines(result):
        print(line)
    print(f"\n{out / 'result.html'}\n{out / 'result.json'}")


def _write(result: dict[str, Any], out: Path) -> None:
    """Result and page, each in one step: whoever looks while a run goes on sees a whole one."""
    from pipelines.bench.page import render_page

    texts = {"result.json": json.dumps(result, indent=1, allow_nan=False) + "\n", "result.html": render_page(result)}
    for name, text in texts.items():
        draft = out / f".{name}"
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, out / name)


def _show(told: "Told") -> None:
    """What runs and what has ended on stderr, with the expected rest."""
    rest = f"{told.eta_seconds / 60:.0f} min left"
    units = ", ".join(told.units)
    line = f"[{told.done}/{told.planned}] {units}"
    if told.seconds is None:
        line += f" ... {rest}"
    else:
        line += f": {'kept' if told.kept else f'{told.seconds:.0f} s'}; {rest}"
    print(line, file=sys.stderr, flush=True)


def _default(name: str, quick: bool) -> Path:
    home = Path(os.environ.get("LETHE_HOME", ".lethe"))
    return home / "bench" / (f"{name}-quick" if quick else name)
