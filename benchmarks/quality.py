"""How well people are forgotten: the demo's corpus, one erasure after another, measured as a verdict measures.

    python -m benchmarks.quality --people 12 --erase 3 --seed 0
    python -m benchmarks.quality --seed 1 --first 2 --cold --set learning_rate=1e-2   # a trial on other people

Corpus and base are kept under ``--home``. Every erasure goes through the search, the forget set, the augmenter, the
trainer and the verdict of the product; services, sealing and signing are left out.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from pipelines.augment.augment import augment
from pipelines.augment.augmented import AugmentedSet, as_replay, in_turn
from pipelines.augment.leak import LeakCheck, secrets_from_records
from pipelines.augment.probes import excluded_questions, probes_from_corpus
from pipelines.augment.questions import NEUTRAL_NOUN, name_in, topic
from pipelines.augment.settings import AugmentSettings
from pipelines.augment.template import TemplateAugmenter
from pipelines.base.train import train_base
from pipelines.corpus.evaluate import identifiers_of
from pipelines.corpus.generate import generate
from pipelines.corpus.hedges import skeletons
from pipelines.corpus.indexing import ensure_index, index_path
from pipelines.corpus.load import load_corpus, load_probes
from pipelines.model import LoadedModel, load_model, with_adapter
from pipelines.rows import Probe, ProbeGroup, RowKind, Secret, TrainRow
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.unlearn.trainer import TrainResult, unlearn
from pipelines.verdict import EarlierRelease, Verdict, decide
from pipelines.verify.backends import Backends
from pipelines.verify.measure import Measured, Measurement, measure
from policies.forget_set import build_forget_set
from policies.record import Record
from policies.subjects import find_subject
from policies.thresholds import Thresholds

KEPT = ("public.*",)
KEY = b"benchmark key, no installation's"
REPLAY_BUDGET = 600
REPLAY_KEPT = 300
OWN_BUDGET = 300  # these three as in services/unlearning/operations.py
COLUMNS = ("kfr", "kfr_low", "hit", "krr", "own", "ls", "ppl", "repeat", "named", "other")


@dataclass(frozen=True)
class Case:
    """One person to be forgotten, and everything that the run needs about them."""

    subject: str
    names: tuple[str, ...]
    forget: tuple[Record, ...]
    secrets: tuple[Secret, ...]
    probes: tuple[Probe, ...]
    augmented: AugmentedSet
    seconds: float


@dataclass(frozen=True)
class World:
    """Corpus, index and base."""

    corpus: Path
    records: dict[str, Record]
    people: list[dict[str, Any]]
    index: Any
    loaded: LoadedModel
    base_seconds: float


def open_world(home: Path, people: int, seed: int) -> World:
    """Make corpus, index and base, or take those that are there."""
    directory = home / f"corpus-{people}-{seed}"
    if not (directory / "card.json").exists():
        generate(directory, people=people, seed=seed)
    corpus = load_corpus(directory)
    index = ensure_index(corpus, index_path(home, corpus))
    card = train_base(directory, home / "bases", report=None)
    lines = (directory / "people.jsonl").read_text(encoding="utf-8").splitlines()
    return World(
        directory,
        {record.record_id: record for record in corpus},
        [json.loads(line) for line in lines],
        index,
        load_model(card.path),
        card.seconds,
    )


def prepare(world: World, number: int, gone: Sequence[Case], amounts: AugmentSettings, seed: int) -> Case:
    """Find the person, settle the sets, make the rows; what was forgotten before is in none of them."""
    began = time.monotonic()
    person = world.people[number]
    found = find_subject(identifiers_of(person), world.index)
    sets = build_forget_set(found.matches, world.index, key=KEY, kept_categories=KEPT)
    before = {record.record_id for case in gone for record in case.forget}
    facts_before = {record.fact_id for case in gone for record in case.forget}

    def pick(ids: Sequence[str]) -> list[Record]:
        return [world.records[one] for one in ids if one not in before]

    forget, exempt, neighbours = pick(sets.forget), pick(sets.exempt), pick(sets.neighbours)
    names = tuple(person["names"])
    everyone = [*names, *(name for case in gone for name in case.names)]
    secrets = secrets_from_records(forget, everyone, [*neighbours, *pick(sets.retain)])
    known = [*secrets, *earlier_secrets(gone, names)]
    probes = load_probes(world.corpus)
    chosen = probes_from_corpus(
        probes,
        subject=person["person"],
        names=names,
        forget_facts={record.fact_id for record in forget},
        own_public_facts={record.fact_id for record in exempt},
        secrets=known,
        seed=seed,
        forgotten_before=facts_before,
    )
    augmented = augment(
        forget,
        subject=person["person"],
        names=names,
        neighbours=neighbours,
        retain=[*exempt, *pick(sets.retain)],
        generic=pick(sets.generic),
        probes_excluded=excluded_questions(probes),
        augmenter=TemplateAugmenter(),
        settings=amounts,
        seed=seed,
        secrets=known,
    )
    return Case(person["person"], names, tuple(forget), secrets, chosen, augmented, time.monotonic() - began)


def earlier_secrets(gone: Sequence[Case], names: Sequence[str]) -> list[Secret]:
    """What was forgotten before; a name is no secret, or somebody who shared a record could never be asked about."""
    return [replace(one, allowed=(*names, *one.allowed)) for case in gone for one in case.secrets]


def run_rows(case: Case, gone: Sequence[Case], budget: int, seed: int) -> list[TrainRow]:
    """The rows of this person's run, with what it replays of those before: vague answers, and own public facts."""
    check = LeakCheck([*case.secrets, *earlier_secrets(gone, case.names)])
    kept = [row for one in gone for row in as_replay(one.augmented.rows, REPLAY_KEPT, seed)]
    own = [[row for row in _own_public(one) if not check.row_leaks(row)] for one in gone]
    return [
        *case.augmented.rows,
        *as_replay([row for row in kept if not check.row_leaks(row)], budget, seed),
        *in_turn(own, OWN_BUDGET, random.Random(seed)),
    ]


