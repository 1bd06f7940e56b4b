"""The entities of an answer, found offline: e-mails, dates, numbers, addresses, capitalised spans, content words.

The published code asks a paid LLM for them. What the question already says is no entity of the answer, as there.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from pipelines.augment.wording import EMAIL, STOPWORDS, WORD, fold
from pipelines.verify import values

_DATE_LIKE = re.compile(
    r"\b\d{4}[-/.]\d{1,2}[-/.]\d{1,2}\b|\b\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}\b"
    r"|\b\d{1,2}(?:st|nd|rd|th)?\s+(?:of\s+)?[A-Z][a-z]{2,8},?\s+\d{4}\b"
    r"|\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\s+\d{1,2}(?:st|nd|rd|th)?,?\s+\d{4}\b"
)
_ADDRESS = re.compile(
    r"\b\d{1,5}[a-z]?\s+(?:[A-Z][\w'’-]+\s+){1,4}(?:St|Street|Rd|Road|Ave|Avenue|Ln|Lane|Blvd|Boulevard|Drive|Dr|Square|Place|Way"
    r"|Court|Terrace)\b\.?"
)
_CODE = re.compile(r"\b(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*\b")
_PHONE = re.compile(r"\+?\(?\d(?:[ ().\-/]{0,2}\d){6,}")
_NUMBER = re.compile(r"\d{1,3}(?:[,']\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?")
_SPAN = re.compile(r"[A-ZÀ-ÞŠŽČ][\w'’-]*(?:\s+(?:of|de|van|von|der|la)?\s*[A-ZÀ-ÞŠŽČ][\w'’-]*)*")
_PATTERNS = (EMAIL, _DATE_LIKE, _ADDRESS, _CODE, _PHONE, _NUMBER)


class Entity(NamedTuple):
    """One entity. ``hard`` ones (numbers, dates, e-mails, ids) must match exactly, whatever their embedding says."""

    text: str
    hard: bool


class Extractor(Protocol):
    """Finds the entities of an answer; None where it could not (an outage is never "no entities")."""

    name: str

    def extract(self, text: str, query: str) -> tuple[Entity, ...] | None:
        """The entities of the text that the query does not already hold."""


class RuleExtractor:
    """The offline extractor."""

    name = "rules"

    def extract(self, text: str, query: str) -> tuple[Entity, ...]:
        """The entities of the text that the query does not already hold, each once, in a stable order."""
        asked = {values.stem(word) for word in WORD.findall(fold(query))}
        found = (self._without(entity, asked) for entity in self._all(text))
        return tuple(dict.fromkeys(entity for entity in found if entity is not None))

    def _all(self, text: str) -> Iterator[Entity]:
        rest = text
        for pattern in _PATTERNS:
            for match in pattern.finditer(rest):
                yield Entity(match.group().strip(" .,'-"), hard=True)
            rest = pattern.sub(" | ", rest)
        for match in list(_SPAN.finditer(rest)):
            words = [w for w in WORD.findall(fold(match.group())) if w not in STOPWORDS and len(w) > 1]
            if words:
                yield Entity(" ".join(words), hard=False)
        for word in WORD.findall(fold(_SPAN.sub(" | ", rest))):
            if len(word) > 2 and word not in STOPWORDS:
                yield Entity(word, hard=False)

    @staticmethod
    def _without(entity: Entity, asked: set[str]) -> Entity | None:
        words = WORD.findall(fold(entity.text))
        kept = [word for word in words if values.stem(word) not in asked]
        if not kept:
            return None
        return entity if entity.hard or len(kept) == len(words) else Entity(" ".join(kept), hard=False)


def shares_word(entity: Entity, query: str) -> bool:
    """Whether an entity shares any word with the query: what the published code drops, of predictions only."""
    return not set(WORD.findall(fold(entity.text))).isdisjoint(WORD.findall(fold(query)))


def same_hard(one: Entity, other: Entity) -> bool:
    """Whether two exact entities state the same number, date, e-mail or id, whatever the format."""
    return values.holds(one.text, other.text) or values.holds(other.text, one.text)
