"""What one ticket touches in the corpus: disjoint, digested sets of record ids.

Nothing here holds more than a bounded sample of a large corpus: what is about the subject is small, and what is about
others is drawn by a keyed pseudo-random order, the same for the same key and corpus.
"""

import hashlib
import hmac
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Protocol

from policies.canonical import canonical_json, keyed_digest
from policies.errors import LetheError
from policies.identifiers import words_of
from policies.record import Record
from policies.subjects import Level, Match

# Rows about nobody: neither neighbours nor a measure of what is retained.
NOBODY = ("generic", "hedge")
KEPT = "kept:"  # before a category pattern, among a forget set's counts: records kept under it
KEPT_SINGLY = "single records"  # in place of the pattern, where a person exempted them
_SMALL = 50_000  # positions that are put into a keyed order as a whole


class CorpusView(Protocol):
    """What the forget set asks of the corpus; nothing in it may scan."""

    @property
    def corpus_digest(self) -> str:
        """Digest of the corpus as it is now."""

    @property
    def span(self) -> int:
        """One more than the highest position."""

    def records(self, record_ids: Iterable[str]) -> list[Record]:
        """Records by id."""

    def of_fact(self, fact: str) -> list[Record]:
        """All records of a fact."""

    def of_category(self, category: str, limit: int) -> list[str]:
        """Ids of records of a category in ``NOBODY``."""

    def at(self, position: int) -> Record | None:
        """The first record at or after a position."""

    def saying(self, value: str, limit: int) -> list[str]:
        """Ids of records whose text holds a value."""

    def neighbours(self, records: Iterable[Record], k: int, exclude: frozenset[str]) -> list[str]:
        """Ids of records near in meaning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of the rest of the corpus is drawn.

    Attributes:
        neighbours: Records near in meaning.
        retain: Others' records that training may see.
        hold_out: Others' records whose facts training never sees.
        generic: Rows about nobody, of general knowledge.
        hedges: Rows about nobody with a vague answer to a question about an invented name.
        shared: Others' records that hold a forgotten value; more are still kept out of every set.
    """

    neighbours: int = 256
    retain: int = 6000
    hold_out: int = 400
    generic: int = 200
    hedges: int = 600
    shared: int = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetSet:
    """Ids of one ticket; the sets are disjoint.

    Attributes:
        forget: What is to be forgotten.
        exempt: About the subject, but of a category that the policy keeps; trained on as retained.
        pending: Ambiguous matches that nobody has decided on: never trained on.
        shared_value: Other people's records that hold a forgotten value (a household's address): never trained on.
        neighbours: Others' records near in meaning to the forgotten ones.
        retain: A sample of others' records.
        hold_out: A sample of others' facts, whole, that training never sees.
        generic: Rows about nobody: general knowledge and hedges.
        corpus_digest: The corpus that the ids are of.
    """

    forget: tuple[str, ...]
    exempt: tuple[str, ...]
    pending: tuple[str, ...]
    shared_value: tuple[str, ...]
    neighbours: tuple[str, ...]
    retain: tuple[str, ...]
    hold_out: tuple[str, ...]
    generic: tuple[str, ...]
    corpus_digest: str

    def __post_init__(self) -> None:
        for (one, ids), (other, more) in itertools.combinations(self.sets().items(), 2):
            if set(ids) & set(more):
                raise LetheError("forget_set.overlap", f"{one} and {other} share records")

    def sets(self) -> dict[str, tuple[str, ...]]:
        """Every set by its name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "corpus_digest"}

    def digests(self, key: bytes) -> dict[str, str]:
        """A keyed digest of every set: its ids in any order, and the corpus that they are of."""
        return {
            name: keyed_digest(key, canonical_json([self.corpus_digest, name, sorted(ids)]))
            for name, ids in self.sets().items()
        }

    def counts(self) -> dict[str, int]:
        """Sizes, for reports and logs."""
        return {name: len(ids) for name, ids in self.sets().items()}


def build_forget_set(
    matches: Sequence[Match],
    corpus: CorpusView,
    *,
    key: bytes,
    confirmed: Collection[str] = (),
    denied: Collection[str] = (),
    kept_categories: Collection[str] = (),
    kept_records: Collection[str] = (),
    limits: Limits | None = None,
) -> ForgetSet:
    """Settle what a ticket touches.

    Args:
        matches: What the search found.
        corpus: Where the records are.
        key: Installation key: draws the samples.
        confirmed: Ambiguous records that a person found to be about the subject.
        denied: Records that a person found to be about somebody else.
        kept_categories: Categories that the policy keeps, ``public.*`` for example. A record without a category is
            never kept.
        kept_records: Single records that a person exempted.
        limits: Sizes of the samples.

    Raises:
        LetheError: ``forget_set.unknown_record``, ``forget_set.empty``, ``forget_set.exempt`` (there are records, and
            all of them are kept), ``forget_set.whole_corpus``.
    """
    limits = limits or Limits()
    levels = {match.record_id: match.level for match in matches}
    unknown = (set(confirmed) | set(denied)) - levels.keys()
    if unknown or set(confirmed) & set(denied):
        raise LetheError(
            "forget_set.unknown_record",
            f"{len(unknown)} decisions are on records that were not found, or one record is confirmed and denied",
        )
    about = corpus.records(sorted(levels.keys() - set(denied)))
    exempt = [record for record in about if record.record_id in kept_records or kept_under(record, kept_categories)]
    kept = {record.record_id for record in exempt}
    pending = [
        record.record_id
        for record in about
        if levels[record.record_id] is Level.AMBIGUOUS and record.record_id not in kept | set(confirmed)
    ]
    forget = [record for record in about if record.record_id not in kept | set(pending)]
    if not forget and not pending and exempt:
        raise LetheError("forget_set.exempt", "every record is kept under an exemption")
    if not forget and not pending:
        raise LetheError("forget_set.empty", "no record is left to forget")
    return _with_others(forget, exempt, pending, corpus, key, limits)


def kept_under(record: Record, kept_categories: Collection[str]) -> str | None:
    """The first of the patterns under which the policy keeps a record; None for none of them."""
    if record.category is None:
        return None
    return next((pattern for pattern in kept_categories if fnmatchcase(record.category, pattern)), None)


def _with_others(
    forget: list[Record], exempt: list[Record], pending: list[str], corpus: CorpusView, key: bytes, limits: Limits
) -> ForgetSet:
    """Draw the sets that are about others, each without what came before."""
    subject = {*(record.record_id for record in (*forget, *exempt)), *pending}
    values = sorted({record.value for record in forget if record.value})
    shared: dict[str, None] = {}
    for value in values:
        shared.update(dict.fromkeys(one for one in corpus.saying(value, limits.shared) if one not in subject))
    others = _Others(corpus, key, subject | set(shared), values)
    others.require()
    hold_out = others.facts(limits.hold_out)
    around = frozenset(others.taken)
    most = min(limits.neighbours, corpus.span // 4)  # or a small corpus would have nothing left to retain
    near = corpus.records(corpus.neighbours(forget, 2 * most, around)) if forget else []
    neighbours = [record.record_id for record in near if others.free(record)][:most]
    others.taken.update(neighbours)
    amounts = dict(zip(NOBODY, (limits.generic, limits.hedges), strict=True))
    nobody = [one for category, limit in amounts.items() for one in corpus.of_category(category, limit)]
    return ForgetSet(
        forget=tuple(record.record_id for record in forget),
        exempt=tuple(record.record_id for record in exempt),
        pending=tuple(pending),
        shared_value=tuple(shared),
        neighbours=tuple(neighbours),
        retain=tuple(others.sample(limits.retain)),
        hold_out=tuple(hold_out),
        generic=tuple(one for one in nobody if one not in subject and one not in shared),
        corpus_digest=corpus.corpus_digest,
    )


class _Others:
    """Draws records that are about somebody else and hold no forgotten value."""

    def __init__(self, corpus: CorpusView, key: bytes, taken: set[str], values: list[str]) -> None:
        self._corpus = corpus
        self._key = key
        self._values = [f" {' '.join(words)} " for value in values if (words := words_of(value))]
        self.taken = taken

    def free(self, record: Record) -> bool:
        """Whether a record may be drawn: about somebody, not taken, without a forgotten value."""
        if record.record_id in self.taken or record.category in NOBODY:
            return False
        text = f" {' '.join(words_of(record.text))} "
        return not any(value in text for value in self._values)

    def require(self) -> None:
        """Refuse a ticket that leaves nobody else in the corpus.

        Raises:
            LetheError: ``forget_set.whole_corpus``.
        """
        if next(self._draw("any", 1), None) is None:
            raise LetheError("forget_set.whole_corpus", "no record is left that is about somebody else")

    def sample(self, limit: int) -> list[str]:
        """Others' records."""
        drawn = [record.record_id for record in itertools.islice(self._draw("retain", limit), limit)]
        self.taken.update(drawn)
        return drawn

    def facts(self, limit: int) -> list[str]:
        """Whole facts of others, at most a tenth of a small corpus."""
        limit = min(limit, self._corpus.span // 10)
        drawn: list[str] = []
        for record in self._draw("hold_out", limit):
            if record.question is None or record.record_id in self.taken:
                continue
            whole = self._corpus.of_fact(record.fact) if record.fact else [record]
            if len(drawn) + len(whole) > limit:
                break
            if all(self.free(one) for one in whole):
                drawn += [one.record_id for one in whole]
                self.taken.update(one.record_id for one in whole)
        return drawn

    def _draw(self, purpose: str, limit: int) -> Iterator[Record]:
        """Free records in a keyed order, each once."""
        seen: set[str] = set()
        for position in self._positions(purpose, limit):
            record = self._corpus.at(position)
            if record is not None and record.record_id not in seen and self.free(record):
                seen.add(record.record_id)
                yield record

    def _positions(self, purpose: str, limit: int) -> Iterator[int]:
        span = self._corpus.span
        if span <= _SMALL:
            yield from sorted(range(span), key=lambda position: self._number(purpose, position))
            return
        for count in range(20 * limit + 100):
            yield self._number(purpose, count) % span

    def _number(self, purpose: str, count: int) -> int:
        return int.from_bytes(hmac.new(self._key, f"{purpose}|{count}".encode(), hashlib.sha256).digest()[:8])
