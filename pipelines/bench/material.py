"""Everything that the methods learn from, made once: secrets, augmented rows of every kind, kept rows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipelines.augment.augment import augment
from pipelines.augment.augmented import AugmentedSet, merge
from pipelines.augment.leak import LeakCheck
from pipelines.augment.secrets import secrets_from_records
from pipelines.augment.settings import AugmentSettings
from pipelines.augment.template import TemplateAugmenter
from pipelines.augment.wording import words
from pipelines.bench.bases import generic_records
from pipelines.bench.people import People, kept_words
from pipelines.bench.probes import Probes, check_questions
from pipelines.rows import RowKind, Secret, TrainRow
from pipelines.unlearn.registry import Stream, method, row_kinds
from policies.record import Record


def bench_amounts(neighbour_questions: int = 6, refusals: bool = True) -> AugmentSettings:
    """Amounts for hundreds of facts in one run; the product's are for one person's."""
    return AugmentSettings(
        original_questions=1,
        neighbour_questions=neighbour_questions,
        answers_per_question=1,
        generic_ratio=0.25,
        generic_repeats=1,
        retain_rows=60,
        own_share=1.0,
        negative=True,
        refusals=refusals,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What one run of erasure is made from.

    Attributes:
        people: Whose rows are erased.
        probes: What is asked afterwards.
        secrets: One per erased row. Words and phrases that kept records hold are no secret.
        rows: Rows of every kind, of all subjects together.
        kept: Kept records as they stand: what the methods without augmentation keep.
        uncovered: Erased rows with too few augmented rows.
        dropped: What the augmenter left out, by reason.
    """

    people: People
    probes: Probes
    secrets: tuple[Secret, ...]
    rows: tuple[TrainRow, ...]
    kept: tuple[TrainRow, ...]
    uncovered: int
    dropped: dict[str, int]

    def rows_for(self, name: str) -> list[TrainRow]:
        """The rows of one method.

        ReLearn and its kin get the augmented set with its kept rows; all others the raw erased rows (and refusals to
        their questions) and the kept records as they stand.
        """
        if Stream.AUGMENTED in method(name).streams:
            wanted = row_kinds(name)
            return [row for row in self.rows if row.kind in wanted]
        wanted = row_kinds(name) - {RowKind.RETAIN}
        mine = [row for row in self.rows if row.kind in wanted]
        return [*mine, *(self.kept if RowKind.RETAIN in row_kinds(name) else ())]

    def keeping_augmented(self) -> "Material":
        """The same where every method keeps what ReLearn keeps: kept questions in other words too."""
        return replace(self, kept=tuple(row for row in self.rows if row.kind is RowKind.RETAIN))

    def benign(self) -> tuple[TrainRow, ...]:
        """Rows about no one, for benign fine-tuning: they exclude everybody who is erased."""
        return tuple(row for row in self.rows if row.kind is RowKind.GENERIC)

    def counts(self) -> dict[str, int]:
        """Rows by kind."""
        return dict(sorted(Counter(row.kind.value for row in self.rows).items()))


def bench_secrets(people: People) -> tuple[Secret, ...]:
    """One secret per erased row, less what kept records say.

    In these data sets the erased and the kept rows are about the same people, and share cities, parents' trades and
    phrases. What a kept record says stays, by the data set's own split; a check that took it for a secret would
    throw out 416 of KnowUnDo's 441 kept rows.
    """
    kept = people.records["retain_train"]
    known = kept_words(kept)
    found = secrets_from_records(people.records["forget_train"], people.names, kept)
    return tuple(
        replace(one, allowed=(*one.allowed, *sorted(known.intersection(w for a in one.answers for w in words(a)))))
        for one in found
    )


def make_material(people: People, probes: Probes, *, amounts: AugmentSettings, seed: int) -> Material:
    """Augment every subject's erased rows and put them together.

    Raises:
        LetheError: ``bench.probes_overlap``; those of ``augment``.
    """
    secrets = bench_secrets(people)
    check = LeakCheck(secrets)
    kept = [r for r in people.records["retain_train"] if not check.leaks(r.text)]
    sets = [
        _augmented(people, ref.ref, ref.name, kept, secrets, probes, amounts, seed)
        for ref in people.subjects
        if people.of("forget_train", ref.ref)
    ]
    whole = merge(sets)
    check_questions(probes, [row.prompt for row in whole.rows], "augmented")
    plain = tuple(_kept_row(record) for record in kept)
    there = {row.row_id for row in whole.rows}
    return Material(
        people=people,
        probes=probes,
        secrets=secrets,
        rows=(*whole.rows, *(row for row in plain if row.row_id not in there)),
        kept=plain,
        uncovered=len(whole.uncovered),
        dropped=whole.dropped | {"retain.leak": len(people.records["retain_train"]) - len(kept)},
    )


def _augmented(
    people: People,
    ref: str,
    name: str,
    kept: Sequence[Record],
    secrets: Sequence[Secret],
    probes: Probes,
    amounts: AugmentSettings,
    seed: int,
) -> AugmentedSet:
    forget = people.of("forget_train", ref)
    # Other people's *erased* rows: with frames of kept questions a model would learn to be vague about what stays.
    others = [r for r in people.records["forget_train"] if people.about[r.record_id] != ref]
    return augment(
        forget,
        subject=ref,
        names=(name,),
        neighbours=others,
        retain=kept,
        generic=generic_records(),
        probes_excluded=probes.held_out(),
        augmenter=TemplateAugmenter(),
        settings=amounts,
        seed=seed,
        secrets=secrets,
    )


def _kept_row(record: Record) -> TrainRow:
    return TrainRow(
        row_id=f"retain:{record.record_id}",
        kind=RowKind.RETAIN,
        prompt=record.question or "",
        answer=record.answer,
    )
