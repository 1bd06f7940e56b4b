"""Source: a JSONL or CSV file, rewritten without the records; every byte of the other rows stays as it was."""

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from pipelines.corpus.sources import malformed
from policies.errors import LetheError
from services.deletion.locked import only_one, sync_directory
from services.deletion.port import Census, as_id, take_census
from services.installation import full_disk_named

Line = tuple[dict[str, Any] | None, bytes]  # a row and its bytes; None: bytes that are no row (header, blank line)
_IDS = ("id", "record_id")
PROBES = "probes.jsonl"  # beside a corpus' records: questions with their answers, which are the person's data too


class FileSource:
    """A file, or a directory with ``records.jsonl``.

    Args:
        path: Where it lies.
        id_column: The column of the ids; empty: ``id`` or ``record_id``.

    Raises:
        LetheError: ``corpus.not_found``; ``deletion.unsupported``: neither JSONL nor CSV.
    """

    kind = "file"

    def __init__(self, path: str | Path, id_column: str = "") -> None:
        place = Path(path)
        place = place / "records.jsonl" if place.is_dir() else place
        if not place.is_file():
            raise LetheError("corpus.not_found", "the source's file is not there")
        self.path = place.resolve()  # a link stays a link: what it points to is rewritten
        reader = _READERS.get(self.path.suffix.lower())
        if reader is None:
            raise LetheError("deletion.unsupported", f"Files of the kind {self.path.suffix or 'without suffix'}.")
        self._read = reader
        self._id_column = id_column

    def census(self, record_ids: Collection[str], key: bytes) -> Census:
        return take_census(((one, raw) for one, row, raw in self._rows() if row is not None), record_ids, key)

    def delete(self, record_ids: Collection[str]) -> int:
        wanted = frozenset(record_ids)
        with only_one(self.path), full_disk_named():
            if self.path.stat().st_nlink > 1:
                raise LetheError("deletion.refused", "The file has another name, which would keep the records.")
            self._delete_probes(wanted)
            return _rewrite(self.path, ((raw, row is not None and one in wanted) for one, row, raw in self._rows()))

    def _delete_probes(self, wanted: frozenset[str]) -> None:
        """Probes first: once the records are gone nobody knows which facts they were about."""
        probes = self.path.parent / PROBES
        if self.path.name != "records.jsonl" or not probes.is_file():
            return
        gone: set[str] = set()
        kept: set[str] = set()
        for one, row, _ in self._rows():
            if row is not None and (fact := as_id(row.get("fact"))):
                (gone if one in wanted else kept).add(fact)
        gone -= kept
        _rewrite(probes, ((raw, row is not None and row.get("fact") in gone) for row, raw in _jsonl(probes)))

    def _rows(self) -> Iterator[tuple[str | None, dict[str, Any] | None, bytes]]:
        column = self._id_column
        for row, raw in self._read(self.path):
            if row is None:
                yield None, None, raw
                continue
            column = column or next((name for name in _IDS if name in row), "")
            if column not in row:
                raise LetheError("deletion.no_ids", "The rows of the source have no ids, or not in that column.")
            yield as_id(row[column]), row, raw


def _rewrite(path: Path, rows: Iterator[tuple[bytes, bool]]) -> int:
    """The file anew without some rows, whole or not at all; how many are gone. Untouched where none is."""
    before = path.stat()
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".lethe-", suffix=".part")
    draft, gone = Path(name), 0
    try:
        with os.fdopen(descriptor, "wb") as file:
            for raw, drop in rows:
                gone += drop
                if not drop:
                    file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        if not gone:
            return 0
        shutil.copymode(path, draft)
        if hasattr(os, "chown") and os.geteuid() == 0:
            os.chown(draft, before.st_uid, before.st_gid)
        now = path.stat()
        if (now.st_ino, now.st_size, now.st_mtime_ns) != (before.st_ino, before.st_size, before.st_mtime_ns):
            raise LetheError("deletion.source_changed", "Somebody wrote to the file while it was rewritten.")
        os.replace(draft, path)
        sync_directory(path.parent)
    finally:
        draft.unlink(missing_ok=True)
    return gone


def _jsonl(path: Path) -> Iterator[Line]:
    with path.open("rb") as lines:
        for number, raw in enumerate(lines, start=1):
            if not raw.strip():
                yield None, raw
                continue
            try:
                row = json.loads(raw)
            except ValueError:
                raise malformed("line", number, "not JSON") from None
            if not isinstance(row, dict):
                raise malformed("line", number, "not a JSON object")
            yield row, raw


def _csv(path: Path) -> Iterator[Line]:
    """Rows of a CSV file with the bytes they were read from: the reader takes as many lines as a row needs."""
    taken: list[str] = []
    with path.open(encoding="utf-8", newline="") as file:

        def lines() -> Iterator[str]:
            for line in file:
                taken.append(line)
                yield line.removeprefix("\ufeff")

        reader = csv.reader(lines(), strict=True)
        header: list[str] | None = None
        try:
            for fields in reader:
                raw = "".join(taken).encode()
                taken.clear()
                if header is None or not fields:
                    header = header or fields
                    yield None, raw
                elif len(fields) != len(header):
                    raise malformed("line", reader.line_num, "more or fewer fields than the header")
                else:
                    yield dict(zip(header, fields, strict=True)), raw
        except (csv.Error, UnicodeDecodeError):
            raise malformed("line", reader.line_num + 1, "not CSV in UTF-8") from None
        if taken:
            yield None, "".join(taken).encode()


_READERS: dict[str, Callable[[Path], Iterator[Line]]] = {".jsonl": _jsonl, ".ndjson": _jsonl, ".csv": _csv}
