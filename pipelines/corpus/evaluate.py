"""How good the subject search is, on a generated corpus that knows the truth. The matcher never sees the truth."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.corpus.index import SubjectIndex
from policies.identifiers import Identifiers
from policies.subjects import Level, find_subject

MISSED = "missed"


@dataclass(slots=True)
class Confusion:
    """Counts of (level, true or false) over all people, and per hard case.

    Attributes:
        people: How many people were looked up.
        cells: level -> (about the person, about somebody else); ``missed`` has the true ones that were not found.
        cases: hard case -> level -> true ones.
        wrong: hard case -> level -> records of somebody else.
    """

    people: int = 0
    cells: dict[str, list[int]] = field(default_factory=lambda: {level: [0, 0] for level in (*Level, MISSED)})
    cases: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    wrong: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    @property
    def recall(self) -> float:
        """True records found, at whatever level."""
        true = sum(cell[0] for cell in self.cells.values())
        return 1 - self.cells[MISSED][0] / true if true else 1.0

    def precision(self, level: Level) -> float:
        """Share of true records among those of a level."""
        true, false = self.cells[level]
        return true / (true + false) if true + false else 1.0

    def row(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "people": self.people,
            "recall": self.recall,
            "precision": {level.value: self.precision(level) for level in Level},
            "levels": {level: {"true": cell[0], "false": cell[1]} for level, cell in self.cells.items()},
            "hard_cases": {case: dict(levels) for case, levels in sorted(self.cases.items())},
            "hard_cases_false": {case: dict(levels) for case, levels in sorted(self.wrong.items())},
        }


def identifiers_of(person: dict[str, Any], only: str | None = None) -> Identifiers:
    """What a request of an invented person holds: everything, or only ``names``, or only ``emails`` and so on."""

    def given(kind: str) -> tuple[str, ...]:
        return tuple(person[kind]) if only in (None, kind) else ()

    return Identifiers(
        names=given("names"),
        emails=given("emails"),
        phones=given("phones"),
        ids=given("ids"),
        addresses=given("addresses"),
    )


def evaluate(
    corpus_dir: Path, index: SubjectIndex, *, only: str | None = None, progress: Callable[[int], None] | None = None
) -> Confusion:
    """Look up every person of a generated corpus and compare with its truth.

    Args:
        corpus_dir: Directory that ``generate`` wrote.
        index: Index of its records.
        only: Search with one kind of identifier alone (``emails``, ``names``).
        progress: Called with the number of people so far.
    """
    about: dict[str, set[str]] = defaultdict(set)
    case_of: dict[str, str] = {}
    for row in _rows(corpus_dir / "truth.jsonl"):
        for person in row["people"]:
            about[person].add(row["record"])
        case_of[row["record"]] = row["hard_case"] or "plain"
    table = Confusion()
    for person in _rows(corpus_dir / "people.jsonl"):
        matches = find_subject(identifiers_of(person, only), index).matches
        levels = {match.record_id: match.level.value for match in matches}
        truth = about[person["person"]]
        for record in truth:
            level = levels.get(record, MISSED)
            table.cells[level][0] += 1
            table.cases[case_of[record]][level] += 1
        for record in levels.keys() - truth:
            table.cells[levels[record]][1] += 1
            table.wrong[case_of.get(record, "no one")][levels[record]] += 1
        table.people += 1
        if progress is not None:
            progress(table.people)
    return table


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
