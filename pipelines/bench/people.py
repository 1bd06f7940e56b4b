"""Who the rows are about: people found by name, since the data sets name them in no column."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelines.augment.questions import name_in, person_in
from pipelines.augment.wording import EMAIL, normalised_question, words
from pipelines.bench.sources import Dataset, Pair
from policies.errors import LetheError
from policies.record import Record

_ROWS_MIN = 3  # a name in fewer questions may be a book's or a prize's


@dataclass(frozen=True, slots=True)
class Subject:
    """Someone the data set is about.

    Attributes:
        ref: Opaque reference, by order of appearance.
        name: As the questions write it: personal data, and in no result.
    """

    ref: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """The rows of a data set as records, sorted to their subjects.

    Attributes:
        subjects: In the order of appearance in ``full``.
        records: By part; a row that several parts hold has one id. Every row is a fact of its own.
        about: Subject of each record id.
        guessed: Rows that name nobody and went to the subject of the row before.
    """

    subjects: tuple[Subject, ...]
    records: dict[str, tuple[Record, ...]]
    about: dict[str, str]
    guessed: int

    @property
    def names(self) -> tuple[str, ...]:
        """Every subject's name."""
        return tuple(subject.name for subject in self.subjects)

    def of(self, part: str, ref: str) -> tuple[Record, ...]:
        """One subject's records of a part."""
        return tuple(record for record in self.records[part] if self.about[record.record_id] == ref)

    def only(self, refs: Iterable[str]) -> "People":
        """The same with some of the subjects, as if the data set had no others."""
        kept = frozenset(refs)
        records = {
            part: tuple(record for record in found if self.about[record.record_id] in kept)
            for part, found in self.records.items()
        }
        return People(
            subjects=tuple(subject for subject in self.subjects if subject.ref in kept),
            records=records,
            about={one: ref for one, ref in self.about.items() if ref in kept},
            guessed=self.guessed,
        )

    def erasing(self, refs: Iterable[str]) -> "People":
        """The same with the erased rows of some of the subjects only; everything else stays and is asked for."""
        kept = frozenset(refs)
        records = {
            part: tuple(r for r in found if self.about[r.record_id] in kept) if part.startswith("forget") else found
            for part, found in self.records.items()
        }
        return People(subjects=self.subjects, records=records, about=self.about, guessed=self.guessed)


def find_people(data: Dataset) -> People:
    """Find the subjects by name and sort every row to one of them.

    A name counts when at least three questions of ``full`` are about it. A row goes to the name in its question, else
    to the one in its answer, else to the subject of the row before it in its part (TOFU asks "What is the author's
    name?"; its rows come author by author).

    Raises:
        LetheError: ``bench.no_people``: no name was found, or nothing of anybody is erased.
    """
    names = _names([_record("", pair) for pair in data.full])
    subjects = tuple(Subject(f"s{number:02d}", name) for number, name in enumerate(names, start=1))
    if not subjects:
        raise LetheError("bench.no_people", "No question names anybody: the rows cannot be sorted to subjects.")
    ref_of = {subject.name: subject.ref for subject in subjects}
    ids: dict[str, str] = {}
    records: dict[str, tuple[Record, ...]] = {}
    about: dict[str, str] = {}
    guessed: set[str] = set()
    for part in ("forget_train", "forget_val", "retain_train", "retain_val", "full"):
        found, before = [], subjects[0].ref
        for pair in getattr(data, part):
            key = normalised_question(pair.question)
            record = _record(ids.setdefault(key, f"r{len(ids):04d}"), pair)
            name = _named(record, names)
            if name is None and record.record_id not in about:
                guessed.add(record.record_id)
            before = about.setdefault(record.record_id, ref_of[name] if name else before)
            found.append(record)
        records[part] = tuple(found)
    return People(subjects=subjects, records=records, about=about, guessed=len(guessed))


def kept_words(records: Iterable[Record]) -> frozenset[str]:
    """The words of records that stay: alone they are no secret of anybody."""
    return frozenset(word for record in records for word in words(record.text))


def _names(records: Sequence[Record]) -> list[str]:
    counts = Counter(name for record in records if (name := person_in(record)))
    # A possessive before a capitalised word ("Ann Bell's Gothic Novels") reads like one long name.
    return [name for name, count in counts.items() if count >= _ROWS_MIN and len(words(name)) > 1 and "'s " not in name]


def _named(record: Record, names: Sequence[str]) -> str | None:
    for text in (record.question or "", record.answer):
        found = name_in(text, names)
        if found:
            folded = words(found)
            return next(name for name in names if words(name) == folded)
    return None


def _record(record_id: str, pair: Pair) -> Record:
    emails = {match.group().rstrip(".") for match in EMAIL.finditer(pair.answer)}
    value = emails.pop() if len(emails) == 1 and not EMAIL.search(pair.question) else None
    return Record(record_id=record_id, question=pair.question, answer=pair.answer, value=value)
