"""A tree of files as one digest and as one archive that comes out the same wherever and whenever it is made."""

import gzip
import hashlib
import json
import tarfile
from pathlib import Path

_EXECUTABLE, _PLAIN = 0o755, 0o644


def files_of(tree: Path) -> list[Path]:
    """Every file below a directory, in one order.

    Raises:
        ValueError: There is something that is neither file nor directory.
    """
    found = []
    for path in sorted(tree.rglob("*"), key=lambda p: p.relative_to(tree).as_posix()):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ValueError(f"neither file nor directory: {path.relative_to(tree)}")
        if path.is_file():
            found.append(path)
    return found


def content_digest(tree: Path) -> str:
    """SHA-256 over the names, modes and contents below a directory."""
    entries = [
        [path.relative_to(tree).as_posix(), _mode(path), hashlib.sha256(path.read_bytes()).hexdigest()]
        for path in files_of(tree)
    ]
    return hashlib.sha256(json.dumps(entries, separators=(",", ":")).encode()).hexdigest()


def write_archive(tree: Path, archive: Path, *, epoch: int) -> None:
    """A tar archive, compressed with xz: files in one order, without owners, all of one time.

    Args:
        tree: What to pack; its own name is not in the archive.
        archive: The file to write.
        epoch: The time of every file, in seconds since 1970.
    """
    with tarfile.open(archive, "w:xz", format=tarfile.PAX_FORMAT) as tar:
        for path in files_of(tree):
            entry = tarfile.TarInfo(path.relative_to(tree).as_posix())
            entry.size, entry.mode, entry.mtime = path.stat().st_size, _mode(path), epoch
            with path.open("rb") as file:
                tar.addfile(entry, file)


def settle(archive: Path, *, epoch: int) -> None:
    """Writes a .tar.gz that another tool made once more: members in one order, without owners, all of one time."""
    draft = archive.with_name(f".{archive.name}.settled")
    with (
        tarfile.open(archive, "r:gz") as old,
        draft.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=epoch) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda one: one.name):
            entry = tarfile.TarInfo(member.name)
            entry.type, entry.size, entry.mtime = member.type, member.size, epoch
            entry.mode = _EXECUTABLE if member.mode & 0o100 else _PLAIN
            new.addfile(entry, old.extractfile(member))
    draft.replace(archive)


def _mode(path: Path) -> int:
    return _EXECUTABLE if path.stat().st_mode & 0o100 else _PLAIN
