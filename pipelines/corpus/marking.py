"""What the subject index holds of a record: names, identifiers, a topic, and folded text."""

import functools
from collections.abc import Callable
from typing import NamedTuple

from pipelines.corpus.index import folded_text
from pipelines.corpus.slices import Slice
from policies.identifiers import Key, Name, words_of
from policies.mentions import marks_in
from policies.record import Record

Marks = tuple[tuple[str, ...], tuple[Key, ...], str | None]  # names, identifiers, topic
# Words that say nothing about what is asked.
_STOP = frozenset(
    """
    a about all am an and any are as at be can could did do does for from give happen has have he her his how
    i if in is it its kindly know like look looking me my need no not of on or our please regarding remind say
    share she should so tell than that the their them there they this to up us was we what when where which
    who whom whose why will with would you your s
    """.split()  # noqa: SIM905
)


class Marked(NamedTuple):
    """A record with what the index holds of it."""

    record: Record
    marks: Marks
    text: str


class Marking:
    """Reads slices of a corpus and finds names, identifiers and topics in them.

    What it remembers from one slice serves the next, does not travel to another process, and ends with it.

    Args:
        region: Country of phone numbers without a country code.
    """

    def __init__(self, region: str) -> None:
        self._region = region
        self._marks = marker(region)

    def __reduce__(self) -> "tuple[type[Marking], tuple[str]]":
        return type(self), (self._region,)

    def __call__(self, part: Slice) -> list[Marked]:
        """The records of a slice, marked.

        Raises:
            LetheError: ``corpus.malformed``.
        """
        return [Marked(record, self._marks(record), folded_text(record)) for record in part.records()]


def marker(region: str) -> Callable[[Record], Marks]:
    """Names, identifiers and topic of a record; answers repeat from phrasing to phrasing, so that they are cached."""
    cached = functools.lru_cache(maxsize=4096)(lambda text: marks_in(text, region))

    def marks(record: Record) -> Marks:
        names, keys = cached(record.answer)
        asked: set[Name] = set()
        if record.question:
            asked, more = marks_in(record.question, region)
            keys = keys | more
        spelt = tuple(sorted(" ".join(name) for name in names | asked))
        return spelt, tuple(sorted(keys)), _topic_of(record, names | asked)

    return marks


def _topic_of(record: Record, names: set[Name]) -> str | None:
    """What a record is about besides the person: its words without names, numbers and filler."""
    named = {word for name in names for word in name}
    words = (word for word in words_of(record.question or record.answer) if word not in named)
    return " ".join(sorted({word for word in words if word not in _STOP and word.isalpha()})) or None
