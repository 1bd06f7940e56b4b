"""Which column of a foreign corpus is what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from policies.errors import LetheError

# Question and answer columns that are recognised by themselves, most telling first; `text` / `labels` is KnowUnDo's,
# `question` / `answer` TOFU's.
_PAIRS = (
    ("question", "answer"),
    ("text", "labels"),
    ("input", "output"),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("instruction", "output"),
    ("query", "response"),
)
_PROSE = ("text", "content", "document")
_IDS = ("id", "record_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Names of the columns; what is None is recognised, or not there.

    Attributes:
        answer: The answer, or the whole text of prose.
        question: The question; where its cell is empty, the row is prose.
        record_id: Ids of the corpus itself.
        category: What kind of data a row is.
        fact: Groups the phrasings of one fact.
        value: The value that a row states.
    """

    answer: str | None = None
    question: str | None = None
    record_id: str | None = None
    category: str | None = None
    fact: str | None = None
    value: str | None = None

    @classmethod
    def named(cls, names: Mapping[str, str]) -> "Columns":
        """Columns as the settings name them: ``question``, ``answer``, ``text`` (prose), ``id``, ``fact`` and so on.

        Raises:
            LetheError: ``corpus.columns_missing``: a setting that no column has.
        """
        known = {"question", "answer", "text", "id", "fact", "category", "value"}
        if unknown := sorted(set(names) - known):
            raise LetheError(
                "corpus.columns_missing",
                "the settings name columns that a corpus does not have",
                (f"unknown: {', '.join(unknown)}", f"known: {', '.join(sorted(known))}"),
            )
        return cls(
            answer=names.get("answer") or names.get("text"),
            question=names.get("question"),
            record_id=names.get("id"),
            category=names.get("category"),
            fact=names.get("fact"),
            value=names.get("value"),
        )


def recognise(present: Sequence[str], named: Columns) -> Columns:
    """Fill in what the settings do not name, from the columns that are there.

    Raises:
        LetheError: ``corpus.columns_missing``, with the columns that are there and those that were wanted.
    """
    wanted = [name for field in fields(named) if (name := getattr(named, field.name)) is not None]
    missing = [name for name in wanted if name not in present]
    question, answer = named.question, named.answer
    if answer is None:
        for known_question, known_answer in _PAIRS:
            if {known_question, known_answer} <= set(present) and question in (None, known_question):
                question, answer = known_question, known_answer
                break
        else:
            answer = None if question else next((name for name in _PROSE if name in present), None)
    if missing or answer is None:
        pairs = ", ".join(f"{first} + {second}" for first, second in _PAIRS)
        raise LetheError(
            "corpus.columns_missing",
            "the corpus has not the columns that are needed",
            (
                f"present: {', '.join(sorted(present)) or 'none'}",
                f"wanted: {', '.join(missing)}" if missing else f"wanted: {pairs}, or {' or '.join(_PROSE)} alone",
            ),
        )

    def optional(name: str | None, *known: str) -> str | None:
        return name or next((one for one in known if one in present and one not in (question, answer)), None)

    return Columns(
        answer=answer,
        question=question,
        record_id=optional(named.record_id, *_IDS),
        category=optional(named.category, "category"),
        fact=optional(named.fact, "fact"),
        value=optional(named.value, "value"),
    )
