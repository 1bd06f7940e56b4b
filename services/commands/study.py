"""``lethe study``: questions about unlearning that no single erasure answers, on invented people."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.commands.training import quiet_threads

if TYPE_CHECKING:
    from pipelines.progress import StepProgress

app = typer.Typer(no_args_is_help=True, help="Studies on invented people: a stream of erasures, exposure over steps.")

Out = Annotated[
    Path | None, typer.Option(help="Directory of the study; an unfinished one goes on. Default below home.")
]
Home = Annotated[Path | None, typer.Option(help="Where corpora and bases lie; default: studies/ in LETHE_HOME.")]
Base = Annotated[Path | None, typer.Option(help="A base that was trained on this very corpus; default: trained here.")]
Seed = Annotated[int, typer.Option(help="Of the corpus.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="A setting of the trainer, name=value; repeatable.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.callback()
def study() -> None:
    """Studies on invented people: a stream of erasures, exposure over steps."""


@app.command()
def stream(
    erasures: Annotated[int, typer.Option(min=1, help="People forgotten, one after another.")] = 30,
    out: Out = None,
    method: Annotated[str | None, typer.Option(help="Unlearning method; default: the product's.")] = None,
    way: Annotated[
        list[str] | None, typer.Option(help="ours, summed, restart; repeatable. ours is always run. Default: all.")
    ] = None,
    rest_people: Annotated[int, typer.Option(min=1, help="People who are never forgotten.")] = 6,
    people: Annotated[int | None, typer.Option(min=2, help="Of the corpus; default: erasures + rest-people.")] = None,
    replay: Annotated[int, typer.Option(min=0, help="Replay rows of everyone before together.")] = 600,
    compact_every: Annotated[int, typer.Option(min=0, help="Train anew from the base after so many; 0: never.")] = 10,
    retry_misses: Annotated[bool, typer.Option(help="Train anew from the base where a warm start misses.")] = True,
    point: Annotated[
        list[int] | None, typer.Option(help="Measure restart and summed after this erasure; repeatable.")
    ] = None,
    combination: Annotated[str, typer.Option(help="How adapters are added up: cat (exact) or linear.")] = "cat",
    forget_probes: Annotated[int, typer.Option(min=1, help="Probes of each person's forgotten facts.")] = 60,
    own_probes: Annotated[int, typer.Option(min=0, help="Probes of each person's own public facts.")] = 20,
    rest_probes: Annotated[int, typer.Option(min=1, help="Probes about people who are never forgotten.")] = 200,
    seed: Seed = 0,
    training: Sets = None,
    home: Home = None,
    base: Base = None,
    as_json: Json = False,
) -> None:
    """Forget people one after another; after each ask everyone again. Writes result.json, plots and index.html."""
    quiet_threads()
    from pipelines.studies.follow import ProbeAmounts
    from pipelines.studies.overrides import overridden
    from pipelines.studies.stream import WAYS, StreamSettings, StreamStudy
    from pipelines.studies.world import open_world
    from pipelines.unlearn.registry import row_kinds
    from pipelines.unlearn.settings import UnlearnSettings
    from services.settings import DEFAULT_METHOD

    method = method or DEFAULT_METHOD
    settings = StreamSettings(
        erasures=erasures,
        rest_people=rest_people,
        ways=tuple(way) if way else WAYS,  # type: ignore[arg-type]  # StreamSettings looks at it
        replay=replay,
        compact_every=compact_every,
        retry_misses=retry_misses,
        points=tuple(point) if point else StreamSettings().points,
        combination=combination,  # type: ignore[arg-type]
        probes=ProbeAmounts(forget=forget_probes, own=own_probes, rest=rest_probes),
        training=overridden(UnlearnSettings(method=method), training or ()),
    )
    row_kinds(method)  # an unknown method is refused before a base is trained
    place = home or _home()
    place.mkdir(parents=True, exist_ok=True)
    world = open_world(place, people or erasures + rest_people, seed, base=base, report=_show_step)
    directory = out or place / f"stream-{world.loaded.digest[:12]}-{method}"
    found = StreamStudy(world, settings, directory, told=_tell, training=_show_step).run()
    _give_stream(found, directory, as_json=as_json)


def _give_stream(found: dict[str, Any], directory: Path, *, as_json: bool) -> None:
    """Write the result with its page, and print it."""
    from pipelines.studies.stream_page import write_stream_page
    from pipelines.studies.stream_result import lines, retries, targets

    found |= {"lines": [one._asdict() for one in lines(found["erasures"])]}
    found |= {"targets": [one._asdict() for one in targets(found["erasures"], device=found["device"])]}
    _write(directory / "result.json", found)
    page = write_stream_page(found, directory / "page")
    if as_json:
        print(json.dumps(found))
        return
    columns = {"kfr_mean": "KFR", "kfr_worst": "worst", "drop": "fell", "named_worst": "named", "rest": "rest"}
    heads = "".join(f"{head:>8}" for head in columns.values())
    print(f"{'way':<9}{'after':>6}{heads}{'train s':>9}{'verify s':>9}")
    for line in found["lines"]:
        shares = "".join(f"{_cell(line[name], 3):>8}" for name in columns)
        seconds = "".join(f"{_cell(line[name], 1):>9}" for name in ("train_seconds", "verify_seconds"))
        print(f"{line['way']:<9}{line['number']:>6}{shares}{seconds}")
    again, took = retries(found["erasures"])
    print(f"trained again from the base since the warm start missed a limit: {again}, {took:.0f} s in all")
    for target in found["targets"]:
        limit, state = f"limit {target['limit']:g}", target["state"].replace("_", " ")
        print(f"{target['name']}: {_cell(target['value'], 3)} ({limit}): {state}; {target['note']}")
    print(f"page: {page}")


def _cell(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


@app.command()
def exposure(
    facts: Annotated[int, typer.Option(min=6, help="Size of each forget set; below 30 nothing is decided.")] = 60,
    people: Annotated[int, typer.Option(min=2, help="Of the corpus.")] = 12,
    looks: Annotated[int, typer.Option(min=1, help="Checkpoints of each run.")] = 20,
    ascent_steps: Annotated[int, typer.Option(min=1, help="Steps of gradient ascent.")] = 60,
    relearn_steps: Annotated[int, typer.Option(min=1, help="Steps of ReLearn.")] = 240,
    tau: Annotated[float, typer.Option(help="Nats a token within which exposure counts as none.")] = 0.1,
    out: Out = None,
    seed: Seed = 0,
    training: Sets = None,
    ascent: Annotated[
        list[str] | None, typer.Option("--set-ascent", help="A setting of gradient ascent, name=value; repeatable.")
    ] = None,
    home: Home = None,
    base: Base = None,
    as_json: Json = False,
) -> None:
    """Exposure and utility while a model unlearns people's facts, or canaries: formulas are a reconstruction."""
    quiet_threads()
    from dataclasses import replace

    from pipelines.studies.exposure_page import write_exposure_page
    from pipelines.studies.exposure_result import crossings
    from pipelines.studies.exposure_settings import ExposureSettings
    from pipelines.studies.exposure_study import ExposureStudy, exposure_world
    from pipelines.studies.overrides import overridden

    plain = ExposureSettings()
    settings = replace(
        plain,
        facts=facts,
        looks=looks,
        steps={plain.ascent.method: ascent_steps, plain.relearn.method: relearn_steps},
        tau=tau,
        seed=seed,
        ascent=overridden(plain.ascent, ascent or ()),
        relearn=overridden(plain.relearn, training or ()),
    )
    place = home or _home()
    place.mkdir(parents=True, exist_ok=True)
    world = exposure_world(place, people, facts, seed, base=base, report=_show_step)
    directory = out or place / f"exposure-{world.loaded.digest[:12]}"
    controls = place / "controls"
    found = ExposureStudy(world, settings, directory, controls=controls, told=_tell, training=_show_step).run()
    table = crossings(found)
    found["crossings"] = [one._asdict() for one in table]
    _write(directory / "result.json", found)
    page = write_exposure_page(found, directory / "page")
    if as_json:
        print(json.dumps(found))
        return
    print(f"{'method':<13}{'set':<5}{'stratum':<17}{'n':>4}{'|GenEx|<tau':>13}{'GenEx 0':>9}{'utility':>9}{'end':>7}")
    for one in table:
        cells = (one.zero_at, one.utility_at_zero, one.utility_end)
        zero, useful, end = (f"{cell:.2f}" if cell is not None else "–" for cell in cells)
        near = "–" if one.steps_to_tau is None else str(one.steps_to_tau)
        print(f"{one.method:<13}{one.forget_set:<5}{one.stratum:<17}{one.n:>4}{near:>13}{zero:>9}{useful:>9}{end:>7}")
    print(found["note"])
    print(f"page: {page}")


def _home() -> Path:
    return Path(os.environ.get("LETHE_HOME", ".lethe")) / "studies"


def _write(path: Path, found: dict[str, Any]) -> None:
    from services.whole_file import write_whole

    write_whole(path, (json.dumps(found, indent=1) + "\n").encode(), mode=0o644)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _show_step(progress: "StepProgress") -> None:
    if progress.step % 25 == 0 or progress.step == progress.steps:
        losses = "  ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
        _tell(f"  step {progress.step}/{progress.steps}  {losses}  {progress.eta_seconds:.0f} s left")
