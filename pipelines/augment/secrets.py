"""The secrets of a forget set: what of each forgotten fact must not be found in a row, and which words may."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from pipelines.augment.questions import person_in
from pipelines.augment.wording import CAPITALISED, EMAIL, GENERIC_PARTS, STOPWORDS, words
from pipelines.rows import Secret
from policies.record import Record


def secrets_from_records(
    records: Iterable[Record],
    names: Iterable[str] = (),
    others: Iterable[Record] = (),
    *,
    whose: Iterable[str] = (),
) -> tuple[Secret, ...]:
    """The secrets of a forget set, one per fact.

    The words of a fact's own questions are allowed, since a hedge has to name its topic; never those of the value,
    nor numbers, nor names that only some of the questions hold (a question that asks backwards holds the secret).

    Args:
        records: The forget set.
        names: Names of every subject of the run and of its replay: their hedges have to keep them.
        others: Retain and neighbour records. A note about two people names someone who has records of their own; that
            name alone is no secret of the first, or nothing about the second could be retained. It stays one where it
            is the forgotten value itself.
        whose: Names of the person whose facts these are; none where they are several people's.
    """
    facts: dict[str, list[Record]] = {}
    for record in records:
        facts.setdefault(record.fact_id, []).append(record)
    known, own = tuple(names), tuple(whose)
    ordinary = {word for group in facts.values() for r in group if r.question for word in _lower_words(r.question)}
    people = _known_people(others)
    made = (_secret(fact, group, known, ordinary, people) for fact, group in facts.items())
    return tuple(replace(secret, names=own) for secret in made)


def _secret(
    fact: str, records: Sequence[Record], names: tuple[str, ...], ordinary: set[str], people: set[str]
) -> Secret:
    value = next((record.value for record in records if record.value), None)
    questions = [record.question for record in records if record.question]
    answers = tuple(dict.fromkeys(record.answer for record in records))
    secret_words = set(words(value)) if value else set()
    openers = {word for answer in answers for word in words(answer.partition(" ")[0])}
    allowed = (_question_words(questions) | (openers & ordinary)) - secret_words
    if value:
        allowed |= _plain_in_value(value, questions)
    named = people.intersection(word for answer in answers for word in words(answer))
    allowed |= named if secret_words - named - STOPWORDS - GENERIC_PARTS or not value else named - secret_words
    return Secret(fact=fact, answers=answers, value=value, allowed=(*names, *sorted(allowed)))


def _known_people(records: Iterable[Record]) -> set[str]:
    """Words of the names of people with records of their own: full names that several questions are about."""
    counts = Counter(name for name in (person_in(record) for record in records) if name)
    return {word for name, count in counts.items() if count > 2 and len(words(name)) > 1 for word in words(name)}


def _question_words(questions: Sequence[str]) -> set[str]:
    """Words that the questions use: not numbers, and names only where half of the questions hold them."""
    named = [set(_named(question)) for question in questions]
    found: set[str] = set()
    for word in {word for question in questions for word in words(question)}:
        holders = sum(word in group for group in named)
        if not any(char.isdigit() for char in word) and (not holders or 2 * holders >= len(questions)):
            found.add(word)
    return found


def _plain_in_value(value: str, questions: Sequence[str]) -> set[str]:
    """Words of a name that are ordinary ones ("Primary" of a school): some question writes them in lower case.

    A question that holds the whole value says nothing about its words; nor may all words of a value be ordinary.
    """
    parts = set(words(value)) - STOPWORDS
    titled = {word for match in CAPITALISED.findall(value) if match[0].isupper() for word in words(match)}
    plain = {
        word
        for question in questions
        for word in titled.intersection(_lower_words(question))
        if not parts <= set(words(question))
    }
    return plain if parts - plain else set()


def _lower_words(text: str) -> set[str]:
    return {word for match in CAPITALISED.findall(text) if match[0].islower() for word in words(match)}


def _named(question: str) -> Iterator[str]:
    """Folded words of a question that are capitalised beyond its first word, and those of e-mails."""
    for match in EMAIL.finditer(question):
        yield from words(match.group())
    for word in CAPITALISED.findall(question)[1:]:
        if word[0].isupper():
            yield from words(word)
