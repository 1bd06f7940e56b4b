"""A corpus in slices: records in memory, or places in a file that any machine with the file can read."""

import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipelines.corpus.columns import Columns
from pipelines.corpus.load import Corpus, record_of
from pipelines.corpus.sources import jsonl_rows, parquet_rows
from policies.errors import LetheError
from policies.record import Record

_LINES = 5000
_JSON_LINES = (".jsonl", ".ndjson")


class Slice(Protocol):
    """Some records of a corpus, in their order."""

    def records(self) -> list[Record]:
        """The records themselves.

        Raises:
            LetheError: ``corpus.malformed``.
        """


@dataclass(frozen=True, slots=True)
class Held:
    """Records that were read already."""

    held: list[Record]

    def records(self) -> list[Record]:
        """Those."""
        return self.held


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Lines of a JSONL file.

    Attributes:
        path: Of the file.
        columns: Which column is what.
        offset: Byte at which the first line begins.
        length: Bytes up to the end of the last one.
        first: Number of the first line, from 1.
    """

    path: str
    columns: Columns
    offset: int
    length: int
    first: int

    def records(self) -> list[Record]:
        """Read that part of the file."""
        with Path(self.path).open("rb") as file:
            file.seek(self.offset)
            lines = io.BytesIO(file.read(self.length))
        return [record_of(row, number, self.columns) for number, row in jsonl_rows(lines, self.first)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowGroup:
    """A row group of a Parquet file.

    Attributes:
        path: Of the file.
        columns: Which column is what.
        group: Its number, from 0.
        first: Number of its first row, from 1.
    """

    path: str
    columns: Columns
    group: int
    first: int

    def records(self) -> list[Record]:
        """Read that group."""
        rows = parquet_rows(Path(self.path), self.first, [self.group])
        return [record_of(row, number, self.columns) for number, row in rows]


def slices(corpus: Corpus, *, elsewhere: bool, size: int = _LINES) -> Iterator[Slice]:
    """The corpus in order.

    Args:
        corpus: Any.
        elsewhere: Whether the slices are read on other machines: then only their places are told.
        size: Records, or lines, of a slice.

    Raises:
        LetheError: ``corpus.not_splittable``: other machines can read JSONL and Parquet; while reading
            ``corpus.malformed``.
    """
    if not elsewhere:
        records = iter(corpus)
        while held := list(itertools.islice(records, size)):
            yield Held(held)
        return
    place = Path(corpus.path)
    place = place / "records.jsonl" if place.is_dir() else place
    if place.is_file() and place.suffix.lower() in _JSON_LINES:
        yield from _lines(place.resolve(), corpus.columns, size)
    elif place.is_file() and place.suffix.lower() == ".parquet":
        yield from _row_groups(place.resolve(), corpus.columns)
    else:
        raise LetheError("corpus.not_splittable", "A cluster can read a corpus that is one JSONL or Parquet file.")


def _lines(path: Path, columns: Columns, size: int) -> Iterator[Lines]:
    offset, first = 0, 1
    with path.open("rb") as file:
        while lines := [len(line) for line in itertools.islice(file, size)]:
            yield Lines(path=str(path), columns=columns, offset=offset, length=sum(lines), first=first)
            offset += sum(lines)
            first += len(lines)


def _row_groups(path: Path, columns: Columns) -> Iterator[RowGroup]:
    from pyarrow import parquet  # type: ignore[import-untyped]

    first = 1
    with parquet.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield RowGroup(path=str(path), columns=columns, group=group, first=first)
            first += file.metadata.row_group(group).num_rows
