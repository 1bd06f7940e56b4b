"""Finds suppressed people in a text: names, identifiers and phrases, whatever their case, accents, spacing and signs.

The patterns stand in the trie of an Aho-Corasick library, as letters and digits only. A match begins and ends where
words of the text do, so the trie is walked from the beginnings of words and the automaton's failure links are not
needed: they would cost a rebuild that holds the interpreter for more than half a second with 10,000 people, while words
are added to and taken from a trie one by one (benchmarks/suppression.py compares).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import ahocorasick

from policies.suppression import MAX_LENGTH, Rule
from services.serving.suppression.folding import FOLDS, SEPARATOR, is_wide, words

# What is shorter would be met in other people's texts every day. Nothing that policies.suppression makes is.
MIN_NAME = 4  # letters of a name of two words
MIN_LOOSE_NAME = 8  # from here on a name's words may be written together: "annlee" could be a word of its own
MIN_WIDE = 2  # characters of a script without spaces
MIN_DIGITS = 6
MIN_MIXED = 4  # letters and digits together
MIN_LETTERS = 6  # letters only: a user name, a value of one word
_NAME, _LOOSE = 1, 2

Cuts = tuple[int, ...]
Pattern = tuple[str, int, Cuts]


@dataclass(frozen=True, slots=True)
class Span:
    """Where a text names somebody: places in the text as it was given, and whether it is by name."""

    start: int
    end: int
    name: bool


def patterns_of(rule: Rule) -> tuple[Pattern, ...]:
    """The rule's patterns that are safe to look for: letters, kind, and where the words of a short name are cut.

    Names of one word are left out: a first name alone is many people's. So is what is too short.
    """
    found: list[Pattern] = []
    for name in rule.names:
        parts = words(name)
        letters, cuts = "".join(parts), tuple(accumulate(map(len, parts[:-1])))
        if is_wide(letters):
            if len(parts) >= MIN_WIDE:
                found.append((letters, _NAME | _LOOSE, ()))
        elif len(parts) > 1 and len(letters) >= MIN_NAME:
            loose = len(letters) >= MIN_LOOSE_NAME
            found.append((letters, _NAME | _LOOSE if loose else _NAME, () if loose else cuts))
    for entry in (*rule.identifiers, *rule.phrases):
        parts = words(entry)
        letters = "".join(parts)
        if _telling(letters, len(parts)):
            found.append((letters, _LOOSE, ()))
    return tuple(found)


def _telling(letters: str, parts: int) -> bool:
    if letters.isdigit():
        return len(letters) >= MIN_DIGITS
    if is_wide(letters):
        return parts >= MIN_WIDE
    return len(letters) >= (MIN_MIXED if any(letter.isdigit() for letter in letters) else MIN_LETTERS)


class Matcher:
    """Patterns of any number of rules. Looked into by the event loop while another thread updates it."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._trie = ahocorasick.Automaton(ahocorasick.STORE_INTS)
        self._trie.add_word(SEPARATOR, 0)  # in no pattern, and never 0 words: an empty trie cannot be asked
        self._rules: dict[Rule, tuple[Pattern, ...]] = {}
        self._users: Counter[str] = Counter()  # rules that have the pattern: a household shares a phone
        self._cuts: dict[str, frozenset[Cuts]] = {}
        self.update(rules)

    def update(self, rules: Sequence[Rule]) -> None:
        """From now on these rules hold; those that were there already cost nothing.

        What is new is added before anything is taken away: no moment is without the rules that stay. One thread at a
        time; every single step is atomic for a reader.
        """
        wanted = dict.fromkeys(rules)
        for rule in wanted:
            if rule not in self._rules:
                self._rules[rule] = patterns_of(rule)
                for pattern in self._rules[rule]:
                    self._add(*pattern)
        for rule in [known for known in self._rules if known not in wanted]:
            for letters, _, _ in self._rules.pop(rule):
                self._remove(letters)

    def __len__(self) -> int:
        return len(self._users)

    def search(self, text: str) -> bool:
        """Whether the text names anybody."""
        return next(self._hits(words(text)), None) is not None

    def find(self, text: str) -> Span | None:
        """Where the text names somebody: by name if it does so anywhere, else the first place."""
        first = None
        for start, end, name in self._hits(words(text)):
            if name:
                return self._span(text, start, end, name)
            first = first or (start, end, name)
        return None if first is None else self._span(text, *first)

    def starts(self, text: str) -> frozenset[int]:
        """Where in the text a name, an identifier or a phrase begins."""
        return frozenset(self._span(text, *hit).start for hit in self._hits(words(text)))

    def begins(self, letters: str) -> bool:
        """Whether some pattern begins with these letters, or is them."""
        return bool(self._trie.match(letters))

    def kind(self, letters: str, cuts: "Sequence[int] | set[int]", start: int) -> int:
        """What the letters are: 0 for nothing.

        Args:
            letters: From a word's beginning to a word's end.
            cuts: Where words of the text begin.
            start: Where the letters begin, counted as ``cuts`` are.
        """
        kind: int = self._trie.get(letters, 0)
        if not kind or kind & _LOOSE:
            return kind
        known = self._cuts.get(letters, ())  # none: they were taken away this moment
        return kind if any(all(start + cut in cuts for cut in own) for own in known) else 0

    def _hits(self, parts: list[str]) -> Iterator[tuple[int, int, bool]]:
        """Places in the joined letters."""
        letters = "".join(parts)
        starts = set(ends := list(accumulate(map(len, parts), initial=0)))
        longest = self._trie.longest_prefix
        for number, start in enumerate(ends[:-1]):
            reach = start + longest(letters[start : start + MAX_LENGTH])
            after = number + 1
            while after < len(ends) and ends[after] <= reach:
                kind = self.kind(letters[start : ends[after]], starts, start)
                if kind:
                    yield start, ends[after], bool(kind & _NAME)
                after += 1

    @staticmethod
    def _span(text: str, start: int, end: int, name: bool) -> Span:
        places = [at for at, char in enumerate(text) for letter in FOLDS[ord(char)] if letter != SEPARATOR]
        return Span(places[start], places[end - 1] + 1, name)

    def _add(self, letters: str, kind: int, cuts: Cuts) -> None:
        if not kind & _LOOSE:
            self._cuts[letters] = self._cuts.get(letters, frozenset()) | {cuts}
        self._users[letters] += 1
        self._trie.add_word(letters, self._trie.get(letters, 0) | kind)

    def _remove(self, letters: str) -> None:
        self._users[letters] -= 1
        if not self._users[letters]:
            del self._users[letters]
            self._trie.remove_word(letters)
            self._cuts.pop(letters, None)
