"""Is a value in a text, whatever its spelling? Case, accents, spacing, phone and date formats, number words.

One reading of a text (``Reading``) answers for one value (``holds``) or, through ``ValueIndex``, for a million values
at once: look-ups in hash tables, never a loop over values.
"""

import functools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from pipelines.augment.wording import EMAIL, STOPWORDS, WORD, fold

Kind = Literal["email", "date", "digits", "number", "code", "literal", "text"]
HARD_KINDS = frozenset({"email", "date", "digits", "number", "code"})  # matched exactly, never by meaning

_MONTH_WORDS = "jan feb mar apr may jun jul aug sep oct nov dec"
_UNIT_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen"
)
_TEN_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_ORDINAL_WORDS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth"
    " sixteenth seventeenth eighteenth nineteenth twentieth"
)
_MEASURE_WORDS = "eur euro euros usd dollar dollars chf franc francs gbp pound pounds a per year month yearly annually"
_MONTHS = {word: number for number, word in enumerate(_MONTH_WORDS.split(), start=1)}
_MONTH = "(" + "|".join(_MONTHS) + r")[a-z]*\.?"
_ISO = re.compile(r"\b(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})\b")
_SHORT = re.compile(r"\b(\d{1,2})\s?[-/.]\s?(\d{1,2})\s?[-/.]\s?(\d{4}|\d{2})\b")
_YEAR = r"[\s,]+(?:(?:of|in)\s+)?['’]?(\d{4}|\d{2})\b"
_DAY_FIRST = re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th|\.)?\s+(?:day\s+)?(?:of\s+)?{_MONTH}{_YEAR}")
_MONTH_FIRST = re.compile(rf"\b{_MONTH}\s+(?:the\s+)?(\d{{1,2}})(?:st|nd|rd|th)?{_YEAR}")
_SPOKEN_YEAR = re.compile(r"\b(1[89]|20) (\d{2})\b")  # nineteen eighty-four
_RUN = re.compile(r"\d(?:[ ().\-/+']{0,3}\d)*")
_NUMBER = re.compile(r"(?<![\w.])\d{1,3}(?:[,' ]\d{3})+(?:\.\d+)?(?!\w)|(?<!\w)\d+(?:\.\d+)?(?!\w)")
_SCALED = re.compile(r"(?<![\w.,])(\d{1,3}(?:\.\d{1,2})?)(?: (thousand|million)|(k))\b")
_DOTTED = re.compile(r"\d{1,3}(?:\.\d{3})+")  # 54.000 is 54,000 in half of Europe
_UNITS = {word: number for number, word in enumerate(_UNIT_WORDS.split())}
_TENS = {word: 10 * tens for tens, word in enumerate(_TEN_WORDS.split(), start=2)}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000}
_ORDINALS = {word: number for number, word in enumerate(_ORDINAL_WORDS.split(), start=1)} | {"thirtieth": 30}
_NUMBER_WORDS = frozenset((*_UNITS, *_TENS, *_SCALES))
_ABBREVIATED = {"st": "street", "str": "street", "rd": "road", "ave": "avenue", "av": "avenue", "ln": "lane"} | {
    "blvd": "boulevard", "dr": "drive", "sq": "square", "pl": "place", "apt": "apartment", "hwy": "highway"
}  # fmt: skip
_TITLES = frozenset({"dr", "drive", "mr", "mrs", "ms", "prof", "professor"})
_MEASURES = frozenset(_MEASURE_WORDS.split())
_PHONE_KEY = 8  # the last digits of a phone: the same with and without a country code
_SLACK = 3  # words that may lie between the words of a value


@dataclass(frozen=True, slots=True)
class ValueKey:
    """A value in the form in which it is looked for."""

    kind: Kind
    keys: frozenset[str] = frozenset()
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """A text in all the forms in which a value may stand in it."""

    folded: str
    stems: tuple[str, ...] = ()
    emails: frozenset[str] = frozenset()
    dates: frozenset[str] = frozenset()
    runs: tuple[str, ...] = ()
    numbers: frozenset[str] = frozenset()
    compact: str = ""
    edges: tuple[int, ...] = field(default=(), repr=False)


