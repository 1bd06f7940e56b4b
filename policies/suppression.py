"""What of a person becomes a rule: the words that suppress an answer while the person is not yet forgotten.

A rule is made twice. At approval from what the request names (:func:`rule_of_request`); once the forget set is settled
it is widened (:func:`widen`) by the names as the records spell them, and by values and runs of words of the forgotten
records that stand in no other record. Everything here is pure; a rule is personal data and never logged.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields

from policies.errors import LetheError
from policies.identifiers import (
    Name,
    address_spellings,
    normalise_email,
    normalise_name,
    phone_spellings,
    short_forms,
    words_of,
)
from policies.record import Record
from policies.ticket import Identifier, TicketRequest

MAX_NAMES = 64
MAX_IDENTIFIERS = 256
MAX_PHRASES = 128
MAX_LENGTH = 400  # letters of one entry
MAX_BYTES = 6 * MAX_LENGTH * (MAX_NAMES + MAX_IDENTIFIERS + MAX_PHRASES) + 4096  # what JSON may take for all of them
_FORMAT = "lethe-rule/1"
GRAM = 5  # words of a run
_CANDIDATES = 1000  # phrases of one person that the corpus is asked about, at most
_MIN_LETTERS = 4  # of a name or an id; fewer are found everywhere
_MIN_PHRASE = 8  # letters of a value or run of words
_MIN_DIGITS = 6  # of an id without letters, so that it is no year and no count
_CONTENT = 4  # letters from which a word says something, in any language; fewer where digits are in it
_WIDE = 0x2E80  # scripts from here on write names without spaces
_AT = ("@", " at ")
_DOT = (".", " dot ")
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"})
Elsewhere = Callable[[Sequence[Name]], Collection[Name]]
"""Those of some runs of words that stand in a record outside the forget set; one call for all of them."""

_LIMITS = {"names": MAX_NAMES, "identifiers": MAX_IDENTIFIERS, "phrases": MAX_PHRASES}


@dataclass(frozen=True, slots=True)
class Rule:
    """What is not to be said of one person. Entries are folded words with one space between.

    Attributes:
        names: Full names, in every spelling and order that is known.
        identifiers: E-mail addresses, phone numbers and ids, in every notation that is known.
        phrases: Street addresses, values and runs of words that stand in this person's records only.

    Raises:
        LetheError: ``suppression.rule_invalid``: too many entries, or one that is empty or too long.
    """

    names: tuple[str, ...] = field(default=(), repr=False)
    identifiers: tuple[str, ...] = field(default=(), repr=False)
    phrases: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        for name, most in _LIMITS.items():
            entries = getattr(self, name)
            if len(entries) > most or any(not entry.strip() or len(entry) > MAX_LENGTH for entry in entries):
                raise _invalid(f"{name}: too many entries, or one that is empty or too long")

    def __bool__(self) -> bool:
        return bool(self.names or self.identifiers or self.phrases)

    def to_json(self) -> bytes:
        """The rule as it is sealed: the same bytes for the same rule."""
        data = {"format": _FORMAT, **{name: list(getattr(self, name)) for name in _LIMITS}}
        return json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Rule":
        """The rule that ``to_json`` wrote.

        Raises:
            LetheError: ``suppression.rule_invalid``, without a word of what was read.
        """
        if len(data) > MAX_BYTES:
            raise _invalid("too large")
        try:
            raw = json.loads(data)
            entries = {one.name: raw[one.name] for one in fields(cls)}
            known = raw["format"] == _FORMAT and len(raw) == len(entries) + 1
        except (ValueError, KeyError, TypeError, RecursionError):
            raise _invalid("not the form of a rule") from None
        if not known or not all(_texts(value) for value in entries.values()):
            raise _invalid("not the form of a rule")
        return cls(**{name: tuple(value) for name, value in entries.items()})


def rule_of_request(request: TicketRequest, *, region: str = "US") -> Rule:
    """The rule that holds from the approval on: what the request names, in every notation that is known.

    A name of one word is no rule of its own (half the corpus may be called Marta); an id without digits and a street
    address are phrases, which ``widen`` drops where they turn out to be other people's too.

    Args:
        request: As it was filed.
        region: Country of phone numbers without a country code.
    """
    given = [one for one in request.subject if one.form == "raw"]  # a digest stands in no answer
    names = [name for one in given if one.kind == "name" for name in _name_spellings(one.value)]
    identifiers = [text for one in given for text in _identifier_spellings(one, region)]
    addresses = [words for one in given if one.kind == "address" for words in address_spellings(one.value)]
    words = [words_of(one.value) for one in given if one.kind == "id" and not _digits(one.value)]
    phrases = [phrase for phrase in (*addresses, *words) if _letters(phrase) >= _MIN_DIGITS]
    return _rule(map(" ".join, names), identifiers, map(" ".join, phrases))


def widen(rule: Rule, records: Sequence[Record], names: Iterable[str], elsewhere: Elsewhere) -> Rule:
    """The rule that holds once the forget set is settled.

    Added are the names as the records spell them, and those values and runs of five words of the forgotten answers
    that stand in no record outside the forget set: a household's address or a town is said of others, and no phrase.
    A run that holds a name, an identifier or a phrase already adds nothing; one that says no more than its question
    does is no secret.

    Args:
        rule: Of the request.
        records: The forget set.
        names: Spellings that are certainly the person's, the most frequent first.
        elsewhere: Asks the corpus.
    """
    spelt = dict.fromkeys([*rule.names, *(" ".join(name) for text in names for name in _in_both_orders(text))])
    own = {word for name in spelt for word in name.split() if _says_something(word)}
    known = [tuple(words_of(text)) for text in (*spelt, *rule.identifiers)]
    values = [value for record in records if record.value and (value := _telling_value(record.value, own))]
    first = list(dict.fromkeys([*(tuple(phrase.split()) for phrase in rule.phrases), *values]))[:MAX_PHRASES]
    shared = set(elsewhere(first))
    phrases = [phrase for phrase in first if phrase not in shared]
    held = _Held([*known, *phrases])
    runs = _grams_of(records, own, frozenset(phrases))
    grams = list(dict.fromkeys(gram for gram in runs if not held.inside(gram)))[:_CANDIDATES]
    shared = set(elsewhere(grams))
    phrases += [gram for gram in grams if gram not in shared]
    return _rule(spelt, rule.identifiers, map(" ".join, phrases))


def _rule(names: Iterable[str], identifiers: Iterable[str], phrases: Iterable[str]) -> Rule:
    """Without repetitions, and cut where there are too many: the first ones count most."""
    given = zip(_LIMITS.items(), (names, identifiers, phrases), strict=True)
    return Rule(
        **{
            name: tuple(entry for entry in dict.fromkeys(entries) if entry and len(entry) <= MAX_LENGTH)[:most]
            for (name, most), entries in given
        }
    )


def _name_spellings(text: str) -> Iterator[Name]:
    """A full name in both orders, without or with initials for its middle names, and with short forms of the first."""
    for spelt in dict.fromkeys((text, text.translate(_UMLAUTS))):
        surname, comma, others = spelt.partition(",")
        tokens = (f"{others} {surname}" if comma else spelt).split()
        parts = [words for token in tokens if (words := normalise_name(token))]  # O'Neil is one part of two words
        if len(parts) == 1 and tokens[-1:] and not normalise_name(tokens[-1]) and (title := words_of(tokens[-1])):
            parts.append(title)  # Anna Herr
        if len(parts) == 1 and _is_wide(text) and _letters(parts[0]) > _MIN_LETTERS:
            yield parts[0]
        if len(parts) < 2 or sum(map(_letters, parts)) < _MIN_LETTERS:
            continue
        first, *middle, last = parts
        initials = tuple(words[0][0] for words in middle)
        middles = dict.fromkeys([tuple(word for words in middle for word in words), initials, ()])
        for called in dict.fromkeys([first, first[:1], *((short,) for short in sorted(short_forms(first[0])))]):
            for between in middles:
                yield (*called, *between, *last)
                yield (*last, *called, *between)


def _in_both_orders(text: str) -> Iterator[Name]:
    name = normalise_name(text)
    if len(name) > 1 and _letters(name) >= _MIN_LETTERS:
        yield name
        yield (name[-1], *name[:-1])


def _identifier_spellings(one: Identifier, region: str) -> Iterator[str]:
    if one.kind == "email" and (email := normalise_email(one.value)):
        local, _, domain = email.partition("@")
        for at in _AT:
            for dot in _DOT:
                yield " ".join(words_of(f"{local.replace('.', dot)}{at}{domain.replace('.', dot)}"))
    elif one.kind == "phone":
        yield from phone_spellings(one.value, region)
    elif one.kind == "id" and (digits := _digits(one.value)):
        words = words_of(one.value)
        if _letters(words) >= (_MIN_DIGITS if digits == _letters(words) else _MIN_LETTERS):
            yield " ".join(words)


def _telling_value(value: str, own: set[str]) -> Name | None:
    """The words of a value that nobody says by chance: a number, a name of two words, three words and more."""
    words = words_of(value)
    if set(words) <= own or _letters(words) < _MIN_DIGITS:
        return None
    if digits := sum(map(_digits, words)):
        return words if _letters(words) >= _MIN_PHRASE or digits >= _MIN_DIGITS else None
    if _letters(words) < _MIN_PHRASE:
        return None
    capitals = all(word[0].isupper() for word in value.split() if len(word) >= _CONTENT)
    return words if sum(map(_says_something, words)) >= (2 if capitals or len(words) > 2 else 3) else None


def _grams_of(records: Sequence[Record], own: set[str], phrases: frozenset[Name]) -> list[Name]:
    """Runs of five words of the answers with two that neither the question nor a name has; near a value first.

    A value that is a phrase needs no runs: ``was born on 10 october`` is said of many.
    """
    asked: dict[str, set[str]] = {}
    for record in records:
        asked.setdefault(record.fact_id, set()).update(words_of(record.question or ""))
    ranked: list[tuple[bool, Name]] = []
    for record in records:
        words, value = words_of(record.answer), words_of(record.value or "")
        secret = frozenset[str]() if value in phrases else frozenset(value)
        plain = (asked[record.fact_id] | set(value)) - secret | own
        for gram in zip(*(words[at:] for at in range(GRAM)), strict=False):
            new = {word for word in gram if word not in plain and _says_something(word)}
            if len(new) > 1 and own.isdisjoint(gram):
                ranked.append((secret.isdisjoint(gram), gram))
    return [gram for _, gram in sorted(ranked, key=lambda one: one[0])]


class _Held:
    """Runs of words that a rule has already."""

    def __init__(self, entries: Iterable[Name]) -> None:
        self._by_first: dict[str, list[Name]] = {}
        for entry in filter(None, entries):
            self._by_first.setdefault(entry[0], []).append(entry)

    def inside(self, gram: Name) -> bool:
        """Whether a run holds one of them whole."""
        return any(
            gram[at : at + len(entry)] == entry
            for at, word in enumerate(gram)
            for entry in self._by_first.get(word, ())
        )


def _letters(words: Iterable[str]) -> int:
    """Letters and digits in all; one of a wide script counts for three."""
    return sum(3 if _is_wide(letter) else 1 for word in words for letter in word)


def _digits(text: str) -> int:
    return sum(letter.isdigit() for letter in text)


def _says_something(word: str) -> bool:
    return len(word) >= _CONTENT or any(letter.isdigit() for letter in word) or _is_wide(word)


def _is_wide(text: str) -> bool:
    return any(ord(letter) >= _WIDE for letter in text)


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _invalid(what: str) -> LetheError:
    return LetheError("suppression.rule_invalid", f"This is not a rule: {what}.")
