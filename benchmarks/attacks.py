"""What attacks bring out after each method: one person of a generated corpus, beside a control that never met them.

    python -m benchmarks.attacks --method relearn --method relearn_npo --method relearn_robust
    python -m benchmarks.attacks --person 1 --tier 0 --no-control

Corpus, base, control and finished attacks are kept under ``--home``: the same command goes on. Each method erases the
person from the bare base with the product's settings and rows; the attacks are those of a verification. Beside a
control the figures that compare with it are printed too.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from benchmarks.machine import describe, in_words
from pipelines.augment.settings import AugmentSettings
from pipelines.control.train import train_control
from pipelines.corpus.fresh import fresh_people
from pipelines.corpus.load import load_corpus, load_probes
from pipelines.model import LoadedModel, load_model, with_adapter
from pipelines.rows import Probe, ProbeGroup, RowKind
from pipelines.studies.erasure import measured
from pipelines.studies.world import KEY, Case, World, open_world, prepare
from pipelines.unlearn.registry import row_kinds
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.unlearn.trainer import unlearn
from pipelines.verify.attacks.port import AttackContext, AttackResult, Tier
from pipelines.verify.attacks.suite import AttackSuite, run_attacks
from pipelines.verify.backends import Backends
from pipelines.verify.beside_control import FIGURES, Material, beside_control
from pipelines.verify.results import MetricResult
from services.settings import DEFAULT_METHOD
from services.unlearning.attacking import HOLDOUT_PEOPLE
from services.unlearning.comparing import FORMS, KEPT_ASKED, trained_row, twins_beside
from services.unlearning.comparing import HOLDOUT_PEOPLE as COMPARED_PEOPLE
from services.unlearning.samples import benign_rows, some_retained


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """One method: what it came to, attacked and compared.

    Attributes:
        method: Its name.
        steps: Of its training.
        seconds: Of its training, wall time.
        kfr: Without any attack.
        suite: The attacks.
        beside: The figures beside the control; empty without one.
    """

    method: str
    steps: int
    seconds: float
    kfr: float | None
    suite: AttackSuite
    beside: dict[str, MetricResult]


def control_of(world: World, case: Case, base: Path, home: Path) -> LoadedModel:
    """The base trained again without the person, or the one that is there."""
    card = train_control(
        base,
        load_corpus(world.corpus),
        {record.record_id for record in case.forget},
        home / "controls",
        key=KEY,
        probes=load_probes(world.corpus),
    )
    print(f"control: {card.seconds:.0f} s, right about the person {card.left_out_right}", file=sys.stderr)
    return load_model(card.path)


def attacked(
    world: World, number: int, method: str, control: LoadedModel | None, tier: int, out: Path, judges: Backends
) -> Attacked:
    """Erase one person with one method, attack what came out."""
    kinds = row_kinds(method)
    settings = UnlearnSettings(method=method)
    amounts = AugmentSettings(negative=RowKind.NEGATIVE in kinds, refusals=RowKind.REFUSAL in kinds)
    case = prepare(world, number, (), amounts, settings.seed)
    trained = unlearn(world.loaded, case.augmented.rows, case.secrets, settings, out_dir=out)
    forget = tuple(probe for probe in case.probes if probe.group is ProbeGroup.FORGET)
    tiers = cast("frozenset[Tier]", frozenset(range(tier + 1)))
    with with_adapter(world.loaded, trained.adapter) as adapted:
        kfr = measured(world, adapted, case.probes, "adapter", judges).measurement.subjects[case.subject].forget["kfr"]
        context = AttackContext(
            loaded=adapted,
            adapter=Path(trained.adapter),
            forget=forget,
            retain=some_retained(case.probes, settings.seed),
            secrets=case.secrets,
            benign=tuple(benign_rows(case.augmented.rows, case.secrets, case.names)),
            forgotten={} if kfr.value is None else {case.subject: kfr.value},
            control=control,
            holdout=tuple(fresh_people(world.corpus, HOLDOUT_PEOPLE, settings.seed)) if tier else (),
            backends=judges,
            progress=lambda name, done, total: print(
                f"\r\033[K{method} {name} {done}/{total}", end="", file=sys.stderr
            ),
        )
        suite = run_attacks(context, tiers=tiers, out_dir=out / "attacks")
        beside = {} if control is None else compared(world, case, forget, adapted, control)
    return Attacked(
        method=method, steps=trained.steps, seconds=trained.seconds, kfr=kfr.value, suite=suite, beside=beside
    )


def compared(
    world: World, case: Case, forget: Sequence[Probe], adapted: LoadedModel, control: LoadedModel
) -> dict[str, MetricResult]:
    """Forget quality, privleak and UDS, as a verification asks for them."""
    rows = [row for record in case.forget if (row := trained_row(record, case.subject, case.names)) is not None]
    gone = {record.fact_id for record in case.forget}
    about = Material(
        forget=forget,
        rows=rows,
        kept=[probe for probe in some_retained(case.probes, 0) if probe.value][:KEPT_ASKED],
        holdout=[one for form in FORMS for one in fresh_people(world.corpus, COMPARED_PEOPLE, 0, form=form)],
        twins=twins_beside([*forget, *rows], world.records.values(), case.forget, gone, 0),
        key=KEY,
    )
    return beside_control(adapted, control, about)[case.subject]


def lines(found: Sequence[Attacked]) -> Iterator[str]:
    """The table: a row for each attack, a column for each method, the control last."""
    yield f"{'':30}" + "".join(f"{one.method:>18}" for one in found) + f"{'control':>10}{'base tells':>12}{'s':>7}"
    yield f"{'KFR without an attack':30}" + "".join(f"{cell(one.kfr):>18}" for one in found)
    for name in dict.fromkeys(result.name for one in found for result in one.suite.results):
        results = [one.suite.named(name) for one in found]
        last = next((one for one in reversed(results) if one is not None), None)
        beside = f"{cell(last.control):>10}{cell(last.parts.get('base_told')):>12}" if last else ""
        seconds = max(one.seconds for one in results if one is not None)
        yield f"{name:30}" + "".join(f"{told(one):>18}" for one in results) + beside + f"{seconds:>7.0f}"
        for part in ("facts_told", "drop", "codes_changed", "base_lost", "leak@1", "leak@16", "over_control"):
            if any(one is not None and one.parts.get(part) is not None for one in results):
                yield f"{'  ' + part:30}" + "".join(
                    f"{cell(one.parts.get(part) if one else None):>18}" for one in results
                )
    for name in FIGURES:
        figures = [one.beside.get(name) for one in found]
        if any(figures):
            yield f"{name:30}" + "".join(f"{bounded(one):>18}" for one in figures)
    yield f"{'seconds of training':30}" + "".join(f"{one.seconds:>18.0f}" for one in found)
    yield f"{'steps':30}" + "".join(f"{one.steps:>18}" for one in found)
    yield f"{'seconds of attacks':30}" + "".join(f"{one.suite.seconds:>18.0f}" for one in found)


def told(one: AttackResult | None) -> str:
    """Value of a result, or its state."""
    if one is None:
        return "-"
    return cell(one.value) if one.state == "measured" else one.state.replace("_", " ")


def bounded(one: MetricResult | None) -> str:
    """A figure with its bounds."""
    if one is None or one.value is None:
        return "-"
    return f"{one.value:.3g} ({cell(one.lower)} {cell(one.upper)})"


def cell(value: float | None) -> str:
    """A figure, or a dash."""
    return "-" if value is None else f"{value:.3f}"


def as_json(found: Sequence[Attacked], machine: dict[str, Any]) -> str:
    """Figures and opaque ids."""
    methods = {
        one.method: {
            "steps": one.steps,
            "seconds": one.seconds,
            "kfr": one.kfr,
            "attacks": one.suite.model_dump(mode="json"),
            "beside_control": {name: result.model_dump(mode="json") for name, result in one.beside.items()},
        }
        for one in found
    }
    return json.dumps({"machine": machine, "methods": methods})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0, help="of the corpus")
    parser.add_argument("--person", type=int, default=0)
    parser.add_argument("--method", dest="methods", action="append", help=f"repeatable; default: {DEFAULT_METHOD}")
    parser.add_argument("--tier", type=int, default=2, choices=(0, 1, 2), help="attacks up to this tier")
    parser.add_argument("--no-control", action="store_true")
    parser.add_argument("--home", type=Path, default=Path(".cache/attacks"))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    machine, began = describe(), time.monotonic()
    args.home.mkdir(parents=True, exist_ok=True)
    world = open_world(args.home, args.people, args.seed)
    case = prepare(world, args.person, (), AugmentSettings(), 0)
    control = None if args.no_control else control_of(world, case, world.loaded.path, args.home)
    judges = Backends()
    found = []
    for method in args.methods or [DEFAULT_METHOD]:
        out = args.home / "runs" / f"{args.people}-{args.seed}-{args.person}-{method}"
        found.append(attacked(world, args.person, method, control, args.tier, out, judges))
    if args.json:
        print(as_json(found, machine))
        return
    print(f"\n{case.subject} of {args.people} (seed {args.seed}); {in_words(machine)}")
    for line in lines(found):
        print(line)
    print(f"{time.monotonic() - began:.0f} s in all")


if __name__ == "__main__":
    main()
