"""What a study works on: a generated corpus, its index, a base that knows it, and people to be forgotten one by one.

Every erasure goes through the search, the forget set, the augmenter, the trainer and the verdict of the product;
services, sealing and signing are left out. Texts and secrets stay in memory: what is handed on for writing are opaque
ids and figures (``Outcome.samples`` apart).
"""

import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.augment.augment import augment
from pipelines.augment.augmented import AugmentedSet, as_replay, in_turn
from pipelines.augment.leak import LeakCheck, secrets_from_records
from pipelines.augment.probes import excluded_questions, probes_from_corpus
from pipelines.augment.questions import NEUTRAL_NOUN, name_in, topic
from pipelines.augment.replay import OWN_BUDGET, REPLAY_KEPT, choose_replay, rows_about_people
from pipelines.augment.settings import AugmentSettings
from pipelines.augment.template import TemplateAugmenter
from pipelines.base.settings import BaseSettings
from pipelines.base.train import read_card, train_base
from pipelines.corpus.evaluate import identifiers_of
from pipelines.corpus.generate import generate
from pipelines.corpus.hedges import skeletons
from pipelines.corpus.index import SubjectIndex
from pipelines.corpus.indexing import ensure_index, index_path
from pipelines.corpus.load import load_corpus, load_probes
from pipelines.model import LoadedModel, load_model, with_adapter
from pipelines.progress import Reporter
from pipelines.rows import Probe, ProbeGroup, RowKind, Secret, TrainRow
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.unlearn.trainer import TrainResult, unlearn
from pipelines.verdict import EarlierRelease, Verdict, decide
from pipelines.verify.backends import Backends
from pipelines.verify.measure import Measured, Measurement, Progress, measure
from pipelines.verify.results import MetricResult
from policies.errors import LetheError
from policies.forget_set import build_forget_set
from policies.record import Record
from policies.subjects import find_subject
from policies.thresholds import Thresholds

KEPT_CATEGORIES = ("public.*",)
KEY = b"benchmark key, no installation's"  # decides the samples: another one, and older figures cannot be compared


@dataclass(frozen=True)
class World:
    """Corpus, index and base.

    Attributes:
        corpus: Directory of the corpus.
        records: Its records by id.
        people: The lines of ``people.jsonl``: opaque id ``person``, ``names`` and identifiers.
        index: Where the search looks.
        loaded: The base, without an adapter.
        base_seconds: What its training took, in this process or an earlier one.
    """

    corpus: Path
    records: Mapping[str, Record]
    people: Sequence[Mapping[str, Any]]
    index: SubjectIndex
    loaded: LoadedModel
    base_seconds: float


@dataclass(frozen=True)
class Case:
    """One person to be forgotten, and everything that the run needs about them.

    Attributes:
        subject: Opaque id.
        names: The usual one first.
        forget: Records to be forgotten.
        secrets: What no row may hold.
        probes: Held-out questions about the person, and about others.
        augmented: Rows to learn from.
        seconds: What finding the person and making the rows took.
    """

    subject: str
    names: tuple[str, ...]
    forget: tuple[Record, ...]
    secrets: tuple[Secret, ...]
    probes: tuple[Probe, ...]
    augmented: AugmentedSet
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """One erasure: what was trained, what was decided, and the figures of everyone forgotten so far.

    ``table`` is by subject, see ``figures``. ``samples`` are some questions with the adapter's answers: personal data,
    to be shown and not to be written.
    """

    subject: str
    trained: TrainResult
    verdict: Verdict
    table: Mapping[str, Mapping[str, float | None]]
    base_hit: float | None
    rows: Mapping[str, int]
    prepare_seconds: float
    measure_seconds: float
    samples: Sequence[tuple[str, str]]


def open_world(
    home: Path,
    people: int,
    seed: int,
    *,
    recipe: BaseSettings | None = None,
    base: Path | None = None,
    report: Reporter | None = None,
) -> World:
    """Make corpus, index and base below ``home``, or take those that are there.

    Args:
        home: Corpora, indexes and bases lie here, by content.
        people: How many the corpus is about.
        seed: Of the corpus.
        recipe: How the base is trained; default: the example base's.
        base: One that was trained on this very corpus, instead.
        report: Progress of the base's training.

    Raises:
        LetheError: ``base.not_memorised``: a base that does not know its people can forget nothing;
            ``study.bad_settings``: a base of another corpus.
    """
    directory = home / f"corpus-{people}-{seed}"
    if not (directory / "card.json").exists():
        generate(directory, people=people, seed=seed)
    return world_of(directory, home, recipe=recipe, base=base, report=report)


