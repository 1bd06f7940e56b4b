"""Building the subject index in one pass over the corpus, and changing it record by record."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

from pipelines.corpus.index import INDEXES, SCHEMA, VERSION, SubjectIndex, folded_text
from pipelines.corpus.load import Corpus, digest_line
from pipelines.corpus.marking import Marked, Marking, marker
from pipelines.corpus.slices import slices
from pipelines.corpus.sources import HUB_PREFIX
from pipelines.spread.port import EMBEDDED, Spread
from policies.errors import LetheError
from policies.identifiers import Key, blocking_keys
from policies.record import Record

Progress = Callable[[int], None]


def build_index(
    corpus: Corpus,
    path: Path,
    *,
    region: str = "US",
    progress: Progress | None = None,
    spread: Spread = EMBEDDED,
) -> SubjectIndex:
    """Index a corpus in one pass; an index that is already there is replaced only when the new one is whole.

    Args:
        corpus: What to index.
        path: The index file.
        region: Country of phone numbers without a country code.
        progress: Called with the number of records so far, every few thousand.
        spread: Where records are read and searched for names and identifiers; the index is written here.

    Raises:
        LetheError: What reading the corpus raises (``corpus.duplicate_id`` too), and ``corpus.empty``;
            ``corpus.not_splittable``.
    """
    stamp = corpus.stamp  # before reading: a file that changes meanwhile is then read again
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    connection = sqlite3.connect(partial, isolation_level=None)
    partial.chmod(0o600)
    try:
        connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -200000;")
        connection.executescript(SCHEMA)
        connection.execute("BEGIN")
        parts = slices(corpus, elsewhere=spread.elsewhere)
        digest = _Build(connection).run(spread.over(parts, Marking(region)), progress)
        meta = {"version": str(VERSION), "corpus_digest": digest, "region": region, "stamp": stamp or ""}
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        partial.unlink(missing_ok=True)
        raise
    connection.close()
    partial.replace(path)
    return SubjectIndex(path)


def ensure_index(corpus: Corpus, path: Path, *, region: str = "US", progress: Progress | None = None) -> SubjectIndex:
    """The index of a corpus, built if it is not there or of another state of the corpus."""
    if path.is_file():
        try:
            index = SubjectIndex(path)
        except LetheError:
            return build_index(corpus, path, region=region, progress=progress)
        unchanged = corpus.stamp is not None and corpus.stamp == index.meta["stamp"]
        if index.region == region and (unchanged or index.corpus_digest == corpus.digest):
            return index
        index.close()
    return build_index(corpus, path, region=region, progress=progress)


def index_path(home: Path, corpus: Corpus) -> Path:
    """Where an installation keeps the index of a corpus; the name says nothing about its content."""
    place = str(corpus.path if str(corpus.path).startswith(HUB_PREFIX) else Path(corpus.path).resolve())
    return home / "index" / f"{hashlib.sha256(place.encode()).hexdigest()[:16]}.sqlite"


class _Build:
    """Numbers names, topics and words in memory while records stream by; sorted tables are filled at the end."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._names: dict[str, int] = {}
        self._counts: list[int] = []
        self._topics: dict[str, int] = {}
        self._hasher = hashlib.sha256()

    def run(self, marked: Iterable[list[Marked]], progress: Progress | None) -> str:
        """Fill all tables; returns the corpus digest, so that the corpus is read only once."""
        run = self._connection.execute
        run("CREATE TEMP TABLE raw_mention (name_id INTEGER, rec INTEGER)")
        run("CREATE TEMP TABLE raw_holding (kind TEXT, key TEXT, rec INTEGER)")
        count = 0
        for batch in marked:
            self._write(batch, count)
            count += len(batch)
            if progress is not None:
                progress(count)
        if not count:
            raise LetheError("corpus.empty", "the corpus has no rows")
        run("INSERT INTO mention SELECT DISTINCT name_id, rec FROM raw_mention ORDER BY name_id, rec")
        run("INSERT INTO holding SELECT DISTINCT kind, key, rec FROM raw_holding ORDER BY kind, key, rec")
        self._write_names()
        many = self._connection.executemany
        many("INSERT INTO topic VALUES (?, ?)", ((number, text) for text, number in self._topics.items()))
        many("INSERT INTO topic_words (rowid, text) VALUES (?, ?)", ((n, text) for text, n in self._topics.items()))
        run("DROP TABLE raw_mention")
        run("DROP TABLE raw_holding")
        try:
            for statement in INDEXES.strip().split(";\n"):
                run(statement)
        except sqlite3.IntegrityError:
            raise LetheError("corpus.duplicate_id", "two records of the corpus have one id") from None
        return self._hasher.hexdigest()

    def _write(self, batch: list[Marked], first: int) -> None:
        rows, bodies, mentions, holdings = [], [], [], []
        for rec, (record, (names, keys, topic), text) in enumerate(batch, start=first):
            for spelling in names:
                name_id = self._names.setdefault(spelling, len(self._counts))
                if name_id == len(self._counts):
                    self._counts.append(0)
                self._counts[name_id] += 1
                mentions.append((name_id, rec))
            holdings += [(kind.value, key, rec) for kind, key in keys]
            topic_id = self._topics.setdefault(topic, len(self._topics)) if topic else None
            rows.append(_row(rec, record, names, keys, topic_id))
            bodies.append((rec, text))
            self._hasher.update(digest_line(record))
        many = self._connection.executemany
        many("INSERT INTO record VALUES (?,?,?,?,?,?,?,?,?,?)", rows)
        many("INSERT INTO body (rowid, text) VALUES (?, ?)", bodies)
        many("INSERT INTO raw_mention VALUES (?, ?)", mentions)
        many("INSERT INTO raw_holding VALUES (?, ?, ?)", holdings)

    def _write_names(self) -> None:
        many = self._connection.executemany
        many("INSERT INTO name VALUES (?, ?, ?)", ((n, text, self._counts[n]) for text, n in self._names.items()))
        words = sorted({(word, n) for text, n in self._names.items() for word in set(text.split(" "))})
        many("INSERT INTO word_name VALUES (?, ?)", words)
        blocks = sorted({(block, word) for word in {word for word, _ in words} for block in blocking_keys(word)})
        many("INSERT INTO near_word VALUES (?, ?)", blocks)


