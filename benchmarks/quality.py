"""How well people are forgotten: the demo's corpus, one erasure after another, measured as a verdict measures.

    python -m benchmarks.quality --people 12 --erase 3 --seed 0
    python -m benchmarks.quality --seed 1 --first 2 --cold --set learning_rate=1e-2   # a trial on other people

Corpus and base are kept under ``--home``. Every erasure goes through the search, the forget set, the augmenter, the
trainer and the verdict of the product (``pipelines/studies``); services, sealing and signing are left out.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pipelines.augment.replay import REPLAY_BUDGET
from pipelines.augment.settings import AugmentSettings
from pipelines.rows import RowKind
from pipelines.studies.erasure import Outcome, erase, holding
from pipelines.studies.overrides import overridden
from pipelines.studies.world import Case, open_world, prepare
from pipelines.unlearn.registry import row_kinds
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.verdict import EarlierRelease
from pipelines.verify.backends import Backends
from services.settings import DEFAULT_METHOD

COLUMNS = ("kfr", "kfr_low", "hit", "krr", "own", "ls", "ppl", "repeat", "named", "other")


def show(outcome: Outcome, *, samples: bool) -> None:
    """Print one erasure."""
    trained = outcome.trained
    print(
        f"\n{outcome.subject}: {trained.method}, {'warm' if trained.warm else 'cold'}, {trained.steps} steps in "
        f"{trained.seconds:.0f} s ({trained.tokens_per_second:,.0f} answer tokens/s); rows made in "
        f"{outcome.prepare_seconds:.0f} s, measured in {outcome.measure_seconds:.0f} s; {outcome.rows}"
    )
    print("         " + "".join(f"{name:>9}" for name in COLUMNS))
    for subject, line in outcome.table.items():
        cells = (line[name] for name in COLUMNS)
        print(f"  {subject:7}" + "".join(f"{'-' if cell is None else f'{cell:.3f}':>9}" for cell in cells))
    print(f"  {outcome.verdict.outcome}: " + " ".join(outcome.verdict.reasons))
    for question, answer in outcome.samples if samples else ():
        print(f"    {question}\n      -> {answer}")


def as_json(base_seconds: float, settings: UnlearnSettings, outcomes: Sequence[Outcome]) -> str:
    """Figures and opaque ids."""
    erasures = [
        {
            "subject": o.subject,
            "outcome": o.verdict.outcome,
            "steps": o.trained.steps,
            "seconds": o.trained.seconds,
            "rows": o.rows,
            "table": o.table,
        }
        for o in outcomes
    ]
    return json.dumps({"base_seconds": base_seconds, "settings": asdict(settings), "erasures": erasures})


def asked() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--erase", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="number of the first person to be erased")
    parser.add_argument("--seed", type=int, default=0, help="of the corpus")
    parser.add_argument("--method", default=DEFAULT_METHOD)
    parser.add_argument("--cold", action="store_true", help="erase each person from the bare base")
    parser.add_argument("--replay", type=int, default=REPLAY_BUDGET)
    parser.add_argument("--set", dest="training", action="append", default=[], help="a training setting, name=value")
    parser.add_argument("--amount", action="append", default=[], help="an augmentation setting, name=value")
    parser.add_argument("--home", type=Path, default=Path(".cache/quality"))
    parser.add_argument("--base", type=Path, help="a base that was trained on this very corpus; default: trained here")
    parser.add_argument("--samples", action="store_true", help="print some answers")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main() -> None:
    args = asked()
    args.home.mkdir(parents=True, exist_ok=True)
    settings = overridden(UnlearnSettings(method=args.method), args.training)
    kinds = row_kinds(args.method)  # an unknown method is refused before a base is trained
    plain = AugmentSettings(negative=RowKind.NEGATIVE in kinds, refusals=RowKind.REFUSAL in kinds)
    amounts = overridden(plain, args.amount)
    world = open_world(args.home, args.people, args.seed, base=args.base)
    judges = Backends()
    gone: list[Case] = []
    earlier: dict[str, EarlierRelease] = {}
    outcomes: list[Outcome] = []
    start: Path | None = None
    for number in range(args.first, args.first + args.erase):
        case = prepare(world, number, gone, amounts, settings.seed)
        outcome = erase(
            world,
            case,
            gone,
            earlier,
            settings,
            budget=args.replay,
            start=start,
            out=args.home / "runs" / f"{os.getpid()}-{number}",
            judges=judges,
            scores=holding(outcomes[-1]) if outcomes else None,
        )
        outcomes.append(outcome)
        if not args.json:
            show(outcome, samples=args.samples)
            sys.stdout.flush()
        if not args.cold:
            start = Path(outcome.trained.adapter)
            line = outcome.table[case.subject]
            earlier[case.subject] = EarlierRelease(
                kfr=line["kfr"] or 0.0, own_public=line["own"], named=line["named"], fluent=line["fluent"]
            )
            gone.append(case)
    if args.json:
        print(as_json(world.base_seconds, settings, outcomes))


if __name__ == "__main__":
    main()