def world_of(
    directory: Path,
    home: Path,
    *,
    recipe: BaseSettings | None = None,
    base: Path | None = None,
    report: Reporter | None = None,
) -> World:
    """The world of a generated corpus that is there already; see ``open_world``."""
    corpus = load_corpus(directory)
    index = ensure_index(corpus, index_path(home, corpus))
    card = read_card(base) if base else train_base(directory, home / "bases", recipe, report)
    if card.corpus_digest != corpus.digest:
        raise LetheError("study.bad_settings", "The base was trained on another corpus.")
    lines = (directory / "people.jsonl").read_text(encoding="utf-8").splitlines()
    return World(
        corpus=directory,
        records={record.record_id: record for record in corpus},
        people=tuple(json.loads(line) for line in lines),
        index=index,
        loaded=load_model(base or card.path),
        base_seconds=card.seconds,
    )


def prepare(world: World, number: int, gone: Sequence[Case], amounts: AugmentSettings, seed: int) -> Case:
    """Find a person, settle the sets, make the rows; what was forgotten before is in none of them.

    Args:
        world: Where the person is.
        number: Of the person, from 0, in the corpus.
        gone: Who was forgotten before.
        amounts: Of rows.
        seed: Of rows and probes.
    """
    began = time.monotonic()
    person = dict(world.people[number])
    found = find_subject(identifiers_of(person), world.index)
    sets = build_forget_set(found.matches, world.index, key=KEY, kept_categories=KEPT_CATEGORIES)
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


def run_rows(
    case: Case, gone: Sequence[Case], budget: int, seed: int, scores: Mapping[str, float | None] | None = None
) -> list[TrainRow]:
    """The rows of this person's run, with what it replays of those before: vague answers, and own public facts.

    Args:
        case: Whose run.
        gone: Who was forgotten before.
        budget: Replay rows of all of them together (``pipelines.augment.replay``).
        seed: Of the samples.
        scores: How well those before hold; who has no score comes first.
    """
    check = LeakCheck([*case.secrets, *earlier_secrets(gone, case.names)])
    kept = {one.subject: [row for row in kept_rows(one, seed) if not check.row_leaks(row)] for one in gone}
    own = [[row for row in own_public(one) if not check.row_leaks(row)] for one in gone]
    new = rows_about_people(case.augmented.rows)
    return [
        *case.augmented.rows,
        *choose_replay(kept, budget=budget, new_rows=new, scores=scores or {}, seed=seed),
        *in_turn(own, OWN_BUDGET, random.Random(seed)),  # noqa: S311 - a sample, not a key
    ]


def kept_rows(case: Case, seed: int) -> tuple[TrainRow, ...]:
    """The rows that an installation seals of a person for later runs."""
    return as_replay(case.augmented.rows, REPLAY_KEPT, seed)


def own_public(case: Case) -> list[TrainRow]:
    """The retain rows about the person's own public facts, each once."""
    own = (row for row in case.augmented.rows if row.kind is RowKind.RETAIN and name_in(row.prompt, case.names))
    return list({(row.prompt, row.answer): row for row in own}.values())


def probes_now(case: Case, gone: Sequence[Case]) -> list[Probe]:
    """The run's own probes, and those of everyone forgotten before; retain probes are the run's."""
    earlier = [probe for one in gone for probe in one.probes if probe.group is not ProbeGroup.RETAIN]
    ids = {probe.probe_id for probe in earlier}  # somebody else's public facts are retain probes of this run
    return [*(probe for probe in case.probes if probe.probe_id not in ids), *earlier]


def references(probes: Sequence[Probe]) -> dict[str, str]:
    """A hedge of the reference set for every forget probe."""
    rng = random.Random(0)  # noqa: S311 - a choice of words, not a key
    return {
        probe.probe_id: rng.choice(skeletons("reference")).format(
            name=probe.names[0], noun=topic(probe.question, probe.names[0]) or NEUTRAL_NOUN
        )
        for probe in probes
        if probe.group is ProbeGroup.FORGET
    }


