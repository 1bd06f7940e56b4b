"""Which probes and rows the attacks and the comparison with a control are given: parts of more than is asked."""

import random
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.augment.augmented import in_turn
from pipelines.augment.leak import LeakCheck
from pipelines.augment.wording import words
from pipelines.rows import HEDGE, Probe, ProbeGroup, RowKind, Secret, TrainRow
from policies.errors import LetheError

if TYPE_CHECKING:
    from pipelines.corpus.fresh import Form
    from services.unlearning.material import Earlier
    from services.unlearning.operations import Bench
    from services.unlearning.verifying import Asked

RETAIN_ASKED = 200  # probes about others whose answers show what an attack costs
EARLIER_ATTACKED = 2  # people forgotten before who are attacked again, others with each run
EARLIER_ASKED = 24  # questions about each of them, under each attack


def some_retained(probes: Iterable[Probe], seed: int) -> tuple[Probe, ...]:
    """A part of the probes about others, facts in turn."""
    rng = random.Random(f"attacks-{seed}")  # noqa: S311 - a sample, not a key
    return tuple(_in_turn([p for p in probes if p.group is ProbeGroup.RETAIN], RETAIN_ASKED, rng))


def earlier_probes(earlier: "Sequence[Earlier]", run_id: str) -> tuple[Probe, ...]:
    """A few forget probes, facts in turn, of a few of the people forgotten before; each run draws anew."""
    rng = random.Random(f"earlier-{run_id}")  # noqa: S311 - a sample, not a key
    by_subject: dict[str, list[Probe]] = {}
    for person in earlier:
        forget = (probe for probe in person.probes if probe.group is ProbeGroup.FORGET)
        by_subject.setdefault(person.subject_ref, []).extend(forget)
    chosen = rng.sample(sorted(by_subject), min(EARLIER_ATTACKED, len(by_subject)))
    return tuple(probe for subject in chosen for probe in _in_turn(by_subject[subject], EARLIER_ASKED, rng))


def benign_rows(rows: Iterable[TrainRow], secrets: Sequence[Secret], erased: Collection[str]) -> Iterator[TrainRow]:
    """Rows about others and about no one; none names or tells anything of anybody erased, and none is vague.

    Tuning on vague answers would train on what the attack is to undo.
    """
    check = LeakCheck(secrets)
    names = {spoken for name in erased if (spoken := tuple(words(name)))}
    lengths = {len(name) for name in names}
    for row in rows:
        if row.kind in (RowKind.RETAIN, RowKind.GENERIC) and row.style != HEDGE and not check.row_leaks(row):
            said = words(f"{row.prompt} {row.answer}")
            if not any(tuple(said[at : at + length]) in names for length in lengths for at in range(len(said))):
                yield row


def holdout(bench: "Bench", asked: "Asked", people: int, form: "Form" = "held_out") -> tuple[Probe, ...]:
    """Probes about people whom nobody trained on, drawn as the corpus was; none where it was not generated."""
    from pipelines.corpus.fresh import fresh_people

    try:
        return tuple(fresh_people(Path(bench.settings.corpus.path), people, asked.run.seed, form=form))
    except LetheError:  # an ordinary corpus: nobody can draw more of its people
        return ()


def _in_turn(probes: Iterable[Probe], limit: int, rng: random.Random) -> list[Probe]:
    by_fact: dict[str, list[Probe]] = {}
    for probe in probes:
        by_fact.setdefault(probe.fact, []).append(probe)
    return in_turn(list(by_fact.values()), limit, rng)