@functools.lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """The stem of a folded word; short words and numbers stay."""
    if len(word) < 4 or word.isdigit():
        return word
    return str(_stemmer().stem(word))


@functools.cache
def _stemmer() -> Any:
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer()


def spelled_to_digits(folded: str) -> str:
    """The text with its number words as digits: ``twenty-one`` → ``21``, ``zero four`` → ``0 4``, ``54 thousand``."""
    folded = _SCALED.sub(lambda found: _scaled(found) if found[2] else found[0], folded)
    if not any(word in _NUMBER_WORDS for word in WORD.findall(folded)):
        return folded
    pieces: list[str] = []
    pending: list[str] = []
    for token in re.findall(r"[^\W\d_]+|\W+|[\d_]+", folded):
        joins = bool(pending) and (token.isspace() or token in ("-", "and"))
        if token in _NUMBER_WORDS or joins:
            pending.append(token)
            continue
        pieces.extend((*_flush(pending), token))
        pending = []
    return "".join((*pieces, *_flush(pending)))


def _scaled(found: re.Match[str]) -> str:
    return str(round(float(found[1]) * _SCALES[found[2] or "thousand"]))


def _flush(pending: list[str]) -> list[str]:
    """Digits of a run of number words; what trails the last number word stays as it was."""
    last = max((i for i, token in enumerate(pending) if token in _NUMBER_WORDS), default=-1)
    if last < 0:
        return pending
    numbers = list(_numbers_of([token for token in pending[: last + 1] if token in _NUMBER_WORDS]))
    return [" ".join(map(str, numbers)), *pending[last + 1 :]]


def _numbers_of(tokens: list[str]) -> Iterator[int]:
    total = current = 0
    room = 0  # below what a next word may still be added: 10 after "twenty", 100 after "hundred"
    begun = False
    for token in tokens:
        if token in _SCALES:
            scale = _SCALES[token]
            if scale == 100:
                current = max(current, 1) * 100
            else:
                total, current = total + max(current, 1) * scale, 0
            room, begun = scale, True
            continue
        value = _UNITS.get(token, _TENS.get(token, 0))
        if begun and not 0 < value < room:
            yield total + current
            total = current = 0
        current += value
        room = 10 if token in _TENS else 0
        begun = True
    if begun:
        yield total + current


def _date(year: str, month: int, day: int) -> Iterator[str]:
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return
    years = (year,) if len(year) == 4 else (f"19{year}", f"20{year}")
    yield from (f"{full}-{month:02d}-{day:02d}" for full in years)


def dates(folded: str) -> frozenset[str]:
    """Every date of a folded text as ISO; both readings where day and month could be either."""
    for word, number in _ORDINALS.items():
        if word in folded:
            folded = re.sub(rf"\b(?:twenty|20)[- ]{word}\b", str(20 + number), folded)
            folded = re.sub(rf"\b(?:thirty|30)[- ]{word}\b", str(30 + number), folded)
            folded = re.sub(rf"\b{word}\b", str(number), folded)
    folded = _SPOKEN_YEAR.sub(r"\1\2", folded)
    found: set[str] = set()
    for year, month, day in _ISO.findall(folded):
        found.update(_date(year, int(month), int(day)))
    for first, second, year in _SHORT.findall(folded):
        found.update(_date(year, int(first), int(second)))
        found.update(_date(year, int(second), int(first)))
    for day, month, year in _DAY_FIRST.findall(folded):
        found.update(_date(year, _MONTHS[month], int(day)))
    for month, day, year in _MONTH_FIRST.findall(folded):
        found.update(_date(year, _MONTHS[month], int(day)))
    return frozenset(found)


def canonical_number(text: str) -> str:
    """``54,000.50`` → ``54000.5``."""
    plain = re.sub(r"[,' ]", "", text)
    whole, _, part = plain.partition(".")
    part = part.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{part}" if part else "")


def _numbers(folded: str) -> Iterator[str]:
    """Every number of a folded text; both readings of ``54.000``, and what ``54k`` means."""
    for number in _NUMBER.findall(folded):
        yield canonical_number(number)
        if _DOTTED.fullmatch(number):
            yield canonical_number(number.replace(".", ""))
    yield from (_scaled(found) for found in _SCALED.finditer(folded))


