"""Source: a directory of the `datasets` library, written anew without the records in every split."""

import json
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from policies.errors import LetheError
from services.deletion.locked import only_one, sync_directory
from services.deletion.port import Census, as_id, take_census
from services.installation import full_disk_named

_IDS = ("id", "record_id")


class DatasetsSource:
    """A directory that ``save_to_disk`` wrote; cache files in it go too, since the directory is replaced.

    Args:
        path: Where it lies.
        id_column: The column of the ids; empty: ``id`` or ``record_id``.

    Raises:
        LetheError: ``corpus.not_found``.
    """

    kind = "datasets"

    def __init__(self, path: str | Path, id_column: str = "") -> None:
        self.path = Path(path).resolve()
        self._id_column = id_column
        self._mend()
        if not self.path.is_dir():
            raise LetheError("corpus.not_found", "the data set's directory is not there")

    def census(self, record_ids: Collection[str], key: bytes) -> Census:
        return take_census(self._rows(), record_ids, key)

    def delete(self, record_ids: Collection[str]) -> int:
        import datasets

        wanted = frozenset(record_ids)
        with only_one(self.path), full_disk_named():
            before = self._stamp()
            loaded = self._load()
            splits = loaded if isinstance(loaded, datasets.DatasetDict) else {"": loaded}
            rest: dict[str, Any] = {}
            gone = 0
            for name, split in splits.items():
                column = self._column(split)
                keep = [number for number, value in enumerate(split[column]) if as_id(value) not in wanted]
                gone += len(split) - len(keep)
                rest[name] = split.select(keep, keep_in_memory=True)  # no file of indices beside the old data
            if not gone:
                return 0
            draft = self._beside("new")
            shutil.rmtree(draft, ignore_errors=True)
            (datasets.DatasetDict(rest) if "" not in rest else rest[""]).save_to_disk(str(draft))
            if self._stamp() != before:
                shutil.rmtree(draft)
                raise LetheError("deletion.source_changed", "Somebody wrote to the data set while it was rewritten.")
            self.path.rename(self._beside("old"))
            draft.rename(self.path)
            sync_directory(self.path.parent)
            shutil.rmtree(self._beside("old"))
        return gone

    def _rows(self) -> Iterator[tuple[str | None, bytes]]:
        import datasets

        loaded = self._load()
        splits = loaded if isinstance(loaded, datasets.DatasetDict) else {"": loaded}
        for name, split in sorted(splits.items()):
            column = self._column(split)
            for row in split:
                yield as_id(row[column]), json.dumps([name, row], default=str, sort_keys=True).encode()

    def _load(self) -> Any:
        import datasets

        datasets.disable_progress_bars()
        try:
            return datasets.load_from_disk(str(self.path))
        except (OSError, ValueError):
            raise LetheError("corpus.unknown_format", "The directory holds no data set of `datasets`.") from None

    def _column(self, split: Any) -> str:
        found = self._id_column or next((name for name in _IDS if name in split.column_names), "")
        if found not in split.column_names:
            raise LetheError("deletion.no_ids", "The rows of the source have no ids, or not in that column.")
        return str(found)

    def _stamp(self) -> list[tuple[str, int, int]]:
        files = (file for file in sorted(self.path.rglob("*")) if file.is_file())
        return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]

    def _mend(self) -> None:
        """What a crash between the two renames left: the old directory comes back, and is then done anew."""
        old = self._beside("old")
        if old.is_dir() and not self.path.exists():
            old.rename(self.path)
        elif old.is_dir():
            shutil.rmtree(old)

    def _beside(self, what: str) -> Path:
        return self.path.with_name(f".{self.path.name}.lethe-{what}")