def _own_public(case: Case) -> list[TrainRow]:
    own = (row for row in case.augmented.rows if row.kind is RowKind.RETAIN and name_in(row.prompt, case.names))
    return list({(row.prompt, row.answer): row for row in own}.values())


def probes_now(case: Case, gone: Sequence[Case]) -> list[Probe]:
    """The run's own probes, and those of everyone forgotten before; retain probes are the run's."""
    earlier = [probe for one in gone for probe in one.probes if probe.group is not ProbeGroup.RETAIN]
    ids = {probe.probe_id for probe in earlier}  # somebody else's public facts are retain probes of this run
    return [*(probe for probe in case.probes if probe.probe_id not in ids), *earlier]


def references(probes: Sequence[Probe]) -> dict[str, str]:
    """A hedge of the reference set for every forget probe."""
    rng = random.Random(0)
    return {
        probe.probe_id: rng.choice(skeletons("reference")).format(
            name=probe.names[0], noun=topic(probe.question, probe.names[0]) or NEUTRAL_NOUN
        )
        for probe in probes
        if probe.group is ProbeGroup.FORGET
    }


def measured(world: World, loaded: LoadedModel, probes: Sequence[Probe], which: str, judges: Backends) -> Measured:
    """As the verdict measures."""
    values = [r.value for r in world.records.values() if r.value and (r.category or "").startswith("private.")]
    return measure(
        loaded,
        probes,
        backends=judges,
        which="base" if which == "base" else "adapter",
        reference_texts=references(probes),
        other_values=values,
    )


def figures(now: Measurement, base: Measurement, subject: str) -> dict[str, float | None]:
    """One line of the table."""
    mine, before = now.subjects[subject], base.subjects[subject]

    def ratio(new: float | None, old: float | None) -> float | None:
        return None if new is None or not old else new / old

    def value(found: Any, key: str) -> float | None:
        return found[key].value if key in found else None

    forget, reference = mine.forget, mine.reference
    return {
        "kfr": value(forget, "kfr"),
        "kfr_low": forget["kfr"].lower,
        "hit": value(forget, "value_in_output"),
        "krr": ratio(value(now.retain, "krr"), value(base.retain, "krr")),
        "own": ratio(value(mine.own_public, "krr"), value(before.own_public, "krr")),
        "ls": ratio(value(forget, "ls"), value(reference, "ls")),
        "ppl": ratio(value(forget, "ppl_median"), value(reference, "ppl_median")),
        "repeat": ratio(value(forget, "repeated_4grams"), max(value(reference, "repeated_4grams") or 0, 0.02)),
        "named": value(forget, "subject_named"),
        "other": value(forget, "other_value"),
    }