def add_records(index: SubjectIndex, records: Iterable[Record], corpus_digest: str) -> int:
    """Index more records; all or nothing.

    Args:
        index: The index to change.
        records: Records that are not in it.
        corpus_digest: Digest of the corpus as it is with them.

    Raises:
        LetheError: ``corpus.duplicate_id``.
    """
    marks = marker(index.region)
    run = index.connection.execute
    count = 0
    with _transaction(index, corpus_digest):
        rec = index.span
        for record in records:
            names, keys, topic = marks(record)
            try:
                run(
                    "INSERT INTO record VALUES (?,?,?,?,?,?,?,?,?,?)",
                    _row(rec, record, names, keys, _topic(index, topic)),
                )
            except sqlite3.IntegrityError:
                raise LetheError("corpus.duplicate_id", "a record with this id is already in the index") from None
            run("INSERT INTO body (rowid, text) VALUES (?, ?)", (rec, folded_text(record)))
            for spelling in names:
                run("INSERT INTO mention VALUES (?, ?)", (_name(index, spelling), rec))
            for kind, key in keys:
                run("INSERT INTO holding VALUES (?, ?, ?)", (kind.value, key, rec))
            rec += 1
            count += 1
    return count


def remove_records(index: SubjectIndex, record_ids: Iterable[str], corpus_digest: str) -> int:
    """Take records out, with every trace of their names and identifiers; all or nothing.

    Call :func:`purge` afterwards: deleted text stays in the full-text segments until then.

    Args:
        index: The index to change.
        record_ids: Which records; unknown ids are no fault, so that a repeated call does no harm.
        corpus_digest: Digest of the corpus as it is without them.
    """
    run = index.connection.execute
    marks = marker(index.region)
    count = 0
    with _transaction(index, corpus_digest):
        for record in index.records(record_ids):
            rec = run("SELECT rec FROM record WHERE record_id = ?", (record.record_id,)).fetchone()[0]
            names, keys, _ = marks(record)
            for spelling in names:
                run("DELETE FROM mention WHERE name_id = ? AND rec = ?", (_name(index, spelling, -1), rec))
                _forget_name(index, spelling)
            for kind, key in keys:
                run("DELETE FROM holding WHERE kind = ? AND key = ? AND rec = ?", (kind.value, key, rec))
            run("INSERT INTO body (body, rowid, text) VALUES ('delete', ?, ?)", (rec, folded_text(record)))
            run("DELETE FROM record WHERE rec = ?", (rec,))
            count += 1
    return count


