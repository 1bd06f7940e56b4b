"""The two forget sets of the exposure study: facts from the distribution of the corpus, and canaries outside it."""

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from pipelines.augment.augment import augment
from pipelines.augment.augmented import AugmentedSet, merge
from pipelines.augment.probes import excluded_questions
from pipelines.augment.secrets import secrets_from_records
from pipelines.augment.settings import AugmentSettings
from pipelines.augment.template import TemplateAugmenter
from pipelines.corpus.load import CorpusProbe
from pipelines.rows import Probe, ProbeGroup, Secret, TrainRow
from pipelines.studies.canaries import Thing
from pipelines.studies.world import World
from policies.errors import LetheError
from policies.forget_set import NOBODY
from policies.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Whose facts are forgotten: a person, or a thing with canaries."""

    holder: str
    names: tuple[str, ...]
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetSide:
    """One of the two sets.

    Attributes:
        name: ``id`` or ``ood``.
        holders: Whose facts, with all records of the facts that are forgotten.
        items: One question with its gold answer for each fact, as trained.
    """

    name: str
    holders: tuple[Holder, ...]
    items: tuple[Probe, ...]

    @property
    def records(self) -> tuple[Record, ...]:
        """All records that are forgotten."""
        return tuple(record for holder in self.holders for record in holder.records)


def inside(world: World, facts: int, seed: int) -> ForgetSide:
    """Private facts drawn at random from all people, none of whose values stands in any other record.

    Raises:
        LetheError: ``study.bad_settings``: the corpus has too few such facts.
    """
    holders = {fact: person for person in world.people for fact in person["facts"]}
    of_fact: dict[str, list[Record]] = {}
    for record in world.records.values():
        of_fact.setdefault(record.fact_id, []).append(record)
    known = Counter(word for record in world.records.values() for word in {(record.value or "").casefold()})
    prose = " ".join(record.answer.casefold() for record in world.records.values() if record.question is None)
    able = [
        fact
        for fact, records in of_fact.items()
        if fact in holders
        and (records[0].category or "").startswith("private.")
        and records[0].question
        and (value := (records[0].value or "").casefold())
        and known[value] == len(records)
        and value not in prose
    ]
    if len(able) < facts:
        fault = f"{len(able)} private facts stand alone, {facts} are wanted"
        raise LetheError("study.bad_settings", "The study cannot be run like that.", (fault,))
    chosen = random.Random(f"inside-{seed}").sample(sorted(able), facts)  # noqa: S311 - a sample, not a key
    grouped: dict[str, list[Record]] = {}
    names: dict[str, tuple[str, ...]] = {}
    for fact in chosen:
        person = holders[fact]
        grouped.setdefault(person["person"], []).extend(of_fact[fact])
        names[person["person"]] = tuple(person["names"])
    return _side("id", [Holder(holder=h, names=names[h], records=tuple(r)) for h, r in sorted(grouped.items())])


def outside(things: Sequence[Thing]) -> ForgetSide:
    """The canaries."""
    return _side("ood", [Holder(holder=one.thing, names=(one.name,), records=one.records) for one in things])


def secrets_of(side: ForgetSide, kept: Sequence[Record]) -> list[Secret]:
    """What no row may hold, and whose it is; names are no secrets."""
    names = [name for holder in side.holders for name in holder.names]
    found = (
        one for holder in side.holders for one in secrets_from_records(holder.records, names, kept, whose=holder.names)
    )
    return [replace(one, allowed=tuple(dict.fromkeys((*names, *one.allowed)))) for one in found]


def rows_of(
    side: ForgetSide,
    world: World,
    other: Collection[str],
    probes: Sequence[CorpusProbe],
    secrets: Sequence[Secret],
    amounts: AugmentSettings,
    seed: int,
) -> tuple[TrainRow, ...]:
    """The rows to learn from: the augmented set of every holder, merged.

    Args:
        side: What is forgotten.
        world: Its corpus is kept but for the two sets.
        other: Ids of the records of the other set: neither forgotten nor kept.
        probes: The corpus' held-out questions, which no row may ask.
        secrets: Of the side.
        amounts: Of rows; those about others are shared among the holders.
        seed: Of the rows.
    """
    gone = {record.record_id for record in side.records} | set(other)
    kept = [record for key, record in world.records.items() if key not in gone]
    asked = [record for record in kept if record.question and record.category not in NOBODY]
    nobody = [record for record in kept if record.category == NOBODY[0]]
    share = len(side.holders)
    less = replace(amounts, retain_rows=max(1, amounts.retain_rows // share))
    excluded = excluded_questions(probes)
    sets: list[AugmentedSet] = []
    for holder in side.holders:
        rng = random.Random(f"rows-{seed}-{holder.holder}")  # noqa: S311 - a sample, not a key
        others = [record for record in asked if not _names(record, holder.names)]
        own = [record for record in asked if _names(record, holder.names)]
        sets.append(
            augment(
                holder.records,
                subject=holder.holder,
                names=holder.names,
                neighbours=rng.sample(others, min(len(others), 200)),
                retain=[*own, *rng.sample(others, min(len(others), 4 * less.retain_rows))],
                generic=nobody,
                probes_excluded=excluded,
                augmenter=TemplateAugmenter(),
                settings=less,
                seed=seed,
                secrets=secrets,
            )
        )
    return merge(sets).rows


def kept_items(world: World, gone: Collection[str], limit: int, seed: int) -> tuple[Probe, ...]:
    """Questions about facts that are kept, as trained: one a fact."""
    first: dict[str, Record] = {}
    for record in world.records.values():
        if record.question and record.value and record.fact_id not in gone:
            first.setdefault(record.fact_id, record)
    chosen = random.Random(f"kept-{seed}").sample(sorted(first), min(limit, len(first)))  # noqa: S311 - a sample
    return tuple(_item(first[fact], ProbeGroup.RETAIN, None) for fact in chosen)


def unseen_items(probes: Sequence[CorpusProbe], gone: Collection[str], limit: int, seed: int) -> tuple[Probe, ...]:
    """Questions about facts that are kept, on phrasings that were never trained."""
    able = [probe for probe in probes if probe.fact not in gone]
    chosen = random.Random(f"test-{seed}").sample(able, min(limit, len(able)))  # noqa: S311 - a sample, not a key
    return tuple(
        Probe(
            probe_id=one.probe_id,
            group=ProbeGroup.RETAIN,
            question=one.question,
            answer=one.answer,
            fact=one.fact,
            value=one.value,
        )
        for one in chosen
    )


def values_by_category(records: Mapping[str, Record]) -> set[str]:
    """Categories that have values."""
    return {record.category for record in records.values() if record.category and record.value}


def _names(record: Record, names: Sequence[str]) -> bool:
    text = f"{record.question} {record.answer}".casefold()
    return any(name.casefold() in text for name in names)


def _side(name: str, holders: Sequence[Holder]) -> ForgetSide:
    items: dict[str, Probe] = {}
    for holder in holders:
        for record in holder.records:
            if record.fact_id not in items:
                items[record.fact_id] = replace(_item(record, ProbeGroup.FORGET, holder.holder), names=holder.names)
    return ForgetSide(name=name, holders=tuple(holders), items=tuple(items.values()))


def _item(record: Record, group: ProbeGroup, subject: str | None) -> Probe:
    return Probe(
        probe_id=record.record_id,
        group=group,
        question=record.question or "",
        answer=record.answer,
        fact=record.fact_id,
        value=record.value,
        subject=subject,
        phrasing="trained",
    )