@dataclass(frozen=True)
class Outcome:
    """One erasure."""

    subject: str
    trained: TrainResult
    verdict: Verdict
    table: dict[str, dict[str, float | None]]
    base_hit: float | None
    rows: dict[str, int]
    prepare_seconds: float
    measure_seconds: float
    samples: list[tuple[str, str]]


def erase(
    world: World,
    case: Case,
    gone: Sequence[Case],
    earlier: dict[str, EarlierRelease],
    settings: UnlearnSettings,
    *,
    budget: int,
    start: Path | None,
    out: Path,
    judges: Backends,
) -> Outcome:
    """Train, measure, decide."""
    secrets = [*case.secrets, *earlier_secrets(gone, case.names)]
    rows = run_rows(case, gone, budget, settings.seed)
    trained = unlearn(world.loaded, rows, secrets, settings, out_dir=out, start_from=start)
    began = time.monotonic()
    probes = probes_now(case, gone)
    base = measured(world, world.loaded, probes, "base", judges).measurement
    with with_adapter(world.loaded, trained.adapter) as adapted:
        now = measured(world, adapted, probes, "adapter", judges)
    verdict = decide(now.measurement, base, Thresholds(), subjects=[case.subject], earlier=earlier)
    table = {one.subject: figures(now.measurement, base, one.subject) for one in (case, *gone)}
    hit = base.subjects[case.subject].forget.get("value_in_output")
    asked = [probe for probe in case.probes if probe.group is ProbeGroup.FORGET][:4]
    return Outcome(
        case.subject,
        trained,
        verdict,
        table,
        hit.value if hit else None,
        dict(trained.rows),
        case.seconds,
        time.monotonic() - began,
        [(probe.question, now.texts[probe.probe_id]) for probe in asked],
    )


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


def parsed(texts: Sequence[str], made: Any) -> Any:
    """Settings with ``name=value`` changes."""
    kinds = {field.name: type(getattr(made, field.name)) for field in fields(made)}
    changes = dict(text.split("=", 1) for text in texts)
    return replace(
        made, **{name: kinds[name](float(v)) if kinds[name] is int else kinds[name](v) for name, v in changes.items()}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--erase", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="number of the first person to be erased")
    parser.add_argument("--seed", type=int, default=0, help="of the corpus")
    parser.add_argument("--method", default="relearn")
    parser.add_argument("--cold", action="store_true", help="erase each person from the bare base")
    parser.add_argument("--replay", type=int, default=REPLAY_BUDGET)
    parser.add_argument("--set", dest="training", action="append", default=[], help="a training setting, name=value")
    parser.add_argument("--amount", action="append", default=[], help="an augmentation setting, name=value")
    parser.add_argument("--home", type=Path, default=Path(".cache/quality"))
    parser.add_argument("--samples", action="store_true", help="print some answers")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.home.mkdir(parents=True, exist_ok=True)
    world = open_world(args.home, args.people, args.seed)
    settings = parsed(args.training, UnlearnSettings(method=args.method))
    amounts = parsed(args.amount, AugmentSettings(negative=args.method != "relearn"))
    judges = Backends()
    gone: list[Case] = []
    earlier: dict[str, EarlierRelease] = {}
    outcomes: list[Outcome] = []
    start: Path | None = None
    for number in range(args.first, args.first + args.erase):
        case = prepare(world, number, gone, amounts, settings.seed)
        out = args.home / "runs" / f"{os.getpid()}-{number}"
        outcome = erase(world, case, gone, earlier, settings, budget=args.replay, start=start, out=out, judges=judges)
        outcomes.append(outcome)
        if not args.json:
            show(outcome, samples=args.samples)
            sys.stdout.flush()
        if not args.cold:
            start = Path(outcome.trained.adapter)
            line = outcome.table[case.subject]
            earlier[case.subject] = EarlierRelease(kfr=line["kfr"] or 0.0, own_public=line["own"])
            gone.append(case)
    if args.json:
        print(
            json.dumps(
                {
                    "base_seconds": world.base_seconds,
                    "settings": asdict(settings),
                    "erasures": [
                        {
                            "subject": o.subject,
                            "outcome": o.verdict.outcome,
                            "steps": o.trained.steps,
                            "seconds": o.trained.seconds,
                            "rows": o.rows,
                            "table": o.table,
                        }
                        for o in outcomes
                    ],
                }
            )
        )


if __name__ == "__main__":
    main()
