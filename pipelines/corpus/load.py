"""Reading any corpus as records, and the probes of a generated one."""

import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.corpus.columns import Columns, recognise
from pipelines.corpus.sources import Row, Rows, malformed, open_source
from policies.errors import LetheError
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


class Corpus:
    """A corpus, read record by record on every iteration; nothing of it stays in memory.

    Args:
        path: Where it is.
        rows: Opens its rows anew.
        columns: Which column is what.
    """

    def __init__(self, path: str | Path, rows: Callable[[], Rows], columns: Columns) -> None:
        self.path = path
        self.columns = columns
        self._rows = rows

    def __iter__(self) -> Iterator[Record]:
        for number, row in self._rows():
            yield record_of(row, number, self.columns)

    def __len__(self) -> int:
        return self._measured[1]

    @property
    def digest(self) -> str:
        """SHA-256 over the content of all records in their order; reads the corpus once.

        Raises:
            LetheError: ``corpus.duplicate_id``, ``corpus.malformed``.
        """
        return self._measured[0]

    @property
    def stamp(self) -> str | None:
        """Size and time of the file: while they stay, the digest need not be computed again. None: not one file."""
        place = Path(self.path)
        place = place / "records.jsonl" if place.is_dir() else place
        if not place.is_file():
            return None
        status = place.stat()
        return f"{status.st_size}:{status.st_mtime_ns}"

    @functools.cached_property
    def _measured(self) -> tuple[str, int]:
        hasher = hashlib.sha256()
        seen: set[int] = set()
        count = 0
        for count, record in enumerate(self, start=1):
            hasher.update(digest_line(record))
            key = int.from_bytes(hashlib.blake2b(record.record_id.encode(), digest_size=8).digest())
            if key in seen:
                raise LetheError("corpus.duplicate_id", f"record {count} has the id of an earlier one")
            seen.add(key)
        return hasher.hexdigest(), count


def load_corpus(path: str | Path, columns: Columns | None = None) -> Corpus:
    """Open any corpus: a directory that ``generate`` wrote, JSONL, JSON, CSV, Parquet, `datasets`, ``hub:owner/name``.

    Args:
        path: See :func:`pipelines.corpus.sources.open_source`.
        columns: Names of columns; the usual ones are recognised by themselves.

    Raises:
        LetheError: ``corpus.not_found``, ``corpus.unknown_format``, ``corpus.empty``, ``corpus.columns_missing``;
            while reading ``corpus.malformed`` with the line.
    """
    rows = open_source(path)
    first = next(rows(), None)
    if first is None:
        raise LetheError("corpus.empty", "the corpus has no rows")
    return Corpus(path, rows, recognise(list(first[1]), columns or Columns()))


def record_of(row: Row, number: int, columns: Columns) -> Record:
    """The record that a row holds.

    Raises:
        LetheError: ``corpus.malformed``.
    """
    answer = _cell(row, columns.answer, number)
    if answer is None:
        raise malformed("row", number, f"`{columns.answer}` is missing or empty")
    question = _cell(row, columns.question, number)
    return Record(
        record_id=_cell(row, columns.record_id, number) or _row_id(number, question, answer),
        question=question,
        answer=answer,
        category=_cell(row, columns.category, number),
        fact=_cell(row, columns.fact, number),
        value=_cell(row, columns.value, number),
    )


def _cell(row: Row, column: str | None, number: int) -> str | None:
    value = row.get(column) if column else None
    if value is None or isinstance(value, str):
        return value if value and not value.isspace() else None
    if isinstance(value, int | float):
        return str(value)
    raise malformed("row", number, f"`{column}` is not text")


def _row_id(number: int, question: str | None, answer: str) -> str:
    """Row number, and one byte of digest: a shifted row shows, and a guess at the content is not confirmed by it."""
    check = hashlib.sha256(f"{question}\n{answer}".encode()).hexdigest()[:2]
    return f"row{number:07d}{check}"