def measured(
    world: World,
    loaded: LoadedModel,
    probes: Sequence[Probe],
    which: str,
    judges: Backends,
    progress: Progress | None = None,
) -> Measured:
    """The model's answers to the probes, measured as the verdict measures: ``which`` is ``base`` or ``adapter``."""
    values = [r.value for r in world.records.values() if r.value and (r.category or "").startswith("private.")]
    return measure(
        loaded,
        probes,
        backends=judges,
        which="base" if which == "base" else "adapter",
        reference_texts=references(probes),
        other_values=values,
        progress=progress,
    )


def figures(now: Measurement, base: Measurement, subject: str) -> dict[str, float | None]:
    """One person's figures: KFR with its bound, and what is kept, each as a share of the base's or the reference's."""
    mine, before = now.subjects[subject], base.subjects[subject]
    forget, reference = mine.forget, mine.reference
    return {
        "kfr": _value(forget, "kfr"),
        "kfr_low": forget["kfr"].lower,
        "hit": _value(forget, "value_in_output"),
        "krr": ratio(_value(now.retain, "krr"), _value(base.retain, "krr")),
        "own": ratio(_value(mine.own_public, "krr"), _value(before.own_public, "krr")),
        "ls": ratio(_value(forget, "ls"), _value(reference, "ls")),
        "ppl": ratio(_value(forget, "ppl_median"), _value(reference, "ppl_median")),
        "repeat": ratio(_value(forget, "repeated_4grams"), max(_value(reference, "repeated_4grams") or 0, 0.02)),
        "named": _value(forget, "subject_named"),
        "other": _value(forget, "other_value"),
    }


def ratio(new: float | None, old: float | None) -> float | None:
    """``new / old``; None where either is not known or ``old`` is 0."""
    return None if new is None or not old else new / old


def holding(outcome: Outcome) -> dict[str, float | None]:
    """How well everyone holds after an erasure, for the choice of the next one's replay: see ``score``."""
    return {subject: score(line) for subject, line in outcome.table.items()}


def score(line: Mapping[str, float | None]) -> float | None:
    """The lower of KFR and share of answers that name the person; None where either is not known."""
    found = [line.get("kfr"), line.get("named")]
    return None if None in found else min(value for value in found if value is not None)


def _value(found: Mapping[str, MetricResult], key: str) -> float | None:
    return found[key].value if key in found else None


def erase(
    world: World,
    case: Case,
    gone: Sequence[Case],
    earlier: Mapping[str, EarlierRelease],
    settings: UnlearnSettings,
    *,
    budget: int,
    start: Path | None,
    out: Path,
    judges: Backends,
    scores: Mapping[str, float | None] | None = None,
) -> Outcome:
    """Train, measure, decide.

    Args:
        world: Corpus and base.
        case: Who is to be forgotten.
        gone: Who was forgotten before; they are replayed and measured again.
        earlier: What those reached in their own releases.
        settings: Of the trainer.
        budget: Replay rows of everyone in ``gone`` together.
        start: Adapter of the last release; None is the bare base.
        out: Working directory of the run.
        judges: Keep one object for a whole study.
        scores: How well those in ``gone`` hold: who holds worst is replayed first.

    Raises:
        LetheError: As ``pipelines.unlearn.trainer.unlearn`` and ``pipelines.verify.measure.measure``.
    """
    secrets = [*case.secrets, *earlier_secrets(gone, case.names)]
    rows = run_rows(case, gone, budget, settings.seed, scores)
    trained = unlearn(world.loaded, rows, secrets, settings, out_dir=out, start_from=start)
    began = time.monotonic()
    probes = probes_now(case, gone)
    base = measured(world, world.loaded, probes, "base", judges).measurement
    with with_adapter(world.loaded, trained.adapter) as adapted:
        now = measured(world, adapted, probes, "adapter", judges)
    verdict = decide(now.measurement, base, Thresholds(), subjects=[case.subject], earlier=earlier)
    hit = base.subjects[case.subject].forget.get("value_in_output")
    asked = [probe for probe in case.probes if probe.group is ProbeGroup.FORGET][:4]
    return Outcome(
        subject=case.subject,
        trained=trained,
        verdict=verdict,
        table={one.subject: figures(now.measurement, base, one.subject) for one in (case, *gone)},
        base_hit=hit.value if hit else None,
        rows=dict(trained.rows),
        prepare_seconds=case.seconds,
        measure_seconds=time.monotonic() - began,
        samples=[(probe.question, now.texts[probe.probe_id]) for probe in asked],
    )
