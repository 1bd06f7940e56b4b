"""The augmented set: its rows, and what was left out of it and why."""

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TypeVar

from pipelines.rows import RowKind, TrainRow
from policies.canonical import canonical_json, keyed_digest
from policies.errors import LetheError

_Item = TypeVar("_Item")
SUBJECT_KINDS = frozenset({RowKind.FORGET, RowKind.COMPLETION, RowKind.NEIGHBOUR})


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentedSet:
    """Rows for one run.

    Attributes:
        rows: Every training row.
        uncovered: Facts without enough rows. They are forgotten as far as the other rows carry; the report names them.
        reasons: An error code for each uncovered fact.
        rounds: How many rounds of answers were needed.
        dropped: How many texts were left out, by reason.
        generic_ratio: Generic rows for each row about the subject, as achieved.
        augmenter: Which augmenter made the answers.
        subjects: Opaque references of the subjects.
        facts: Every fact that was to be covered.
        unwatched: Facts that the leak check cannot watch ("Yes."): made of function words or allowed names only.
    """

    rows: tuple[TrainRow, ...]
    uncovered: tuple[str, ...] = ()
    reasons: dict[str, str] = field(default_factory=dict)
    rounds: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    generic_ratio: float = 0.0
    augmenter: str = "template"
    subjects: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()
    unwatched: tuple[str, ...] = ()

    def stats(self) -> dict[str, dict[str, int]]:
        """Rows by kind, style, variant; JSON-able and without personal data."""
        return {
            "kind": _counted(row.kind.value for row in self.rows),
            "style": _counted(row.style for row in self.rows),
            "variant": _counted(row.variant for row in self.rows),
        }

    def rows_per_fact(self) -> dict[str, int]:
        """Rows about the subject, by fact."""
        return _counted(row.fact for row in self.rows if row.kind in SUBJECT_KINDS)

    def digest(self, key: bytes) -> str:
        """Keyed digest over the rows in their order: a plain one could be confirmed by guessing."""
        return keyed_digest(key, canonical_json([_plain(row) for row in self.rows]))

    def to_text(self) -> str:
        """JSONL: one head line, then one line a row. It names the person: seal it, and write it nowhere."""
        head = {f: getattr(self, f) for f in self.__slots__ if f != "rows"}
        lines = [json.dumps({"augmented_set": 1, **head}), *(json.dumps(_plain(row)) for row in self.rows)]
        return "\n".join(lines)

    @classmethod
    def from_text(cls, text: str) -> "AugmentedSet":
        """Read what ``to_text`` gave.

        Raises:
            LetheError: ``augment.unreadable``: the text is not one of ours or is cut.
        """
        try:
            first, *lines = text.split("\n")
            head = json.loads(first)
            rows = tuple(_row(json.loads(line)) for line in lines)
            if head.pop("augmented_set") != 1:
                raise ValueError
            head |= {name: tuple(head[name]) for name in ("uncovered", "subjects", "facts", "unwatched")}
            return cls(rows=rows, **head)
        except (ValueError, KeyError, TypeError) as error:
            raise LetheError("augment.unreadable", "the augmented set cannot be read") from error


def merge(sets: Sequence[AugmentedSet]) -> AugmentedSet:
    """One set for a run of several tickets. A retain or generic row that several have comes once."""
    rows = {row.row_id: row for one in sets for row in one.rows}
    subject_rows = sum(row.kind in SUBJECT_KINDS for row in rows.values())
    generic = sum(row.kind is RowKind.GENERIC for row in rows.values())
    dropped: Counter[str] = Counter()
    for one in sets:
        dropped.update(one.dropped)
    return AugmentedSet(
        rows=tuple(rows.values()),
        uncovered=tuple(dict.fromkeys(fact for one in sets for fact in one.uncovered)),
        reasons={fact: code for one in sets for fact, code in one.reasons.items()},
        rounds=max((one.rounds for one in sets), default=0),
        dropped=dict(sorted(dropped.items())),
        generic_ratio=generic / subject_rows if subject_rows else 0.0,
        augmenter="+".join(sorted({one.augmenter for one in sets})),
        subjects=tuple(dict.fromkeys(subject for one in sets for subject in one.subjects)),
        facts=tuple(dict.fromkeys(fact for one in sets for fact in one.facts)),
        unwatched=tuple(dict.fromkeys(fact for one in sets for fact in one.unwatched)),
    )


def as_replay(rows: Iterable[TrainRow], budget: int, seed: int) -> tuple[TrainRow, ...]:
    """Rows about people forgotten before, for a later run: at most ``budget``, every fact in turn."""
    by_fact: dict[tuple[str | None, str | None], list[TrainRow]] = {}
    rng = random.Random(f"replay-{seed}")  # noqa: S311 - a sample, not a key
    for row in rows:
        if row.kind in SUBJECT_KINDS or row.kind is RowKind.REPLAY:
            by_fact.setdefault((row.subject, row.fact), []).append(row)
    chosen = in_turn(list(by_fact.values()), budget, rng)
    return tuple(
        row if row.kind is RowKind.REPLAY else replace(row, kind=RowKind.REPLAY, row_id=f"replay:{row.row_id}")
        for row in chosen
    )


def turns(groups: Sequence[list[_Item]], rng: random.Random) -> Iterator[_Item]:
    """Items in random order, one of each group before a second of any: a big group never crowds out a small one."""
    shuffled = [rng.sample(group, len(group)) for group in groups]
    rng.shuffle(shuffled)
    depth = max((len(group) for group in shuffled), default=0)
    return (group[level] for level in range(depth) for group in shuffled if level < len(group))


def in_turn(groups: Sequence[list[_Item]], limit: int, rng: random.Random) -> list[_Item]:
    """At most ``limit`` items in the order of ``turns``."""
    return list(itertools.islice(turns(groups, rng), limit))


def _counted(values: Iterable[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(value for value in values if value is not None).items()))


def _plain(row: TrainRow) -> dict[str, object]:
    return asdict(row)


def _row(data: dict[str, object]) -> TrainRow:
    return TrainRow(**{**data, "kind": RowKind(data["kind"])})  # type: ignore[arg-type]
