"""A planted person, and a search for every trace of it: files, file names, SQLite tables, logs, any text.

``Canary.search(directory)`` looks for each identifier in the spellings that software makes of it. A finding names the
place and the kind of identifier, so that a failing test says where the leak is.
"""

import base64
import json
import sqlite3
import unicodedata
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Finding:
    """An identifier where none may be."""

    place: str
    kind: str
    spelling: str


def spellings(identifier: str) -> dict[str, bytes]:
    """The bytes that an identifier may have become, lower case, by how."""
    cases = (identifier, identifier.upper(), identifier.casefold())  # bytes.lower() knows ASCII only
    forms = {unicodedata.normalize(form, text) for text in cases for form in ("NFC", "NFD")}
    plain = "".join(c for c in unicodedata.normalize("NFKD", identifier) if not unicodedata.combining(c))
    found: dict[str, bytes] = {}
    for text in sorted({*forms, plain}):
        found[f"plain {text!r}"] = text.encode()
        found[f"utf-16 {text!r}"] = text.encode("utf-16-le")
        found[f"json {text!r}"] = json.dumps(text)[1:-1].encode()
        found[f"url {text!r}"] = urllib.parse.quote(text, safe="").encode()
        found[f"form {text!r}"] = urllib.parse.quote_plus(text).encode()
        found[f"hex {text!r}"] = text.encode().hex().encode()
    return {how: data.lower() for how, data in found.items()}


def base64_cores(identifier: str) -> dict[str, bytes]:
    """The middle of each of the three ways in which text lies in base64, standard and URL-safe; case matters there."""
    found: dict[str, bytes] = {}
    for text in (identifier, identifier.casefold(), identifier.upper()):
        for shift in range(3):
            encoded = base64.b64encode(b"\0" * shift + text.encode())
            core = encoded[-(-shift * 4 // 3) : len(encoded) - 4].lstrip(b"=")
            if shift:
                core = core[1:]
            if len(core) >= 8:
                found[f"base64+{shift} {text!r}"] = core
                found[f"base64url+{shift} {text!r}"] = core.replace(b"+", b"-").replace(b"/", b"_")
    return found


class Canary:
    """A person that exists nowhere else.

    Args:
        identifiers: By kind (``name``, ``email``, ``phone``, ``value``); short ones would be found by accident.

    Raises:
        ValueError: An identifier has fewer than six characters.
    """

    def __init__(self, identifiers: Mapping[str, Iterable[str]]) -> None:
        self._insensitive: dict[tuple[str, bytes], str] = {}  # many spellings are the same bytes
        self._exact: dict[tuple[str, bytes], str] = {}
        for kind, texts in identifiers.items():
            for text in texts:
                if len(text) < 6:
                    raise ValueError(f"an identifier of kind {kind} is too short to be searched for")
                self._insensitive |= {(kind, data): how for how, data in spellings(text).items()}
                self._exact |= {(kind, data): how for how, data in base64_cores(text).items()}

    def in_bytes(self, data: bytes, place: str) -> list[Finding]:
        """Every identifier in some bytes."""
        lower = data.lower()
        found = [Finding(place, kind, how) for (kind, needle), how in self._insensitive.items() if needle in lower]
        return found + [Finding(place, kind, how) for (kind, needle), how in self._exact.items() if needle in data]

    def in_text(self, text: str, place: str) -> list[Finding]:
        """Every identifier in a text: a log, a response, a span as JSON."""
        return self.in_bytes(text.encode("utf-8", "surrogatepass"), place)

    def search(self, *roots: Path, skip: Iterable[Path] = ()) -> list[Finding]:
        """Every identifier in files, file names and SQLite tables under some directories.

        Args:
            roots: Directories or files.
            skip: What may hold the person: the corpus, the base model.
        """
        left_out = [path.resolve() for path in skip]
        found: list[Finding] = []
        for path in _walk(roots):
            if any(path.resolve().is_relative_to(other) for other in left_out):
                continue
            found += self.in_text(path.name, f"name of {path}")
            if not path.is_file():
                continue
            if _is_sqlite(path):
                found += self._in_sqlite(path)
            found += self._in_file(path)
        return found

    def _in_file(self, path: Path, chunk: int = 16 * 2**20, overlap: int = 4096) -> list[Finding]:
        found: dict[tuple[str, str], Finding] = {}
        with path.open("rb") as file:
            tail = b""
            while data := file.read(chunk):
                for finding in self.in_bytes(tail + data, str(path)):
                    found[finding.kind, finding.spelling] = finding
                tail = data[-overlap:]
        return list(found.values())

    def _in_sqlite(self, path: Path) -> list[Finding]:
        """Rows as a reader sees them: with what is still in the write-ahead log, and texts that span pages."""
        found: list[Finding] = []
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            connection.text_factory = bytes
            tables = [
                name.decode() for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
            ]
            for table in tables:
                try:
                    rows = connection.execute(f'SELECT * FROM "{table}"')
                except sqlite3.DatabaseError:  # a virtual table whose module this Python lacks; the file is read anyway
                    continue
                columns = [column[0] for column in rows.description]
                for column, values in zip(columns, zip(*rows, strict=True), strict=False):
                    data = b"\0".join(value if isinstance(value, bytes) else str(value).encode() for value in values)
                    found += self.in_bytes(data, f"{path} {table}.{column}")
        return found


def _walk(roots: Iterable[Path]) -> Iterator[Path]:
    for root in roots:
        yield root
        if root.is_dir():
            yield from sorted(root.rglob("*"))


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"
