"""Releases in an object store: moved whole or not at all, and believed only by their signatures.

``lethe release push s3://bucket/prefix`` copies what a host has, ``lethe release fetch`` what it lacks: to a host with
a disk of its own, or to one that is set up anew. Whoever can write into the bucket can withhold a release or send an
old one, never a changed one: names are content digests, the statement of what was served last only rises.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.adapter import FILES, Trust, release_name, verify_release
from policies.errors import LetheError
from services.serving.statement import open_statement, statement_path
from services.whole_file import write_whole

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


@dataclass(frozen=True, slots=True)
class Moved:
    """What was copied.

    Attributes:
        releases: Names, in order.
        statements: Bases, by the beginning of their digests.
    """

    releases: tuple[str, ...]
    statements: tuple[str, ...]


def push(releases: Path, url: str, trust: Trust) -> Moved:
    """Copy every release that is not there yet, then the statements that are higher than those there.

    Args:
        releases: The installation's directory of releases.
        url: Of the place in the object store, as fsspec reads it.
        trust: Keys that count: what does not verify here is not sent.

    Raises:
        LetheError: ``artefacts.unreachable``, ``artefacts.refused``, ``serving.statement_damaged``.
    """
    with _reached(url) as (store, place):
        sent, refused = [], []
        for directory in sorted(releases.glob("u-*/")):
            if _whole(store, f"{place}/{directory.name}"):
                continue
            try:
                _verify(directory, directory.name, trust)
            except LetheError as error:
                refused.append(f"{directory.name}: {error.code}")
                continue
            for name in FILES:
                store.pipe_file(f"{place}/{directory.name}/{name}", (directory / name).read_bytes())
            sent.append(directory.name)
        _none_refused(refused)
        risen = []
        with tempfile.TemporaryDirectory(prefix="lethe-artefacts-") as scratch:
            for path in sorted(releases.glob("desired-*.json")):
                there = _get(store, f"{place}/{path.name}", Path(scratch) / path.name)
                if _generation(path, trust) > (_generation(there, trust) if there else -1):
                    store.pipe_file(f"{place}/{path.name}", path.read_bytes())
                    risen.append(_base_of(path))
        return Moved(tuple(sent), tuple(risen))


def fetch(url: str, releases: Path, trust: Trust) -> Moved:
    """Copy every whole release that this host lacks, verified before it gets its name; then statements that are higher.

    Args:
        url: Of the place in the object store, as fsspec reads it.
        releases: The installation's directory of releases.
        trust: Keys that count.

    Raises:
        LetheError: ``artefacts.unreachable``; ``artefacts.refused``, once everything else is there;
            ``serving.statement_damaged``.
    """
    with _reached(url) as (store, place), tempfile.TemporaryDirectory(dir=releases, prefix=".fetching-") as scratch:
        names = sorted(path.rstrip("/").rpartition("/")[2] for path in _list(store, place))
        got, refused = [], []
        for name in (name for name in names if name.startswith("u-") and not (releases / name).exists()):
            if not _whole(store, f"{place}/{name}"):
                continue  # somebody is sending it
            draft = Path(scratch) / name
            draft.mkdir()
            try:
                for file in FILES:
                    _get(store, f"{place}/{name}/{file}", draft / file)
                _verify(draft, name, trust)
            except LetheError as error:
                refused.append(f"{name}: {error.code}")
                shutil.rmtree(draft)
                continue
            for file in FILES:
                (draft / file).chmod(0o444)  # as where it was sealed
            draft.rename(releases / name)
            got.append(name)
        risen = []
        for name in (name for name in names if name.startswith("desired-")):
            there = _get(store, f"{place}/{name}", Path(scratch) / name)
            mine = releases / name
            if there and _generation(there, trust) > (_generation(mine, trust) if mine.exists() else -1):
                write_whole(mine, there.read_bytes(), mode=0o644)
                risen.append(_base_of(mine))
        _none_refused(refused)
        return Moved(tuple(got), tuple(risen))


@contextmanager
def _reached(url: str) -> Iterator[tuple["AbstractFileSystem", str]]:
    """The file system of an address, and the place in it; its faults as ours, without what they quote."""
    import fsspec

    try:
        store, place = fsspec.core.url_to_fs(url)
        store.invalidate_cache()
        yield store, place.rstrip("/")
    except LetheError:
        raise
    except Exception as error:  # each back end has faults of its own
        raise LetheError("artefacts.unreachable", "The object store cannot be used.", (type(error).__name__,)) from None


def _list(store: "AbstractFileSystem", place: str) -> list[str]:
    return [str(path) for path in store.ls(place, detail=False)] if store.exists(place) else []


def _whole(store: "AbstractFileSystem", place: str) -> bool:
    """Whether every file of a release is there; the store shows an object when it is whole."""
    return {path.rpartition("/")[2] for path in _list(store, place)} >= set(FILES)


def _get(store: "AbstractFileSystem", source: str, target: Path) -> Path | None:
    """Fetch one file; None where there is none."""
    try:
        target.write_bytes(store.cat_file(source))
    except FileNotFoundError:
        return None
    return target


def _verify(directory: Path, name: str, trust: Trust) -> None:
    if release_name(verify_release(directory, trust).digest) != name:
        raise LetheError("release.digest", "The release is not the one that its name says.")


def _generation(path: Path, trust: Trust) -> int:
    """Of a statement, verified; its base is the one in its name."""
    found = open_statement(path.read_bytes(), trust)
    if statement_path(path.parent, found.base_digest) != path:
        raise LetheError("serving.statement_damaged", "The statement is of another base than its name says.")
    return found.generation


def _base_of(path: Path) -> str:
    return path.stem.removeprefix("desired-")


def _none_refused(refused: list[str]) -> None:
    if refused:
        raise LetheError("artefacts.refused", "Releases do not verify and were left where they are.", tuple(refused))
