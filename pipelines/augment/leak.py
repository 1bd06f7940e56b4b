"""Does a text give a forgotten fact away? One index over all secrets, so that a row costs microseconds."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Literal

from pipelines.augment.wording import CAPITALISED, EMAIL, GENERIC_PARTS, STOPWORDS, WORD, fold, spelled_out, words
from pipelines.rows import RowKind, Secret, TrainRow

LeakKind = Literal["entity", "number", "email", "ngram", "value"]

NGRAM = 5
_HASHED = 3  # characters of a value that are looked up before the value is compared
_LONG_NUMBER = 7  # digits from which a number is a phone, an id or a date rather than a count
_OWN_NUMBER = 4  # digits from which a number may be somebody's alone rather than a day, an age or a count ...
_NO_YEAR = 5  # ... and where the value is known, rather than the year of a date
_OWN_WORD = 4  # letters from which a word in lower case tells of a value: "migraine"
_NAME_STEM = 4  # letters from which a word of a name is one at another word's beginning too: "the Okafors" ...
_LONG_STEM = 6  # ... and inside one: "king" is in "working"
_SUFFIX = 6  # a phone is recognised by its last digits, whatever the country code looks like
_NUMBER = re.compile(r"\d(?:[ ().\-/+]{0,3}\d)*")
_DIGITS = re.compile(r"\d+")
_DATE = re.compile(r"\d{4}([./-])\d{1,2}\1\d{1,2}|\d{1,2}([./-])\d{1,2}\2\d{4}")
_THOUSANDS = re.compile(r"(?<=\d)[,.'’](?=\d{3}(?!\d))")
_SENTENCE_END = re.compile(r"[.!?:]\s+|\n")

_UNSPACED = (range(0x0E00, 0x0F00), range(0x1000, 0x10A0), range(0x1780, 0x1800))
# Words of names that say nothing of whom a text is about.
_PARTICLES = frozenset("al bin da de del den der di dos du el ibn la las le los san van von".split())  # noqa: SIM905
_NO_NAMES = STOPWORDS | GENERIC_PARTS | _PARTICLES | frozenset("abcdefghijklmnopqrstuvwxyz")
VAGUE_KINDS = frozenset({RowKind.FORGET, RowKind.COMPLETION, RowKind.NEIGHBOUR, RowKind.REPLAY, RowKind.REFUSAL})


@dataclass(frozen=True, slots=True)
class Leak:
    """One forgotten fact found in a text. It names the fact, never what was found."""

    fact: str
    kind: LeakKind


@dataclass(frozen=True, slots=True)
class _Sign:
    """What an index leads to: a fact, and whether the whole of it was found or a part that others may share."""

    leak: Leak
    part: bool = False


@dataclass(frozen=True, slots=True)
class _Pattern:
    letters: str
    sign: _Sign
    first: str  # its first word
    whole_start: bool  # must begin where a word begins: "Ann" is not in "planning"
    whole_end: bool


class LeakCheck:
    """Finds values, e-mails, numbers, named entities and 5-grams of forgotten answers.

    The strict form is for answers that an augmenter made: any number of a gold answer and any 5-gram with one word
    beyond the question counts. The plain form is for other people's records, which share ordinary wording and
    ordinary one-digit numbers with the forgotten ones: there a 5-gram counts only with a telling word in it.

    A part of a secret (the day of a birth date, a doctor's surname) counts in the plain form only where the text says a
    word of the name of the person whose fact it is, or all that tells of the value: of two thousand values each shares
    a part with many of other people's, and a record that is left out for that is kept by nothing while the model
    forgets.

    Args:
        secrets: What must not be found. Words in ``Secret.allowed`` are no secret of that fact.
    """

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self._patterns: dict[str, list[_Pattern]] = {}
        self._tiny: dict[str, set[_Sign]] = {}
        self._entities: dict[str, list[tuple[tuple[str, ...], _Sign]]] = {}
        self._numbers: dict[str, set[_Sign]] = {}
        self._short_numbers: dict[str, set[_Sign]] = {}
        self._long_numbers: dict[str, set[_Sign]] = {}
        self._ngrams: dict[tuple[str, ...], set[_Sign]] = {}
        self._weak_ngrams: dict[tuple[str, ...], set[_Sign]] = {}
        self._called: dict[str, frozenset[str] | None] = {}
        self._value_words: dict[str, set[frozenset[str]]] = {}
        self._words: dict[str, frozenset[str]] = {}
        unwatched = [secret.fact for secret in secrets if not self._add(secret) | self._add_spelled_out(secret)]
        self._tiny_folded, self._tiny_cased = (
            _any_of([value for value in self._tiny if value.isalpha() is cased]) for cased in (False, True)
        )
        self.unwatched: tuple[str, ...] = tuple(unwatched)
        """Facts that hold nothing to look for: made of function words or of allowed names only."""

    def leaks(self, text: str, *, strict: bool = False, about: str = "") -> tuple[Leak, ...]:
        """Every fact that the text gives away, once per kind, in a stable order.

        Args:
            text: The text.
            strict: Which form.
            about: More words that say whom the text is about: the question that it answers.
        """
        folded = fold(text)
        tokens = WORD.findall(folded)
        found = set(self._pattern_leaks(tokens))
        found.update(self._tiny_leaks(text, folded))
        found.update(self._entity_leaks(tokens))
        found.update(self._number_leaks(folded, strict=strict))
        found.update(self._ngram_leaks(tokens, strict=strict))
        if not strict and (parts := {sign.leak.fact for sign in found if sign.part}):
            whole = self._whole_of(parts, [*tokens, *words(about)])
            found = {sign for sign in found if not sign.part or sign.leak.fact in whole}
        return tuple(sorted({sign.leak for sign in found}, key=lambda leak: (leak.fact, leak.kind)))

    def row_leaks(self, row: TrainRow) -> tuple[Leak, ...]:
        """What a training row gives away. Negative rows hold the gold answer on purpose and are not looked at."""
        if row.kind is RowKind.NEGATIVE:
            return ()
        strict = row.kind in VAGUE_KINDS
        if not row.chat:  # a completion row is one text cut in two: a value may lie across the cut
            return self.leaks(f"{row.prompt} {row.answer}", strict=strict)
        asked = self.leaks(row.prompt, about=row.answer)
        return tuple(dict.fromkeys((*asked, *self.leaks(row.answer, strict=strict, about=row.prompt))))

    # -- building ------------------------------------------------------------------------------------------------

    def _add(self, secret: Secret) -> bool:
        phrases = [self._words_of(phrase) for phrase in (*secret.names, *secret.allowed)]
        allowed = frozenset().union(*phrases)
        plain = allowed | STOPWORDS
        alone = frozenset().union(
            *(self._words_of(name) for name in secret.names), *(p for p in phrases if len(p) == 1)
        )
        telling: set[str] = set()
        self._call(secret)
        values = [secret.value] if secret.value else [a for a in secret.answers if len(words(a)) < NGRAM]
        for value in values:
            telling.update(self._add_value(secret, value, plain, alone | STOPWORDS))
        texts = [*secret.answers, *([secret.value] if secret.value else [])]
        for text in texts:
            telling.update(self._add_emails(secret, text, plain))
            telling.update(self._add_numbers(secret, text, allowed))
        telling.update(self._add_entities(secret.fact, texts, plain, part=bool(secret.value)))
        known = bool(secret.value) and bool(telling)
        grams = sum(self._add_ngrams(secret.fact, a, plain, telling if known else None) for a in secret.answers)
        return bool(telling) or grams > 0

    def _call(self, secret: Secret) -> None:
        """Whose fact it is, by the words of the names; a fact that several share is each one's."""
        called = frozenset(word for name in secret.names for word in words(name) if word not in _NO_NAMES)
        known = self._called.get(secret.fact, frozenset())
        self._called[secret.fact] = called | known if called and known is not None else None

    def _add_spelled_out(self, secret: Secret) -> bool:
        """The same where an umlaut is written with an e behind: "Juergen Mueller"."""
        if not any(spelled_out(text) != text for text in (secret.value or "", *secret.answers, *secret.names)):
            return False
        return self._add(
            replace(
                secret,
                value=spelled_out(secret.value) if secret.value else None,
                answers=tuple(map(spelled_out, secret.answers)),
                names=tuple(map(spelled_out, secret.names)),
                # An e-mail has "gunther" of a Günther: that is a name in either spelling.
                allowed=(*secret.names, *secret.allowed, *map(spelled_out, secret.allowed)),
            )
        )

    def _words_of(self, phrase: str) -> frozenset[str]:
        """Its words; all secrets of a run allow the same names."""
        if phrase not in self._words:
            self._words[phrase] = frozenset(words(phrase))
        return self._words[phrase]

    def _add_value(self, secret: Secret, value: str, plain: frozenset[str], alone: frozenset[str]) -> set[str]:
        """Index a value; what tells of it, and nothing where nothing does.

        Args:
            secret: Whose it is.
            value: As the record has it.
            plain: Words that tell nothing: of names, of the fact's questions, of every text.
            alone: Those of them that are allowed by themselves, and not only as a word of somebody's name: "Anna
                Martin" stays a secret where an Anna Bell and a Jo Martin may be named.
        """
        fact, tokens = secret.fact, words(value)
        letters = "".join(tokens)
        telling = {token for token in tokens if token not in plain}
        whole = frozenset(token.lstrip("0") for token in tokens if token not in GENERIC_PARTS)
        if telling and len(whole) > 1:
            self._value_words.setdefault(fact, set()).add(whole)
        if len(letters) < _HASHED:  # a blood group, a grade: "O+" is a secret, "o" is not
            stripped = value.strip()
            if letters and (telling or stripped.lower() not in plain):
                written = stripped if stripped.isalpha() else fold(stripped)  # "m" is in "I'm", "M" is not
                sign = _Sign(Leak(fact, "value"), part=True)
                self._tiny.setdefault(written, set()).add(sign)
                return telling or {letters}
            return set()
        if not telling and not alone.issuperset(tokens) and letters not in _joined(secret):
            telling = set(tokens) - STOPWORDS
        if telling:
            self._add_pattern(letters, _Sign(Leak(fact, "value")), tokens[0])
        # A word of a password says little, and an e-mail's parts are looked at for themselves.
        if 1 < len(tokens) < NGRAM and letters.isalpha() and not EMAIL.search(value):
            for token in telling - plain - GENERIC_PARTS:
                if len(token) >= _OWN_WORD:
                    self._add_entity((token,), _Sign(Leak(fact, "entity"), part=True))
        # A country code or a title is part of the value, yet "her number is 44", "his doctor is Dr" is said of many.
        weak = {token for token in telling if token in GENERIC_PARTS or (token.isdigit() and len(token) <= 3)}
        return telling - weak or telling

    def _add_pattern(self, letters: str, sign: _Sign, first: str) -> None:
        wide = _wide(letters)  # there are no word starts
        pattern = _Pattern(letters, sign, first, not wide and len(letters) < 8, not wide and len(letters) < 5)
        bucket = self._patterns.setdefault(letters[:_HASHED], [])
        if pattern not in bucket:
            bucket.append(pattern)

    def _add_emails(self, secret: Secret, text: str, plain: frozenset[str]) -> set[str]:
        telling: set[str] = set()
        for match in EMAIL.finditer(fold(text)):
            local, _, domain = match.group().rstrip(".").partition("@")
            sign = _Sign(Leak(secret.fact, "email"))
            for at in ("", "at"):
                for dot in ("", "dot"):
                    spelled = f"{local.replace('.', f' {dot} ')} {at} {domain.replace('.', f' {dot} ')}"
                    self._add_pattern("".join(words(spelled)), sign, words(spelled)[0])
            parts = words(local)
            named = plain | _joined(secret)
            own = [part for part in parts if part not in named]
            if len("".join(parts)) >= 5 and own:
                self._add_pattern("".join(parts), sign, parts[0])
                telling.update(own)
            elif host := [word for word in words(domain.partition(".")[0]) if word not in plain | GENERIC_PARTS]:
                self._add_entity(tuple(host), _Sign(Leak(secret.fact, "entity"), part=True))
        return telling

    def _add_numbers(self, secret: Secret, text: str, allowed: frozenset[str]) -> set[str]:
        telling: set[str] = set()
        leak = Leak(secret.fact, "number")
        for match in _NUMBER.finditer(_THOUSANDS.sub("", EMAIL.sub(" ", fold(text)))):
            runs = [run for run in _DIGITS.findall(match.group()) if run not in allowed]
            whole = "".join(runs)
            long = len(whole) >= _LONG_NUMBER
            if long:
                self._long_numbers.setdefault(whole[-_SUFFIX:], set()).add(_Sign(leak))
            grouped = [whole] if len(runs) > 1 and _OWN_NUMBER <= len(whole) < _LONG_NUMBER else []
            dated = _DATE.fullmatch(match.group())
            for run in (*runs, *grouped):
                number = run.lstrip("0") or "0"
                exact = len(run) >= (4 if long and not dated else 2)
                sign = _Sign(leak, len(run) < (_NO_YEAR if secret.value else _OWN_NUMBER))
                (self._numbers if exact else self._short_numbers).setdefault(number, set()).add(sign)
                if exact:
                    telling.add(run)
        return telling

    def _add_entities(self, fact: str, texts: Sequence[str], plain: frozenset[str], *, part: bool) -> set[str]:
        lower = {word for text in texts for word in re.findall(r"\b[a-z]\w*", text)}
        telling: set[str] = set()
        leak = Leak(fact, "entity")
        for span in (span for text in texts for span in _entity_spans(text, plain, lower)):
            secret = [word for word in span if word not in plain]
            single = [word for word in secret if word not in GENERIC_PARTS and len(word) > 2]
            for entity in ([tuple(span)] if len(secret) > 1 else []) + [(word,) for word in single]:
                self._add_entity(entity, _Sign(leak, part or len(entity) < len(secret)))
            telling.update(single)
        return telling

    def _add_entity(self, entity: tuple[str, ...], sign: _Sign) -> None:
        bucket = self._entities.setdefault(entity[0], [])
        if (entity, sign) not in bucket:
            bucket.append((entity, sign))

    def _add_ngrams(self, fact: str, answer: str, plain: frozenset[str], telling: set[str] | None) -> int:
        sign = _Sign(Leak(fact, "ngram"), part=telling is not None)
        count = 0
        for gram in _grams(words(answer)):
            if all(word in plain for word in gram):
                continue
            strong = telling is None or not telling.isdisjoint(gram)
            (self._ngrams if strong else self._weak_ngrams).setdefault(gram, set()).add(sign)
            count += 1
        return count

    # -- looking -------------------------------------------------------------------------------------------------

    def _whole_of(self, facts: Iterable[str], said: Sequence[str]) -> set[str]:
        """Of which facts a text that holds a part says whose they are, or every word that tells of the value."""
        letters, starts = "".join(said), _starts(said)
        spoken = {*said, *(word.lstrip("0") for word in said)}
        return {
            fact
            for fact in facts
            if _names(self._called[fact], spoken, letters, starts)
            or any(value <= spoken for value in self._value_words.get(fact, ()))
        }

    def _tiny_leaks(self, text: str, folded: str) -> Iterator[_Sign]:
        for pattern, where in ((self._tiny_folded, folded), (self._tiny_cased, text)):
            for match in pattern.finditer(where) if pattern else ():
                yield from self._tiny[match.group()]

    def _pattern_leaks(self, tokens: list[str]) -> Iterator[_Sign]:
        if not self._patterns:
            return
        letters, starts = "".join(tokens), _starts(tokens)
        for start in range(len(letters) - _HASHED + 1):
            for pattern in self._patterns.get(letters[start : start + _HASHED], ()):
                end = start + len(pattern.letters)
                if (
                    letters.startswith(pattern.letters, start)
                    and (not pattern.whole_start or start in starts)
                    and (not pattern.whole_end or end in starts)
                    and not _by_chance(pattern, tokens, starts.get(start), end, starts)
                ):
                    yield pattern.sign

    def _entity_leaks(self, tokens: list[str]) -> Iterator[_Sign]:
        for position, token in enumerate(tokens):
            for entity, sign in self._entities.get(token, ()):
                if tuple(tokens[position : position + len(entity)]) == entity:
                    yield sign

    def _number_leaks(self, folded: str, *, strict: bool) -> Iterator[_Sign]:
        for match in _NUMBER.finditer(_THOUSANDS.sub("", folded)):
            runs = _DIGITS.findall(match.group())
            for run in runs:
                number = run.lstrip("0") or "0"
                yield from self._numbers.get(number, ())
                if strict:
                    yield from self._short_numbers.get(number, ())
            whole = "".join(runs)
            if len(runs) > 1:
                yield from self._numbers.get(whole.lstrip("0"), ())
            for start in range(len(whole) - _SUFFIX + 1):
                yield from self._long_numbers.get(whole[start : start + _SUFFIX], ())

    def _ngram_leaks(self, tokens: list[str], *, strict: bool) -> Iterator[_Sign]:
        for gram in _grams(tokens):
            yield from self._ngrams.get(gram, ())
            if strict:
                yield from self._weak_ngrams.get(gram, ())


def _any_of(values: Sequence[str]) -> re.Pattern[str] | None:
    found = "|".join(map(re.escape, sorted(values, key=len, reverse=True)))
    return re.compile(rf"(?<!\w)(?:{found})(?![\w+-])") if found else None


def _starts(tokens: Sequence[str]) -> dict[int, int]:
    """Where each word begins in the letters of all, and which it is; their end too, as that of a word beyond."""
    return {place: number for number, place in enumerate(accumulate(map(len, tokens), initial=0))}


def _names(called: frozenset[str] | None, spoken: AbstractSet[str], letters: str, starts: Iterable[int]) -> bool:
    """Whether a word of a person's name is said, or begins one ("the Okafors"), or is in one if it is long enough."""
    if called is None or not called.isdisjoint(spoken):
        return True
    for word in called:
        if _wide(word) or len(word) >= _LONG_STEM:
            if word in letters:
                return True
        elif len(word) >= _NAME_STEM and any(letters.startswith(word, start) for start in starts):
            return True
    return False


def _by_chance(
    pattern: _Pattern, tokens: Sequence[str], first: int | None, end: int, starts: Mapping[int, int]
) -> bool:
    """Whether a short value comes about where function words meet: "Isa" in "is a", "Andrea" in "and really"."""
    if first is None or not pattern.whole_start:
        return False
    if tokens[first] not in STOPWORDS or tokens[first] in (pattern.letters, pattern.first):
        return False
    last = starts.get(end, len(tokens))
    return any(len(token) > 1 for token in tokens[first:last])  # "I s a" is no chance


def _wide(letters: str) -> bool:
    """Whether there is a letter of a script without spaces: Thai to Lao, Burmese, Khmer, and from CJK on."""
    return any(ord(char) > 0x2E80 or any(ord(char) in block for block in _UNSPACED) for char in letters)


def _joined(secret: Secret) -> set[str]:
    """Names as a local part has them: "oconnor" of "Michael O'Connor", who is no leak wherever he is named."""
    spoken = [words(phrase) for phrase in (*secret.names, *secret.allowed)]
    return {"".join(said[a:b]) for said in spoken for a in range(len(said)) for b in range(a + 2, len(said) + 1)}


def _grams(tokens: list[str]) -> Iterator[tuple[str, ...]]:
    return zip(*(tokens[start:] for start in range(NGRAM)), strict=False)


def _entity_spans(text: str, plain: frozenset[str], lower: set[str]) -> Iterator[list[str]]:
    """Runs of capitalised words. A sentence's first word counts unless it is an ordinary one."""
    for sentence in _SENTENCE_END.split(EMAIL.sub(" ", text)):
        span: list[str] = []
        end = None
        for position, match in enumerate(CAPITALISED.finditer(sentence)):
            word = match.group()
            folded = words(word)
            ordinary = not word[0].isupper() or (position == 0 and (folded[0] in plain or folded[0] in lower))
            if span and (ordinary or not sentence[end : match.start()].isspace()):
                yield span
                span = []
            if not ordinary:
                span.extend(folded[:1] if folded[1:] == ["s"] else folded)
                end = match.end()
        if span:
            yield span
