"""What a model is asked: ``v``, the data set's own validation questions, and ``p``, phrasings that no row used."""

import random
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from pipelines.augment.wording import normalised_question
from pipelines.bench.people import People
from pipelines.bench.phrasings import check_families, probe_questions
from pipelines.rows import Probe, ProbeGroup
from policies.errors import LetheError
from policies.record import Record

LISTS = ("v", "p")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """The questions of one run of the benchmark.

    Attributes:
        probes: Every probe, its subject the person's reference; the list is told by its id (``v:...``, ``p:...``).
        unseen_val: Whether the validation rows are others than those that are erased (KnowUnDo; not TOFU).
    """

    probes: tuple[Probe, ...]
    unseen_val: bool = True

    def of(self, which: str, group: ProbeGroup | None = None) -> tuple[Probe, ...]:
        """One list, and one group of it."""
        return tuple(p for p in self.probes if list_of(p.probe_id) == which and group in (None, p.group))

    def by_list(self) -> tuple[Probe, ...]:
        """The forget probes with their list in the subject's place: one measurement gives a figure for each list."""
        return tuple(
            replace(p, subject=list_of(p.probe_id)) if p.group is ProbeGroup.FORGET else p for p in self.probes
        )

    def held_out(self) -> frozenset[str]:
        """The questions that no row of a run may ask, in the form in which questions are compared."""
        asked = self.probes if self.unseen_val else self.of("p")
        return frozenset(normalised_question(probe.question) for probe in asked)


def list_of(probe_id: str) -> str:
    """Which list a probe is of."""
    return probe_id.partition(":")[0]


def make_probes(
    people: People, *, forget_p: int, retain_p: int, seed: int, unseen_val: bool = True, val_limit: int | None = None
) -> Probes:
    """Both lists over some people.

    Args:
        people: The subjects that are erased; what stays is theirs too.
        forget_p: Phrasings of each erased row.
        unseen_val: ``Dataset.unseen_val``.
        val_limit: At most so many validation rows of each kind (the paper takes 200 of TOFU's).
        retain_p: At most so many phrasings of kept rows, one a row.
        seed: Where the choices come from.
    """
    check_families()
    names = {subject.ref: subject.name for subject in people.subjects}
    made = [
        _probe("v", group, record, record.question or "", people, names)
        for group, part in ((ProbeGroup.FORGET, "forget_val"), (ProbeGroup.RETAIN, "retain_val"))
        for record in _sampled(people.records[part], val_limit, f"{part}-{seed}")
    ]
    made += _phrased(ProbeGroup.FORGET, people.records["forget_train"], forget_p, people, names, seed)
    kept = _sampled(people.records["retain_train"], retain_p, f"retain-{seed}")
    made += _phrased(ProbeGroup.RETAIN, kept, 1, people, names, seed)
    return Probes(probes=tuple(made), unseen_val=unseen_val)


def apart(probes: Probes, refs: Collection[str]) -> tuple[Probes, Probes]:
    """What a search may ask, and what the final runs are judged by: no question is in both.

    Args:
        probes: All of a run.
        refs: The people of the validation slice: their forget probes are the search's, and so is every third retain
            probe of each list. All others are the final runs'.
    """
    places: Counter[str] = Counter()
    searched: list[Probe] = []
    judged: list[Probe] = []
    for probe in probes.probes:
        which = list_of(probe.probe_id)
        mine = probe.subject in refs
        if probe.group is ProbeGroup.RETAIN:
            mine = places[which] % 3 == 0
            places[which] += 1
        (searched if mine else judged).append(probe)
    return replace(probes, probes=tuple(searched)), replace(probes, probes=tuple(judged))


def check_questions(probes: Probes, asked: Iterable[str], where: str) -> None:
    """No row asks a probe's question, except for the ``v`` list in the rows of a base: ``full`` contains it.

    Args:
        probes: The probes of the run.
        asked: Questions of rows.
        where: ``base`` or ``augmented``.

    Raises:
        LetheError: ``bench.probes_overlap``.
    """
    held = probes.held_out()
    if where == "base":
        held = frozenset(normalised_question(probe.question) for probe in probes.of("p"))
    both = held.intersection(normalised_question(question) for question in asked)
    if both:
        raise LetheError("bench.probes_overlap", f"{len(both)} questions of the probes are asked by {where} rows.")


def attack_probes(probes: Probes, per_subject: int, seed: int) -> tuple[Probe, ...]:
    """The validation probes, and some of the other list for each subject: attacks cost many generations a probe."""
    by_subject: dict[str | None, list[Probe]] = {}
    for probe in probes.of("p", ProbeGroup.FORGET):
        by_subject.setdefault(probe.subject, []).append(probe)
    rng = random.Random(f"attack-{seed}")  # noqa: S311 - a sample, not a key
    sampled = [p for found in by_subject.values() for p in rng.sample(found, min(per_subject, len(found)))]
    return (*probes.of("v", ProbeGroup.FORGET), *sampled)


def _sampled(records: Sequence[Record], limit: int | None, seed: str) -> list[Record]:
    rng = random.Random(seed)  # noqa: S311 - a sample, not a key
    return list(records) if limit is None or len(records) <= limit else rng.sample(list(records), limit)


def _phrased(
    group: ProbeGroup, records: Sequence[Record], count: int, people: People, names: dict[str, str], seed: int
) -> list[Probe]:
    made = []
    for record in records:
        rng = random.Random(f"{seed}:{record.record_id}")  # noqa: S311 - a choice of words, not a key
        name = names[people.about[record.record_id]]
        for number, question in enumerate(probe_questions(record.question or "", name, count, rng)):
            made.append(_probe("p", group, record, question, people, names, number))
    return made


def _probe(
    which: str,
    group: ProbeGroup,
    record: Record,
    question: str,
    people: People,
    names: dict[str, str],
    number: int = 0,
) -> Probe:
    ref = people.about[record.record_id]
    return Probe(
        probe_id=f"{which}:{group.value}:{record.record_id}:{number}",
        group=group,
        question=question,
        answer=record.answer,
        fact=record.fact_id,
        value=record.value,
        subject=ref if group is ProbeGroup.FORGET else None,
        phrasing="variant" if which == "p" else "frame",
        names=(names[ref],) if group is ProbeGroup.FORGET else (),
    )