def _tokens(folded: str) -> list[str]:
    tokens = WORD.findall(folded)
    return [_ABBREVIATED.get(token, token) for token in tokens]


@functools.lru_cache(maxsize=32768)
def read(text: str) -> Reading:
    """Read a text once, for any number of values."""
    folded = spelled_to_digits(fold(text))
    tokens = WORD.findall(folded)
    edges = [0]
    for token in tokens:
        edges.append(edges[-1] + len(token))
    return Reading(
        folded=folded,
        stems=tuple(stem(token) for token in _tokens(folded)),
        emails=frozenset(match.rstrip(".") for match in EMAIL.findall(folded)),
        dates=dates(folded),
        runs=tuple("".join(WORD.findall(run)) for run in _RUN.findall(folded)),
        numbers=frozenset(_numbers(folded)),
        compact="".join(tokens),
        edges=tuple(edges),
    )


@functools.lru_cache(maxsize=65536)
def value_key(value: str) -> ValueKey:
    """What kind of value it is, and what to look for."""
    folded = spelled_to_digits(fold(value)).strip()
    emails = EMAIL.findall(folded)
    if emails:
        return ValueKey("email", frozenset(email.rstrip(".") for email in emails))
    found = dates(folded)
    if found and len(WORD.findall(folded)) <= 5:
        return ValueKey("date", found)
    tokens = WORD.findall(folded)
    letters = [token for token in tokens if not token.isdigit() and token not in _MEASURES]
    digits = "".join(char for char in folded if char.isdigit())
    if digits and not letters:
        if len(digits) >= 7 and not _NUMBER.fullmatch(folded.strip(" +-$€£")):
            return ValueKey("digits", frozenset({digits[-_PHONE_KEY:]}))
        return ValueKey("number", frozenset(_numbers(folded)) or frozenset({digits}))
    if digits and _is_code(tokens):
        return ValueKey("code", frozenset({"".join(tokens)}))
    if len("".join(tokens)) < 3:
        return ValueKey("literal", frozenset({fold(value).strip()}))
    return ValueKey("text", words=_text_words(value, folded))


def _is_code(tokens: list[str]) -> bool:
    """An id, a plate, a password: letters and digits mixed, no ordinary words beside them."""
    wordy = [token for token in tokens if token.isalpha() and len(token) > 4]
    return not wordy and (len(tokens) == 1 or all(len(token) <= 4 or token.isdigit() for token in tokens))


def _text_words(value: str, folded: str) -> tuple[str, ...]:
    head = folded
    if "," in value and any(char.isdigit() for char in folded.split(",", 1)[0]):
        head = folded.split(",", 1)[0]  # street and house number tell the address, with or without the town
    tokens = [stem(token) for token in _tokens(head)]
    titled = [token for token in tokens if token not in _TITLES] if tokens[:1] and tokens[0] in _TITLES else tokens
    telling = [token for token in titled if token not in STOPWORDS]
    return tuple(telling or tokens)


def holds(text: str, value: str) -> bool:
    """Whether the text states the value, in any of its spellings."""
    return _holds(read(text), value_key(value))


def _holds(reading: Reading, key: ValueKey) -> bool:
    match key.kind:
        case "email":
            return bool(key.keys & reading.emails) or any(_spelled_email(reading, email) for email in key.keys)
        case "date":
            return bool(key.keys & reading.dates)
        case "digits":
            return any(wanted in run for wanted in key.keys for run in reading.runs)
        case "number":
            return bool(key.keys & reading.numbers)
        case "code":
            return any(_at_edges(reading, wanted) for wanted in key.keys)
        case "literal":
            return any(
                re.search(rf"(?<!\w){re.escape(wanted)}(?![\w+-])", reading.folded) is not None for wanted in key.keys
            )
        case "text":
            return _near(reading.stems, key.words)


