"""Reading a corpus."""

import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from policies.record import Record


def digest_line(record: Record) -> bytes:
    """What one record adds to the corpus digest: its content in one line."""
    content = [record.record_id, record.question, record.answer, record.category, record.fact, record.value]
    return (json.dumps(content, ensure_ascii=False) + "\n").encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusProbe:
    """A question about a fact on a phrasing that is not in the corpus."""

    probe_id: str
    question: str
    answer: str
    value: str | None
    fact: str
    category: str | None
    phrasing: str

    def row(self) -> dict[str, object]:
        """The probe as ``probes.jsonl`` has it."""
        return {
            "id": self.probe_id,
            "question": self.question,
            "answer": self.answer,
            "value": self.value,
            "fact": self.fact,
            "category": self.category,
            "phrasing": self.phrasing,
        }


def load_probes(path: Path) -> list[CorpusProbe]:
    """The probes of a corpus directory; none where it has no ``probes.jsonl``."""
    file = path / "probes.jsonl" if path.is_dir() else path
    if not file.exists():
        return []
    with file.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines if line.strip()]
    return [
        CorpusProbe(
            probe_id=row["id"],
            question=row["question"],
            answer=row["answer"],
            value=row.get("value"),
            fact=row["fact"],
            category=row.get("category"),
            phrasing=row.get("phrasing", "variant"),
        )
        for row in rows
    ]


@dataclass(frozen=True)
class Corpus:
    """A corpus on disk, read record by record on every iteration."""

    path: Path

    def __iter__(self) -> Iterator[Record]:
        return _records(self.path)

    def __len__(self) -> int:
        return self._measured[1]

    @property
    def digest(self) -> str:
        """SHA-256 over the content of all records in their order."""
        return self._measured[0]

    @functools.cached_property
    def _measured(self) -> tuple[str, int]:
        hasher = hashlib.sha256()
        count = 0
        for record in self:
            hasher.update(digest_line(record))
            count += 1
        return hasher.hexdigest(), count


def load_corpus(path: Path) -> Corpus:
    """Open a corpus."""
    return Corpus(path / "records.jsonl" if path.is_dir() else path)


def _records(file: Path) -> Iterator[Record]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield Record(
                record_id=row["id"],
                question=row["question"],
                answer=row["answer"],
                category=row["category"],
                fact=row["fact"],
                value=row["value"],
            )
