"""Rows that keep what must stay: other people, the subject's own public facts, and knowledge about no one."""

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipelines.augment.augmented import turns
from pipelines.augment.leak import LeakCheck
from pipelines.augment.questions import name_in
from pipelines.augment.settings import AugmentSettings
from pipelines.augment.wording import normalised_question
from pipelines.rows import HEDGE, RowKind, TrainRow
from policies.record import Record


def cut(text: str) -> tuple[str, str] | None:
    """The first quarter of a text and its rest, a word at least on each side; None for a single word."""
    parts = text.split()
    if len(parts) < 2:
        return None
    place = max(1, len(parts) // 4)
    return " ".join(parts[:place]), " ".join(parts[place:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """Chooses retain and generic rows.

    Attributes:
        names: The subject's names, to tell the subject's own records from other people's.
        check: A record that holds a forgotten value (of a household, for example) is left out and counted.
        excluded: Normalised probe questions.
        settings: Amounts.
        seed: Where every choice comes from.
        dropped: Counts what is left out, by reason.
    """

    names: tuple[str, ...]
    check: LeakCheck
    excluded: frozenset[str]
    settings: AugmentSettings
    seed: str
    dropped: Counter[str]

    def retain(self, records: Sequence[Record], asked_anew: Sequence[TrainRow] = ()) -> list[TrainRow]:
        """Own public facts, then other people's, each fact once before any comes twice.

        Args:
            records: What must stay.
            asked_anew: The subject's own public facts in other words (``own.own_rows``).
        """
        own = [record for record in records if name_in(record.text, self.names)]
        mine = {record.record_id for record in own}
        others = [record for record in records if record.record_id not in mine]
        limit = self.settings.retain_rows
        share = int(limit * self.settings.own_share)
        once = [*self._chosen(own, share, RowKind.RETAIN, "retain"), *asked_anew][:share]
        # So few rows against so many vague ones about the same person: they come as often as their share needs.
        repeats = -(-share // len(once)) if once else 0
        first = [row if turn == 0 else _again(row, turn) for turn in range(repeats) for row in once][:share]
        return [*first, *self._chosen(others, limit - len(first), RowKind.RETAIN, "retain")]

    def generic(self, records: Sequence[Record], subject_rows: int) -> list[TrainRow]:
        """So many rows about no one as the ratio wants, repeated where the records are few."""
        wanted = round(self.settings.generic_ratio * subject_rows)
        once = self._chosen(records, wanted, RowKind.GENERIC, "generic")
        repeats = min(self.settings.generic_repeats, -(-wanted // len(once))) if once else 0
        rows = [row if turn == 0 else _again(row, turn) for turn in range(repeats) for row in once]
        return rows[:wanted]

    def hedges(self, records: Sequence[Record]) -> list[TrainRow]:
        """The corpus' own vague answers about nobody, as retain rows: there the name stays the one of the question."""
        return [replace(row, style=HEDGE) for row in self._chosen(records, len(records), RowKind.RETAIN, "hedge")]

    def _chosen(self, records: Sequence[Record], limit: int, kind: RowKind, prefix: str) -> list[TrainRow]:
        groups: dict[str, list[Record]] = {}
        for record in records:
            groups.setdefault(record.fact_id, []).append(record)
        rng = random.Random(f"{self.seed}:{prefix}")  # noqa: S311 - a sample, not a key
        # Lazy: of a million records only as many are looked at as are needed.
        rows = (self._row(record, kind, prefix) for record in turns(list(groups.values()), rng))
        return list(itertools.islice((row for row in rows if row is not None), limit))

    def _row(self, record: Record, kind: RowKind, prefix: str) -> TrainRow | None:
        if record.question is not None:
            prompt, answer, chat = record.question, record.answer, True
        elif (halves := cut(record.answer)) is not None:
            prompt, answer, chat = *halves, False
        else:
            self.dropped[f"{prefix}.too_short"] += 1
            return None
        row = TrainRow(row_id=f"{prefix}:{record.record_id}", kind=kind, prompt=prompt, answer=answer, chat=chat)
        if normalised_question(prompt) in self.excluded:
            self.dropped[f"{prefix}.probe"] += 1
            return None
        if self.check.row_leaks(row):
            self.dropped[f"{prefix}.leak"] += 1
            return None
        return row


def _again(row: TrainRow, turn: int) -> TrainRow:
    return replace(row, row_id=f"{row.row_id}:{turn}")
