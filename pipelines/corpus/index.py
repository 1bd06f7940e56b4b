"""The subject index: who is named in which record of a corpus, on disk, searched without a scan.

SQLite from the standard library serves as a *file format* here, like Parquet: one file per corpus with B-trees over
normalised identifiers, name spellings and blocking keys, and full-text indexes. It holds no state of the service (that
is the store's), has one writer, and can be deleted and built anew at any time. It holds personal data: it belongs in
the installation directory, and records are taken out of it when a person is forgotten.
"""

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from policies.errors import LetheError
from policies.identifiers import Key, Kind, Name, blocking_keys, fold, short_forms, words_of
from policies.record import Record
from policies.subjects import Entry

VERSION = 1

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE record (
  rec INTEGER PRIMARY KEY, record_id TEXT NOT NULL, question TEXT, answer TEXT NOT NULL, category TEXT, fact TEXT,
  value TEXT, names TEXT NOT NULL, keys TEXT NOT NULL, topic INTEGER);
CREATE TABLE name (name_id INTEGER PRIMARY KEY, spelling TEXT NOT NULL, records INTEGER NOT NULL);
CREATE TABLE topic (topic_id INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE mention (name_id INTEGER, rec INTEGER, PRIMARY KEY (name_id, rec)) WITHOUT ROWID;
CREATE TABLE holding (kind TEXT, key TEXT, rec INTEGER, PRIMARY KEY (kind, key, rec)) WITHOUT ROWID;
CREATE TABLE word_name (word TEXT, name_id INTEGER, PRIMARY KEY (word, name_id)) WITHOUT ROWID;
CREATE TABLE near_word (block TEXT, word TEXT, PRIMARY KEY (block, word)) WITHOUT ROWID;
CREATE VIRTUAL TABLE body USING fts5(text, content='', columnsize=0, tokenize='unicode61');
CREATE VIRTUAL TABLE topic_words USING fts5(text, content='', tokenize='unicode61');
"""
INDEXES = """
CREATE UNIQUE INDEX record_by_id ON record (record_id);
CREATE INDEX record_by_fact ON record (fact) WHERE fact IS NOT NULL;
CREATE INDEX record_by_category ON record (category) WHERE category IN ('generic', 'hedge');
CREATE INDEX record_by_topic ON record (topic) WHERE topic IS NOT NULL;
CREATE UNIQUE INDEX name_by_spelling ON name (spelling);
CREATE UNIQUE INDEX topic_by_text ON topic (text);
"""
_ROWS = "SELECT rec, record_id, names, keys FROM record WHERE rec IN "
_RECORD = "SELECT record_id, question, answer, category, fact, value FROM record "


class SubjectIndex:
    """An open index; make one with :func:`pipelines.corpus.indexing.build_index`.

    Args:
        path: The index file.

    Raises:
        LetheError: ``subject.index_broken``: not an index, or one of another version.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise LetheError("subject.index_broken", f"there is no index at {path}")
        self.path = path
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self.connection.executescript("PRAGMA mmap_size = 268435456; PRAGMA secure_delete = ON;")
            self.meta: dict[str, str] = dict(self.connection.execute("SELECT key, value FROM meta"))
        except sqlite3.DatabaseError as error:
            self.connection.close()
            raise LetheError("subject.index_broken", f"{path} is not an index ({type(error).__name__})") from error
        if self.meta.get("version") != str(VERSION):
            self.connection.close()
            raise LetheError("subject.index_broken", f"{path} was written by another version")

    def __enter__(self) -> "SubjectIndex":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file."""
        self.connection.close()

    @property
    def corpus_digest(self) -> str:
        """Digest of the corpus that the index was built from."""
        return self.meta["corpus_digest"]

    @property
    def region(self) -> str:
        """Country of phone numbers without a country code."""
        return self.meta["region"]

    def __len__(self) -> int:
        return int(self.connection.execute("SELECT count(*) FROM record").fetchone()[0])

    def require(self, corpus_digest: str) -> None:
        """Refuse to search an index of another state of the corpus.

        Raises:
            LetheError: ``subject.index_stale``.
        """
        if corpus_digest != self.corpus_digest:
            raise LetheError("subject.index_stale", "the index is not of this state of the corpus")

    # What the matcher asks (policies.subjects.SubjectSearch)

    def holding(self, key: Key, limit: int | None = None) -> Sequence[Entry]:
        """Records with the identifier."""
        found = self.connection.execute(
            "SELECT rec FROM holding WHERE kind = ? AND key = ? LIMIT ?", (key[0].value, key[1], limit or -1)
        )
        return self._entries(rec for (rec,) in found)

    def keys(self) -> Iterator[Key]:
        """Every identifier other than names that some record holds, each once."""
        for kind, key in self.connection.execute("SELECT DISTINCT kind, key FROM holding"):
            yield Kind(kind), key

    def named(self, name: Name) -> Sequence[Entry]:
        """Records that spell a name exactly so."""
        found = self.connection.execute(
            "SELECT m.rec FROM name n JOIN mention m USING (name_id) WHERE n.spelling = ?", (" ".join(name),)
        )
        return self._entries(rec for (rec,) in found)

    def spellings(self, name: Name) -> dict[Name, int]:
        """Names with the same surname, or with one like it and the same first name."""
        found: dict[Name, int] = {}
        last, first = name[-1], name[0]
        firsts = {first, first[0], *short_forms(first)}
        for word in {last} | self._near_words(last):
            for spelling, records in self._with_word(word):
                candidate = tuple(spelling.split(" "))
                if word == last or candidate[0] in firsts:
                    found[candidate] = records
        if len(last) == 1:  # "Marta R." in the text of someone else's search
            return found
        for spelling, records in self._with_word(first) if len(name) > 2 else ():
            found[tuple(spelling.split(" "))] = records
        return found

    def count(self, name: Name) -> int:
        """How many records spell a name exactly so."""
        row = self.connection.execute("SELECT records FROM name WHERE spelling = ?", (" ".join(name),)).fetchone()
        return int(row[0]) if row else 0

    def phrase(self, words: Name) -> Sequence[Entry]:
        """Records in which these words follow each other."""
        return self._entries(self._phrase(words))

    # What the forget set asks

    def records(self, record_ids: Iterable[str]) -> list[Record]:
        """Records by id, in that order; unknown ids are left out."""
        found = []
        for record_id in record_ids:
            row = self.connection.execute(_RECORD + "WHERE record_id = ?", (record_id,)).fetchone()
            if row:
                found.append(_record(row))
        return found

    def of_fact(self, fact: str) -> list[Record]:
        """All records of a fact."""
        return [_record(row) for row in self.connection.execute(_RECORD + "WHERE fact = ? ORDER BY rec", (fact,))]

    def of_category(self, category: str, limit: int) -> list[str]:
        """Ids of rows about nobody: ``generic`` or ``hedge``, the categories that have an index."""
        rows = self.connection.execute(
            "SELECT record_id FROM record WHERE category = ? AND category IN ('generic', 'hedge') ORDER BY rec LIMIT ?",
            (category, limit),
        )
        return [record_id for (record_id,) in rows]

    def values_of(self, categories: Collection[str]) -> set[str]:
        """Every value that a record of the categories states; reads the whole index once."""
        marks = ", ".join("?" * len(categories))
        rows = self.connection.execute(
            f"SELECT DISTINCT value FROM record WHERE value IS NOT NULL AND category IN ({marks})",  # noqa: S608 - marks
            tuple(categories),
        )
        return {value for (value,) in rows}

    def at(self, position: int) -> Record | None:
        """The first record at or after a position below :attr:`span`."""
        row = self.connection.execute(_RECORD + "WHERE rec >= ? ORDER BY rec LIMIT 1", (position,)).fetchone()
        return _record(row) if row else None

    @property
    def span(self) -> int:
        """One more than the highest position."""
        return int(self.connection.execute("SELECT coalesce(max(rec), -1) + 1 FROM record").fetchone()[0])

    def saying(self, value: str, limit: int) -> list[str]:
        """Ids of records whose text holds a value, whatever its case and accents."""
        words = words_of(value)
        if not words:
            return []
        recs = list(self._phrase(words, limit))
        return [entry.record_id for entry in self._entries(recs)]

    def said_outside(self, phrases: Iterable[Name], record_ids: Iterable[str]) -> set[Name]:
        """Those of some runs of words that stand in a record other than the given ones, whatever the case and accents.

        Args:
            phrases: Folded words (``words_of``).
            record_ids: Of the records that do not count.
        """
        inside = {
            rec
            for record_id in record_ids
            for (rec,) in self.connection.execute("SELECT rec FROM record WHERE record_id = ?", (record_id,))
        }
        return {words for words in phrases if words and any(rec not in inside for rec in self._phrase(words))}

    def neighbours(self, records: Iterable[Record], k: int, exclude: frozenset[str] = frozenset()) -> list[str]:
        """Ids of records near in meaning (BM25 over what is asked, names taken out), nearest topics first.

        Args:
            records: The records to be near to.
            k: At most so many, in turn over the topics of ``records``.
            exclude: Ids that must not be among them (everything about the subject).
        """
        topics = list(dict.fromkeys(topic for record in records if (topic := self._topic(record.record_id))))
        queues = [self._beside(topic, k, exclude) for topic in topics]
        found: dict[str, None] = {}
        while queues and len(found) < k:
            for queue in list(queues):
                record_id = next((one for one in queue if one not in found), None)
                if record_id is None:
                    queues.remove(queue)
                elif len(found) < k:
                    found[record_id] = None
        return list(found)

    # Inner parts

    def _topic(self, record_id: str) -> str | None:
        row = self.connection.execute(
            "SELECT t.text FROM record r JOIN topic t ON t.topic_id = r.topic WHERE r.record_id = ?", (record_id,)
        ).fetchone()
        return row[0] if row else None

    def _beside(self, topic: str, k: int, exclude: frozenset[str]) -> Iterator[str]:
        """Records of the topics nearest to one, the topic itself first; records spread over the whole corpus."""
        query = " OR ".join(f'"{word}"' for word in topic.split())
        nearest = self.connection.execute(
            "SELECT rowid FROM topic_words WHERE topic_words MATCH ? ORDER BY bm25(topic_words), rowid LIMIT 8",
            (query,),
        ).fetchall()
        for (topic_id,) in nearest:
            # Records of one person stand together: a scattered order takes them from many.
            rows = self.connection.execute(
                "SELECT record_id FROM record WHERE rec IN (SELECT rec FROM record WHERE topic = ?"
                " ORDER BY rec * 7919 % 10007, rec LIMIT ?) ORDER BY rec * 7919 % 10007, rec",
                (topic_id, k + len(exclude)),
            )
            yield from (record_id for (record_id,) in rows if record_id not in exclude)

    def _phrase(self, words: Name, limit: int = -1) -> Iterator[int]:
        query = '"' + " ".join(word.replace('"', "") for word in words) + '"'
        found = self.connection.execute("SELECT rowid FROM body WHERE body MATCH ? LIMIT ?", (query, limit))
        return (rec for (rec,) in found)

    def _with_word(self, word: str) -> list[tuple[str, int]]:
        return self.connection.execute(
            "SELECT n.spelling, n.records FROM word_name w JOIN name n USING (name_id) WHERE w.word = ?", (word,)
        ).fetchall()

    def _near_words(self, word: str) -> set[str]:
        found: set[str] = set()
        for block in blocking_keys(word):
            found.update(
                one for (one,) in self.connection.execute("SELECT word FROM near_word WHERE block = ?", (block,))
            )
        return found

    def _entries(self, recs: Iterable[int]) -> list[Entry]:
        wanted = list(recs)
        rows: list[tuple[int, str, str, str]] = []
        for start in range(0, len(wanted), 500):
            part = wanted[start : start + 500]
            rows += self.connection.execute(_ROWS + f"({','.join('?' * len(part))}) ORDER BY rec", part)
        spelt: dict[str, frozenset[Name]] = {}
        held: dict[str, frozenset[Key]] = {}
        entries = []
        for _, record_id, names, keys in rows:
            if names not in spelt:
                spelt[names] = frozenset(tuple(name.split(" ")) for name in names.split("\n") if name)
            if keys not in held:
                held[keys] = frozenset(_key(line) for line in keys.split("\n") if line)
            entries.append(Entry(record_id, spelt[names], held[keys]))
        return entries


def _key(line: str) -> Key:
    kind, _, key = line.partition(":")
    return Kind(kind), key


def _record(row: tuple[str, str | None, str, str | None, str | None, str | None]) -> Record:
    record_id, question, answer, category, fact, value = row
    return Record(record_id=record_id, question=question, answer=answer, category=category, fact=fact, value=value)


def folded_text(record: Record) -> str:
    """What the full-text index holds of a record: folded, so that SQLite's tokenizer need not know accents."""
    return " ".join(words_of(fold(record.text)))
