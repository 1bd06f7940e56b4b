"""Which records are about a person: certain, probable or ambiguous, each with its reasons.

The rules, in the order in which they are applied:

1. An identifier that was given belongs to the person, unless the records show that several people share it.
2. The names that go with those identifiers belong to the person too (so an e-mail address alone finds everything).
3. Every spelling in the corpus that fits one of the names is looked up. Where the spelling fits somebody else as well
   (a namesake, an initial that two people have) it is ambiguous.
4. Identifiers that stand beside the name and nobody else's belong to the person too; one step, no further.

*Certain* means: nobody else in the corpus fits. *Ambiguous* records wait for a person and never train unless confirmed.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from policies.errors import LetheError
from policies.identifiers import Fit, Identifiers, Key, Kind, Name, fit, normalise_name

_DOMINANT = 0.75  # share of an identifier's named records from which it belongs to one name
_ESTABLISHED = 3  # records from which a name is a person rather than a slip
_SUPPORT = 2  # records that have to agree before a link is certain
_COMMON = 60  # an id that stands in more records than this is no personal number


class Level(StrEnum):
    """How sure it is that a record is about the person."""

    CERTAIN = "certain"
    PROBABLE = "probable"
    AMBIGUOUS = "ambiguous"


_RANK = {Level.CERTAIN: 0, Level.PROBABLE: 1, Level.AMBIGUOUS: 2}


@dataclass(frozen=True, slots=True)
class Entry:
    """A record as the index knows it: whom it names, and the identifiers in it."""

    record_id: str
    names: frozenset[Name]
    keys: frozenset[Key]


class SubjectSearch(Protocol):
    """What the matcher asks of an index; nothing in it may scan the corpus."""

    def holding(self, key: Key, limit: int | None = None) -> Sequence[Entry]:
        """Records with the identifier."""

    def named(self, name: Name) -> Sequence[Entry]:
        """Records that spell a name exactly so."""

    def spellings(self, name: Name) -> dict[Name, int]:
        """Names that could fit, with the number of records that have each."""

    def count(self, name: Name) -> int:
        """How many records spell a name exactly so."""

    def phrase(self, words: Name) -> Sequence[Entry]:
        """Records in which these words follow each other."""


@dataclass(frozen=True, slots=True)
class Match:
    """A record about the person, as far as one can tell."""

    record_id: str
    level: Level
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SubjectMatches:
    """All matches, and what was learnt about the person on the way.

    Attributes:
        matches: One a record, certain ones first.
        names: The spellings that are certainly the person's, to measure and augment with; personal data.
    """

    matches: tuple[Match, ...]
    names: tuple[Name, ...]

    def of(self, level: Level) -> tuple[str, ...]:
        """Ids of the records of one level."""
        return tuple(match.record_id for match in self.matches if match.level is level)


def find_subject(identifiers: Identifiers, index: SubjectSearch) -> SubjectMatches:
    """Look a person up.

    Args:
        identifiers: What is known; more is better, one is enough.
        index: Where to look.

    Raises:
        LetheError: ``subject.no_identifier``.
    """
    keys = identifiers.keys()
    asked = tuple(dict.fromkeys(name for text in identifiers.names if (name := normalise_name(text))))
    if not keys and not asked:
        raise LetheError("subject.no_identifier", "none of the identifiers can be searched for")
    return _Search(index, identifiers.spelt()).run(asked, keys)


@dataclass(slots=True)
class _Holding:
    """One identifier with its records, and whom they name."""

    entries: Sequence[Entry]
    named: Counter[Name] = field(default_factory=Counter)

    def owner(self, asked: Iterable[Name], count: Callable[[Name], int]) -> tuple[Name | None, int, bool]:
        """The name that it belongs to, in how many records, and whether others share it.

        Of names that it is found with equally often, the one that the corpus has more of: ``Regarding Marta Rossi`` is
        rarer than ``Marta Rossi``.
        """
        if not self.named:
            return None, 0, False
        total = sum(1 for entry in self.entries if entry.names)
        ranked = {name: (self.support(name), any(fit(one, name) for one in asked)) for name in self.named}
        top = max(ranked.values())
        best = max((name for name, rank in ranked.items() if rank == top), key=lambda name: (count(name), name))
        others = sum(1 for entry in self.entries if any(not _same(best, name, entry) for name in entry.names))
        return best, top[0], others > total * (1 - _DOMINANT)

    def support(self, name: Name) -> int:
        """In how many records the name stands, in this spelling or with a middle name more or less."""
        fitting = {other for other in self.named if fit(name, other) in (Fit.EXACT, Fit.VARIANT)}
        return sum(1 for entry in self.entries if entry.names & fitting)


def _same(name: Name, seen: Name, entry: Entry) -> bool:
    """Whether a spelling in a record is the name, or cut from the same run of words (``Regarding Marta`` Rossi)."""
    return fit(name, seen) is not None or any(
        fit(name, other) is not None and _overlap(seen, other) for other in entry.names
    )


def _overlap(one: Name, other: Name) -> bool:
    """Whether one holds the other, or ends with the words that the other begins with."""
    if _within(one, other) or _within(other, one):
        return True
    sizes = range(1, min(len(one), len(other)))
    return any(one[-size:] == other[:size] or other[-size:] == one[:size] for size in sizes)


def _only_longer(entry: Entry, names: tuple[Name, ...]) -> bool:
    """Whether the name goes on: ``Marta Rossi Bianchi``, ``Marta Rossi Foundation``."""
    return any(len(seen) > len(name) and seen[: len(name)] == name for name in names for seen in entry.names)


def _within(piece: Name, whole: Name) -> bool:
    size = len(piece)
    return any(whole[at : at + size] == piece for at in range(len(whole) - size + 1))


class _Search:
    """One look-up; holds what was found so far."""

    def __init__(self, index: SubjectSearch, spelt: dict[Key, Name]) -> None:
        self._index = index
        self._phrases = spelt
        self._found: dict[str, tuple[Level, list[str]]] = {}
        self._entries: dict[str, Entry] = {}
        self._counts: dict[Name, int] = {}
        self._spelt: dict[Name, dict[Name, int]] = {}

    def run(self, asked: tuple[Name, ...], keys: tuple[Key, ...]) -> SubjectMatches:
        held = {key: self._hold(key) for key in keys}
        names, support = self._names(asked, held)
        for name in names:
            self._spellings(name, names, set(keys), certain=name in asked or support[name] >= _SUPPORT)
        for key, holding in held.items():
            self._by_key(key, holding, names, linked=None)
        self._linked(names, set(keys))
        matches = [Match(record_id, level, tuple(reasons)) for record_id, (level, reasons) in self._found.items()]
        matches.sort(key=lambda match: (_RANK[match.level], match.record_id))
        return SubjectMatches(tuple(matches), names)

    def _add(self, entry: Entry, level: Level, *reasons: str, overrule: bool = False) -> None:
        """Keep the best level of a record; ``overrule`` replaces what was found before."""
        self._entries[entry.record_id] = entry
        before = self._found.get(entry.record_id)
        if before is None or overrule:
            self._found[entry.record_id] = (level, [*(before[1] if before else ()), *reasons])
            return
        best = min(before[0], level, key=_RANK.__getitem__)
        self._found[entry.record_id] = (best, list(dict.fromkeys([*before[1], *reasons])))

    def _hold(self, key: Key, limit: int | None = None) -> _Holding:
        entries = self._index.holding(key, limit)
        if key in self._phrases:
            known = {entry.record_id for entry in entries}
            more = self._index.phrase(self._phrases[key])
            entries = [*entries, *(entry for entry in more if entry.record_id not in known)]
        holding = _Holding(entries)
        for entry in entries:
            holding.named.update(entry.names)
        return holding

    def _names(self, asked: tuple[Name, ...], held: dict[Key, _Holding]) -> tuple[tuple[Name, ...], Counter[Name]]:
        """The person's names: those given, made more specific or found by the identifiers."""
        support: Counter[Name] = Counter()
        for key, holding in held.items():
            name, records, shared = holding.owner(asked, self._count)
            if name is None or shared or key[0] is Kind.ADDRESS:
                continue
            if not asked or any(fit(one, name) in (Fit.EXACT, Fit.VARIANT) for one in asked):
                support[name] += records
        names = list(dict.fromkeys([*asked, *support]))
        # "Eileen Lobato" says nothing more once "Eileen T. Lobato" is known, and would bring in her namesake.
        specific = [
            name
            for name in names
            if not any(other != name and len(other) > len(name) and fit(name, other) is Fit.VARIANT for other in names)
        ]
        return tuple(specific), support

    def _near(self, name: Name) -> dict[Name, int]:
        if name not in self._spelt:
            self._spelt[name] = self._index.spellings(name)
            self._counts.update(self._spelt[name])
        return self._spelt[name]

    def _spellings(self, name: Name, names: tuple[Name, ...], keys: set[Key], *, certain: bool) -> None:
        """Add the records of every spelling that fits one name."""
        if len(name) == 1:
            for entry in self._index.phrase(name):
                self._add(entry, Level.AMBIGUOUS, "single_name")
            return
        fitting = {seen: how for seen in self._near(name) if (how := fit(name, seen))}
        fuller = [seen for seen, how in fitting.items() if how is Fit.VARIANT and len(seen) > len(name)]
        namesakes = any(fit(one, other) is None for one in fuller for other in fuller)
        for seen, how in fitting.items():
            entries = self._index.named(seen)
            if how in (Fit.EXACT, Fit.VARIANT) and namesakes:
                level, reasons = Level.AMBIGUOUS, ["namesake"]
            elif self._rivals(seen, names):
                level = Level.AMBIGUOUS
                reasons = ["namesake" if how is Fit.VARIANT else "several_fit"]
            elif how is Fit.EXACT:
                level, reasons = (Level.CERTAIN if certain else Level.PROBABLE), []
            else:
                level, reasons = Level.PROBABLE, []
                if self._other_person(seen, entries, names, keys):
                    if how in (Fit.TYPO, Fit.ORDER) and len(entries) >= _ESTABLISHED:
                        continue  # Maria Rossi, not a slip of Marta Rossi
                    level, reasons = Level.AMBIGUOUS, ["other_identifier"]
            self._add_spelling(entries, level, [how.value, *reasons], names, keys)
        for entry in self._index.phrase(name):
            # Without capitals, or deep inside a long run of them, a name is only seen by its words.
            if not any(fit(name, seen) for seen in entry.names):
                self._add(entry, Level.AMBIGUOUS if namesakes else Level.PROBABLE, "name_words")

    def _add_spelling(
        self, entries: Sequence[Entry], level: Level, reasons: list[str], names: tuple[Name, ...], keys: set[Key]
    ) -> None:
        """Add the records of one spelling; two e-mail addresses under one name may be two people."""
        emails: dict[str, set[str]] = {}
        for entry in entries:
            if self._alone(entry, names):
                emails[entry.record_id] = {key for kind, key in entry.keys if kind is Kind.EMAIL}
        given = {key for kind, key in keys if kind is Kind.EMAIL}
        seen = set().union(*emails.values()) if emails else set()
        doubtful = level is Level.CERTAIN and (bool(seen - given) if given else len(seen) > 1)
        for entry in entries:
            if level is Level.CERTAIN and _only_longer(entry, names):
                self._add(entry, Level.PROBABLE, *reasons, "longer_name")
            elif not doubtful or entry.keys & keys:
                self._add(entry, level, *reasons)
            elif emails.get(entry.record_id, set()) - given:
                self._add(entry, Level.AMBIGUOUS, *reasons, "other_email")
            else:
                self._add(entry, Level.AMBIGUOUS, *reasons, "possible_namesake")

    def _rivals(self, seen: Name, names: tuple[Name, ...]) -> bool:
        """Whether a spelling also fits somebody who is certainly another person."""
        if seen in names:
            return False
        return any(
            other != seen
            and count >= _ESTABLISHED
            and fit(seen, other) not in (None, Fit.EXACT)
            and all(fit(name, other) is None for name in names)
            for other, count in self._near(seen).items()
        )

    def _other_person(self, seen: Name, entries: Sequence[Entry], names: tuple[Name, ...], keys: set[Key]) -> bool:
        """Whether a spelling has identifiers of its own."""
        own: set[Key] = set()
        for entry in entries:
            if all(_same(seen, name, entry) for name in entry.names):
                own |= {key for key in entry.keys if key[0] is not Kind.ADDRESS}
        return bool(own - keys) and not own & keys

    def _named(self, entry: Entry, names: tuple[Name, ...]) -> bool:
        return any(fit(name, seen) for name in names for seen in entry.names)

    def _alone(self, entry: Entry, names: tuple[Name, ...]) -> bool:
        """Whether a record names nobody else who is established."""
        return not self._others(entry, names)

    def _others(self, entry: Entry, names: tuple[Name, ...]) -> list[Name]:
        strangers = [seen for seen in entry.names if not any(_same(name, seen, entry) for name in names)]
        return [seen for seen in strangers if self._count(seen) >= _ESTABLISHED]

    def _count(self, name: Name) -> int:
        if name not in self._counts:
            self._counts[name] = self._index.count(name)
        return self._counts[name]

    def _by_key(self, key: Key, holding: _Holding, names: tuple[Name, ...], *, linked: int | None) -> None:
        """Add the records that hold one identifier.

        ``linked`` is None where the identifier was given; else in how many records it stands beside the name.
        """
        kind = key[0].value
        owner, _, shared = holding.owner(names, self._count)
        if names and owner is not None and not shared:
            # It belongs to one name, and that name is not the person's: two people use it.
            shared = all(fit(name, owner) is None for name in names)
        weak = key[0] is Kind.ADDRESS  # an address outlives those who live there
        for entry in holding.entries:
            named = self._named(entry, names)
            if shared and not named:
                if self._others(entry, names):
                    continue
                self._add(entry, Level.AMBIGUOUS, f"shared_{kind}")
            elif weak and not named:
                self._add(entry, Level.AMBIGUOUS if self._others(entry, names) else Level.PROBABLE, f"{kind}_exact")
            elif linked is not None:
                self._add(entry, Level.CERTAIN if linked >= _SUPPORT else Level.PROBABLE, f"linked_{kind}")
            elif not shared:
                self._add(entry, Level.CERTAIN, f"{kind}_exact")

    def _linked(self, names: tuple[Name, ...], keys: set[Key]) -> None:
        """One step from the records with the exact name: what stands beside it and belongs to nobody else."""
        beside: dict[Key, int] = defaultdict(int)
        for record_id, (level, reasons) in list(self._found.items()):
            entry = self._entries[record_id]
            sure = level is Level.CERTAIN
            if (sure or Fit.EXACT in reasons) and level is not Level.AMBIGUOUS and self._named(entry, names):
                for key in entry.keys - keys:
                    beside[key] += sure
        for key, support in sorted(beside.items()):
            holding = self._hold(key, _COMMON + 1)
            new = any(entry.record_id not in self._found for entry in holding.entries)
            if new and len(holding.entries) <= _COMMON:
                self._by_key(key, holding, names, linked=support)