def purge(index: SubjectIndex) -> None:
    """Rewrite the file so that nothing of removed records is left in free pages or old full-text segments."""
    index.connection.execute("INSERT INTO body (body) VALUES ('optimize')")
    index.connection.execute("VACUUM")


def _row(
    rec: int, record: Record, names: tuple[str, ...], keys: tuple[Key, ...], topic: int | None
) -> tuple[object, ...]:
    held = "\n".join(f"{kind.value}:{key}" for kind, key in keys)
    return (
        rec, record.record_id, record.question, record.answer, record.category, record.fact, record.value,
        "\n".join(names), held, topic,
    )  # fmt: skip


def _name(index: SubjectIndex, spelling: str, change: int = 1) -> int:
    """The number of a spelling, with its count changed; a new spelling is entered with its words."""
    run = index.connection.execute
    row = run("SELECT name_id FROM name WHERE spelling = ?", (spelling,)).fetchone()
    if row:
        run("UPDATE name SET records = records + ? WHERE name_id = ?", (change, row[0]))
        return int(row[0])
    name_id = int(run("INSERT INTO name (spelling, records) VALUES (?, ?)", (spelling, change)).lastrowid or 0)
    for word in set(spelling.split(" ")):
        run("INSERT INTO word_name VALUES (?, ?)", (word, name_id))
        for block in blocking_keys(word):
            run("INSERT OR IGNORE INTO near_word VALUES (?, ?)", (block, word))
    return name_id


def _forget_name(index: SubjectIndex, spelling: str) -> None:
    """Drop a spelling that no record has any more, and words that no spelling has."""
    run = index.connection.execute
    row = run("SELECT name_id FROM name WHERE spelling = ? AND records <= 0", (spelling,)).fetchone()
    if row is None:
        return
    run("DELETE FROM name WHERE name_id = ?", row)
    for word in set(spelling.split(" ")):
        run("DELETE FROM word_name WHERE word = ? AND name_id = ?", (word, row[0]))
        if run("SELECT 1 FROM word_name WHERE word = ? LIMIT 1", (word,)).fetchone() is None:
            for block in blocking_keys(word):
                run("DELETE FROM near_word WHERE block = ? AND word = ?", (block, word))


def _topic(index: SubjectIndex, text: str | None) -> int | None:
    if text is None:
        return None
    run = index.connection.execute
    row = run("SELECT topic_id FROM topic WHERE text = ?", (text,)).fetchone()
    if row:
        return int(row[0])
    topic_id = int(run("INSERT INTO topic (text) VALUES (?)", (text,)).lastrowid or 0)
    run("INSERT INTO topic_words (rowid, text) VALUES (?, ?)", (topic_id, text))
    return topic_id


class _transaction:
    """One change of the index with the corpus digest that it leads to."""

    def __init__(self, index: SubjectIndex, corpus_digest: str) -> None:
        self._index = index
        self._digest = corpus_digest

    def __enter__(self) -> None:
        self._index.connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._index.connection.execute("ROLLBACK")
            return
        self._index.connection.execute("UPDATE meta SET value = ? WHERE key = 'corpus_digest'", (self._digest,))
        self._index.connection.execute("COMMIT")
        self._index.meta["corpus_digest"] = self._digest
