"""Which sources an installation deletes from: the corpus itself, and those that the settings name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.corpus.sources import HUB_PREFIX
from policies.errors import LetheError
from services.deletion.datasets_directory import DatasetsSource
from services.deletion.files import FileSource
from services.deletion.port import Source
from services.deletion.sql import SqlSource
from services.settings import Settings, SourceSettings

CORPUS = "corpus"  # the name of the corpus as a source


def source_kinds(settings: Settings) -> dict[str, str]:
    """Name and kind of every source, the corpus first; nothing is opened."""
    found: dict[str, str] = {CORPUS: _corpus(settings).kind} if settings.corpus.path else {}
    found.update((name, one.kind) for name, one in settings.deletion.sources.items())
    return found


@contextmanager
def open_source(settings: Settings, name: str) -> Iterator[Source]:
    """A source by its name.

    Raises:
        LetheError: ``deletion.unknown_source``, ``deletion.unsupported``; what opening it raises.
    """
    given = settings.deletion.sources.get(name)
    if given is None and (name != CORPUS or not settings.corpus.path):
        raise LetheError("deletion.unknown_source", "The settings name no source of this name (any more).")
    one = given or _corpus(settings)
    if one.kind == "sql":
        table = SqlSource(one.url.get_secret_value(), one.table, one.id_column or "id")
        try:
            yield table
        finally:
            table.close()
    elif one.path.startswith(HUB_PREFIX):
        raise LetheError("deletion.unsupported", "A data set of the hub is not this installation's to change.")
    elif one.kind == "datasets":
        yield DatasetsSource(one.path, one.id_column)
    else:
        yield FileSource(one.path, one.id_column)


def _corpus(settings: Settings) -> SourceSettings:
    path = Path(settings.corpus.path)
    files = path.is_file() or (path / "records.jsonl").is_file() or settings.corpus.path.startswith(HUB_PREFIX)
    kind = "file" if files or path.suffix else "datasets"
    return SourceSettings(kind=kind, path=settings.corpus.path, id_column=settings.corpus.columns.get("id", ""))
