"""What a study works on: a generated corpus, its index, a base that knows it, and people to be forgotten one by one.

Every erasure goes through the search, the forget set, the augmenter, the trainer and the verdict of the product;
services, sealing and signing are left out. Texts and secrets stay in memory: what is handed on for writing are opaque
ids and figures.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.augment.augment import augment
from pipelines.augment.augmented import AugmentedSet, as_replay
from pipelines.augment.leak import LeakCheck
from pipelines.augment.probes import excluded_questions, probes_from_corpus
from pipelines.augment.questions import name_in
from pipelines.augment.replay import REPLAY_KEPT, Kept, replayed
from pipelines.augment.secrets import secrets_from_records
from pipelines.augment.settings import AugmentSettings
from pipelines.augment.template import TemplateAugmenter
from pipelines.base.settings import BaseSettings
from pipelines.base.train import read_card, train_base
from pipelines.corpus.evaluate import identifiers_of
from pipelines.corpus.generate import generate
from pipelines.corpus.index import SubjectIndex
from pipelines.corpus.indexing import ensure_index, index_path
from pipelines.corpus.load import load_corpus, load_probes
from pipelines.model import LoadedModel, load_model
from pipelines.progress import Reporter
from pipelines.rows import Probe, ProbeGroup, RowKind, Secret, TrainRow
from policies.errors import LetheError
from policies.forget_set import build_forget_set
from policies.record import Record
from policies.subjects import find_subject

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
    secrets = secrets_from_records(forget, everyone, [*neighbours, *pick(sets.retain)], whose=names)
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
    case: Case,
    gone: Sequence[Case],
    budget: int,
    seed: int,
    scores: Mapping[str, float | None] | None = None,
    *,
    from_base: bool = False,
) -> list[TrainRow]:
    """The rows of this person's run, with what it replays of those before, as an installation chooses it.

    Args:
        case: Whose run.
        gone: Who was forgotten before.
        budget: Replay rows of all of them together (``pipelines.augment.replay``).
        seed: Of the samples.
        scores: How well those before hold; who has no score comes first.
        from_base: Whether the training starts from the base: then all that is kept of everybody comes.
    """
    again = replayed(
        [kept_of(one, seed) for one in gone],
        LeakCheck([*case.secrets, *earlier_secrets(gone, case.names)]),
        new=case.augmented.rows,
        names={case.subject: case.names},
        scores=scores or {},
        from_base=from_base,
        seed=seed,
        budget=budget,
    )
    return [*case.augmented.rows, *again.rows]


def kept_of(case: Case, seed: int) -> Kept:
    """What an installation seals of a person for later runs."""
    rows = case.augmented.rows
    own = {
        (row.prompt, row.answer): row for row in rows if row.kind is RowKind.RETAIN and name_in(row.prompt, case.names)
    }
    raw = [row for row in rows if row.kind is RowKind.NEGATIVE]
    return Kept(case.subject, as_replay(rows, REPLAY_KEPT, seed), list(own.values()), raw, case.names)


def probes_now(case: Case, gone: Sequence[Case]) -> list[Probe]:
    """The run's own probes, and those of everyone forgotten before; retain probes are the run's."""
    earlier = [probe for one in gone for probe in one.probes if probe.group is not ProbeGroup.RETAIN]
    ids = {probe.probe_id for probe in earlier}  # somebody else's public facts are retain probes of this run
    return [*(probe for probe in case.probes if probe.probe_id not in ids), *earlier]
