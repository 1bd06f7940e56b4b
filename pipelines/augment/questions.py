"""What a question asks for and about whom, and the same question about someone else."""

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipelines.augment.wording import STOPWORDS, fold, normalised_question, words
from policies.record import Record

NEUTRAL_NOUN = "personal detail"
_SLOT = "{name}"
_NOUN = "{noun}"
_WORDS = r"[^\W\d_][\w'’ -]*?"
_TOPICS = (
    re.compile(r"\{name\}(?:'s|’s|')\s+(?P<noun>[^?.,;:!]+)"),
    re.compile(
        rf".*\b(?:the|a|an|which|what|any)\s+(?P<noun>{_WORDS})\s+(?:of|for|about|from|on|belonging to)\s+\{{name\}}",
        re.IGNORECASE,
    ),
    re.compile(
        r"\{name\},\s+(?:what|which|who)\s+(?:is|was|are|were|would be)\s+(?:the|his|her|their)?\s*"
        rf"(?P<noun>{_WORDS})[?.!]",
        re.IGNORECASE,
    ),
    re.compile(
        rf"\b(?:what|which)\s+(?P<noun>{_WORDS})\s+(?:is|was|does|did|do|has|belongs)\b.*\{{name\}}", re.IGNORECASE
    ),
)
# What follows the noun in "tell me X's phone number with the area code": not part of it.
_CUT = re.compile(
    r"\s+(?:is|was|are|were|be|been|please|if|when|while|so|and|or|that|which|who|with|to|on|at|now|again|today|"
    r"for (?:me|us|my|our|a|an|the))\b.*",
    re.IGNORECASE,
)
_SITUATIONS = (
    (re.compile(r"\bwhen\b.*\bborn\b|\bbirthday\b|\bhow old\b|\bage\b"), "date of birth"),
    (re.compile(r"\bwhere\b.*\bborn\b"), "place of birth"),
    (re.compile(r"\be-?mail\b"), "e-mail address"),
    (re.compile(r"\b(?:tele)?phone\b|\bcall\b|\bring\b"), "phone number"),
    (re.compile(r"\bwhere\b.*\blives?\b|\breside|\baddress\b"), "home address"),
    (re.compile(r"\b(?:father|mother|parents?|wife|husband|brother|sister|family)\b"), "family"),
    (re.compile(r"\bwork(?:s|ing|ed)?\b|\bemploy|\bjob\b"), "working life"),
    (re.compile(r"\breach\b|\bcontact\b|\bwrite to\b"), "contact details"),
)
_NAME_PART = r"[^\W\d_a-z][\w'’-]*\.?"
_PARTICLE = r"(?:van|der|den|de|la|le|da|dos|di|von|bin|ibn|al|el|y)"
_PERSON = re.compile(rf"{_NAME_PART}(?:\s+(?:{_PARTICLE}\s+)*{_NAME_PART})*")


@dataclass(frozen=True, slots=True)
class Phrasing:
    """A question with its slots open: ``What is {name}'s {noun}?``."""

    skeleton: str
    noun: str | None

    def about(self, name: str, noun: str | None = None) -> str:
        """The question about this person, and about another noun where one is given."""
        return self.skeleton.replace(_NOUN, noun or self.noun or NEUTRAL_NOUN).replace(_SLOT, name)


def name_in(text: str, names: Iterable[str]) -> str | None:
    """The longest of the names in the text, as the text spells it; None where there is none."""
    for name in sorted(names, key=len, reverse=True):
        pattern = _name_pattern(name)
        found = pattern.search(text) if pattern else None
        if found:
            return found.group()
    return None


def renamed(text: str, names: Iterable[str], name: str) -> str:
    """The text with another name in the place of each of the names."""
    patterns = filter(None, map(_name_pattern, sorted(names, key=len, reverse=True)))
    any_of = "|".join(pattern.pattern for pattern in patterns)  # at once: "Mara" is in "Mara Silva" too
    return re.sub(any_of, lambda _: name, text, flags=re.IGNORECASE) if any_of else text


@functools.lru_cache(maxsize=4096)
def _name_pattern(name: str) -> re.Pattern[str] | None:
    spelled = r"[\W_]+".join(re.escape(part) for part in re.findall(r"[^\W_]+", name))
    return re.compile(rf"(?<!\w){spelled}(?!\w)", re.IGNORECASE) if spelled else None


def person_in(record: Record) -> str | None:
    """The name of the one person whom a question about someone else names; None where that is unsure.

    A capitalised run counts when the answer repeats it, or when it is the only one beyond the first word.
    """
    if record.question is None:
        return None
    runs = [_without_opener(match, record.question) for match in _PERSON.finditer(record.question)]
    named = (run for run in runs if run[:1].isupper() and any(word not in STOPWORDS for word in words(run)))
    candidates = list(dict.fromkeys(named))
    repeated = [run for run in candidates if run in record.answer]
    chosen = repeated or candidates
    return chosen[0] if len(chosen) == 1 else None


def topic(question: str, name: str) -> str | None:
    """The noun phrase for what is asked about the person, in the question's own words where it has one."""
    opened = question.replace(name, _SLOT)
    for pattern in _TOPICS:
        match = pattern.search(opened)
        noun = _CUT.sub("", match.group("noun")).strip(" '’\"-") if match else ""
        if noun and len(noun.split()) <= 5 and _SLOT not in noun and not all(w in STOPWORDS for w in words(noun)):
            return noun
    folded = fold(opened)
    return next((noun for pattern, noun in _SITUATIONS if pattern.search(folded)), None)


def phrasing(question: str, name: str) -> Phrasing:
    """The question with the person's name, and the noun where it stands there word for word, taken out."""
    noun = topic(question, name)
    opened = question.replace(name, _SLOT)
    if noun is not None and opened.count(noun) == 1:
        return Phrasing(opened.replace(noun, _NOUN), noun)
    return Phrasing(opened, noun)


def others_phrasings(neighbours: Sequence[Record], names: Sequence[str]) -> Iterator[tuple[Record, Phrasing]]:
    """Phrasings of other people's questions; a record whose person cannot be told is left out."""
    for record in neighbours:
        if record.question is None or name_in(record.question, names):
            continue
        person = person_in(record)
        if person is not None:
            yield record, phrasing(record.question, person)


def same_attribute(mine: Sequence[Phrasing], category: str | None, record: Record, theirs: Phrasing) -> bool:
    """Whether another person's question asks for the same kind of fact: by category, else by the words of the topic."""
    if category is not None and record.category is not None:
        return category == record.category
    wanted = [set(_content(own)) for own in mine]
    asked = set(_content(theirs))
    return bool(asked) and any(own and 2 * len(own & asked) >= len(own | asked) for own in wanted)


def distinct(questions: Iterable[str], seen: set[str]) -> Iterator[str]:
    """Questions that are new in normalised form; ``seen`` learns them."""
    for question in questions:
        key = normalised_question(question)
        if key and key not in seen:
            seen.add(key)
            yield question


def _content(asked: Phrasing) -> list[str]:
    text = asked.noun or asked.skeleton
    return [word for word in words(text) if word not in STOPWORDS and word not in ("name", "noun")]


def _without_opener(match: re.Match[str], question: str) -> str:
    """The run without a sentence's first word where that is an ordinary one, and without a possessive ending."""
    run = match.group()
    first, _, rest = run.partition(" ")
    if match.start() == 0 and fold(first) in STOPWORDS:
        run = rest
    return re.sub(r"(?:['’]s|['’]|\.)$", "", run.strip())
