"""Rows of a corpus file or data set, one after another, each with the place that an error message can name."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from policies.errors import LetheError

Row = dict[str, Any]
Rows = Iterator[tuple[int, Row]]

_CHUNK = 1 << 20
HUB_PREFIX = "hub:"


def open_source(path: str | Path) -> Callable[[], Rows]:
    """How to read the rows of a path, again and again.

    Args:
        path: A JSONL, JSON, CSV or Parquet file; a directory with ``records.jsonl`` or one of the `datasets` library;
            or ``hub:owner/name`` (``hub:owner/name@split``). Only the prefix goes to the network: a mistyped path
            never does.

    Raises:
        LetheError: ``corpus.not_found``, ``corpus.unknown_format``.
    """
    if str(path).startswith(HUB_PREFIX):
        return lambda: _hub(str(path).removeprefix(HUB_PREFIX))
    place = Path(path)
    if place.is_dir() and (place / "records.jsonl").is_file():
        place = place / "records.jsonl"
    if not place.exists():
        raise LetheError("corpus.not_found", f"there is no corpus at {place}")
    if place.is_dir():
        if (place / "state.json").is_file() or (place / "dataset_dict.json").is_file():
            return lambda: _datasets_directory(place)
        raise LetheError("corpus.unknown_format", f"{place} has neither records.jsonl nor a `datasets` data set")
    reader = _READERS.get(place.suffix.lower())
    if reader is None:
        raise LetheError("corpus.unknown_format", f"cannot read {place.suffix or 'a file without suffix'}")
    return lambda: reader(place)


def malformed(place: str, number: int, reason: str) -> LetheError:
    """The error of one row; the reason never quotes the row."""
    return LetheError("corpus.malformed", f"{place} {number}: {reason}")


def _row(value: object, number: int, place: str = "line") -> Row:
    if not isinstance(value, dict):
        raise malformed(place, number, "not a JSON object")
    return value


def _jsonl(path: Path) -> Rows:
    with path.open("rb") as lines:
        yield from jsonl_rows(lines, 1)


def jsonl_rows(lines: Iterable[bytes], first: int) -> Rows:
    """The rows of JSONL lines, the first of which has that number.

    Raises:
        LetheError: ``corpus.malformed``.
    """
    for number, line in enumerate(lines, start=first):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            # json's own message holds no content, UnicodeDecodeError's does.
            what = error.msg if isinstance(error, json.JSONDecodeError) else "not UTF-8"
            raise malformed("line", number, f"not JSON ({what})") from None
        yield number, _row(value, number)


def _json(path: Path) -> Rows:
    """A JSON list, read in pieces; a ``.json`` file that begins with an object is JSONL, as `datasets` writes it."""
    with path.open(encoding="utf-8-sig") as file:
        try:
            start = file.read(1)
            while start.isspace():
                start = file.read(1)
            if start == "[":
                yield from _json_list(file.read)
                return
        except UnicodeDecodeError:
            raise LetheError("corpus.malformed", "the file is not UTF-8") from None
    if start:
        yield from _jsonl(path)


def _json_list(read: Callable[[int], str]) -> Rows:
    decoder = json.JSONDecoder()
    buffer, at, number = read(_CHUNK), 0, 1
    while True:
        while at < len(buffer) and (buffer[at].isspace() or buffer[at] == ","):
            at += 1
        if buffer[at : at + 1] == "]":
            return
        try:
            value, at = decoder.raw_decode(buffer, at)
        except ValueError as error:
            more = read(_CHUNK)
            if not more:
                what = error.msg if isinstance(error, json.JSONDecodeError) else "not JSON"
                raise malformed("row", number, f"not JSON ({what})") from None
            buffer, at = buffer[at:] + more, 0
            continue
        yield number, _row(value, number, "row")
        number += 1


def _csv(path: Path) -> Rows:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise malformed("line", reader.line_num, "more or fewer fields than the header")
                yield reader.line_num, row
        except (csv.Error, UnicodeDecodeError):
            raise malformed("line", reader.line_num + 1, "not CSV in UTF-8") from None


def _parquet(path: Path) -> Rows:
    yield from parquet_rows(path, 1)


def parquet_rows(path: Path, first: int, groups: Sequence[int] | None = None) -> Rows:
    """The rows of a Parquet file, or of some of its row groups; the first of them has that number.

    Raises:
        LetheError: ``corpus.malformed``.
    """
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
    except (pyarrow.ArrowInvalid, OSError):
        raise malformed("row", 1, "not a Parquet file") from None
    with file:
        number = first
        for batch in file.iter_batches(batch_size=4096, row_groups=groups):
            for row in batch.to_pylist():
                yield number, row
                number += 1


def _datasets_directory(path: Path) -> Rows:
    import datasets

    loaded = datasets.load_from_disk(str(path))
    if isinstance(loaded, datasets.DatasetDict):
        loaded = _only_split(dict(loaded))
    yield from enumerate(loaded, start=1)


def _hub(name: str) -> Rows:
    import datasets

    name, _, split = name.partition("@")
    try:
        loaded = datasets.load_dataset(name, split=split or None)
    except (OSError, ValueError) as error:
        raise LetheError("corpus.not_found", f"cannot load {name} from the hub ({type(error).__name__})") from error
    yield from enumerate(loaded if split else _only_split(dict(loaded)), start=1)


def _only_split(splits: dict[str, Any]) -> Any:
    """The `train` split, or the only one: joining splits would train on what somebody held out."""
    if "train" in splits:
        return splits["train"]
    if len(splits) == 1:
        return next(iter(splits.values()))
    raise LetheError("corpus.unknown_format", f"the data set has no split `train` but {', '.join(sorted(splits))}")


_READERS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