def _spelled_email(reading: Reading, email: str) -> bool:
    """``mara at example dot org``, and any other punctuation."""
    local, _, domain = email.partition("@")
    forms = {
        "".join(WORD.findall(f"{local.replace('.', dots)} {at} {domain.replace('.', dot)}"))
        for dots in (" ", " dot ")
        for at in ("", "at")
        for dot in (" ", " dot ")
    }
    return any(_at_edges(reading, form) for form in forms)


def _at_edges(reading: Reading, wanted: str) -> bool:
    start = reading.compact.find(wanted)
    edges = set(reading.edges)
    while start >= 0:
        if start in edges and start + len(wanted) in edges:
            return True
        start = reading.compact.find(wanted, start + 1)
    return False


def _near(stems: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    if not wanted or not set(wanted) <= set(stems):
        return False
    need = Counter(wanted)
    width = len(wanted) + (_SLACK if len(wanted) > 1 else 0)
    starts = (i for i, token in enumerate(stems) if token in need)
    return any(not need - Counter(stems[start : start + width]) for start in starts)


class ValueIndex:
    """Finds any of many values in a text by hashing; what is too short to tell anyone apart is left out.

    Args:
        values: For example the private values of all other people.
        spared: Texts whose words are nobody's value (the reference sentences): a value that they hold is left out.
    """

    def __init__(self, values: Iterable[str], spared: Iterable[str] = ()) -> None:
        self._tables: dict[str, set[str]] = {kind: set() for kind in ("email", "date", "digits", "number", "code")}
        self._phrases: set[tuple[str, ...]] = set()
        self.size = 0
        for key in {value_key(value) for value in values}:
            self._add(key)
        self._phrase_lengths = sorted({len(phrase) for phrase in self._phrases})
        self._digit_lengths = sorted({len(digits) for digits in self._tables["digits"]})
        for text in spared:
            for kind, found in list(self._found(read(text))):
                self._remove(kind, found)

    def _add(self, key: ValueKey) -> None:
        if key.kind == "text" and len("".join(key.words)) >= 4:
            self._phrases.add(tuple(sorted(key.words)))
        elif key.kind in self._tables:
            shortest = 4 if key.kind in ("number", "code") else 1
            self._tables[key.kind].update(form for form in key.keys if len(form) >= shortest)
        else:
            return
        self.size += 1

    def _remove(self, kind: str, found: str | tuple[str, ...]) -> None:
        if isinstance(found, tuple):
            self._phrases.discard(found)
        else:
            self._tables[kind].discard(found)

    def found_in(self, text: str, *, own: Iterable[str] = (), asked: str = "") -> bool:
        """Whether the text holds one of the values.

        Args:
            text: What to look through.
            own: Values that are not another's: the subject's own.
            asked: The question; what it already says was not given away by the answer.
        """
        found = {form for _, form in self._found(read(text))}
        if not found:
            return False
        mine = [value_key(value) for value in own]
        spared: set[str | tuple[str, ...]] = {form for key in mine for form in key.keys}
        spared |= {tuple(sorted(key.words)) for key in mine}
        spared |= {form for _, form in self._found(read(asked))}
        return bool(found - spared)

    def _found(self, reading: Reading) -> Iterator[tuple[str, str | tuple[str, ...]]]:
        for kind, forms in (("email", reading.emails), ("date", reading.dates), ("number", reading.numbers)):
            yield from ((kind, form) for form in forms & self._tables[kind])
        for length in self._digit_lengths:
            for run in reading.runs:
                windows = (run[start : start + length] for start in range(len(run) - length + 1))
                yield from (("digits", window) for window in windows if window in self._tables["digits"])
        yield from self._codes(reading)
        stems = reading.stems
        for length in self._phrase_lengths:
            for start in range(len(stems) - length + 1):
                phrase = tuple(sorted(stems[start : start + length]))
                if phrase in self._phrases:
                    yield "text", phrase

    def _codes(self, reading: Reading) -> Iterator[tuple[str, str]]:
        table = self._tables["code"]
        if not table:
            return
        for i, start in enumerate(reading.edges):
            for end in reading.edges[i + 1 : i + 9]:
                if (form := reading.compact[start:end]) in table:
                    yield "code", form
