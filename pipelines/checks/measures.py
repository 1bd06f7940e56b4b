"""What is measured about the rows. Only flags, counts and opaque ids leave this module, never a text.

Great Expectations prints failing values in most of its result formats; it can print none that it was never given.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.augment.augmented import SUBJECT_KINDS
from pipelines.augment.leak import LeakCheck
from pipelines.augment.questions import name_in
from pipelines.augment.wording import STOPWORDS, normalised_question, words
from pipelines.rows import RowKind, Secret, TrainRow

_LANGUAGE_WORDS = 6  # shorter texts are too short to tell a language
_ENGLISH = 0.15  # share of English function words: about .4 in prose, and next to none in other languages

Names = Mapping[str, Sequence[str]] | Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSettings:
    """Bounds of the suite.

    Attributes:
        min_rows_per_fact: Rows about the subject for each forgotten fact.
        min_questions_per_fact: Different questions for each forgotten fact.
        max_prompt_words: Longest prompt.
        max_answer_words: Longest answer of a row about the subject.
        max_kept_words: Longest answer of a retain, generic or negative row.
        shares: Smallest and largest share of all rows, by kind; a kind that is not named may be missing.
    """

    min_rows_per_fact: int = 4
    min_questions_per_fact: int = 3
    max_prompt_words: int = 200
    max_answer_words: int = 120
    max_kept_words: int = 600
    shares: Mapping[str, tuple[float, float]] = field(
        default_factory=lambda: {
            RowKind.FORGET.value: (0.05, 0.9),
            RowKind.COMPLETION.value: (0.0, 0.5),
            RowKind.NEIGHBOUR.value: (0.0, 0.7),
            RowKind.GENERIC.value: (0.0, 0.7),
            RowKind.RETAIN.value: (0.05, 0.9),
            RowKind.REPLAY.value: (0.0, 0.6),
            RowKind.NEGATIVE.value: (0.0, 0.4),
        }
    )


@dataclass(frozen=True, slots=True)
class RowMeasure:
    """One row without its text."""

    row_id: str
    leak_free: bool
    subject_kept: bool
    distinct: bool
    language_kept: bool
    prompt_words: int
    answer_words_left: int  # words below the limit of its kind


@dataclass(frozen=True, slots=True)
class FactMeasure:
    """How a forgotten fact is covered."""

    fact: str
    rows: int
    questions: int


@dataclass(frozen=True, slots=True)
class KindMeasure:
    """Whether a kind's share of the rows is within its bounds."""

    kind: str
    share: float
    balanced: bool


def measure_rows(
    rows: Sequence[TrainRow], check: LeakCheck, names: Names, language: "Language", settings: CheckSettings
) -> list[RowMeasure]:
    """Every row, measured alone and against its predecessors."""
    seen: set[tuple[str, str]] = set()
    measured = []
    for row in rows:
        about = row.kind in SUBJECT_KINDS
        limit = settings.max_answer_words if about else settings.max_kept_words
        pair = (row.prompt, row.answer)
        told = row.answer.strip() and row.prompt.strip()
        measured.append(
            RowMeasure(
                row_id=row.row_id,
                leak_free=not check.row_leaks(row),
                subject_kept=_subject_kept(row, names),
                distinct=not about or pair not in seen,
                language_kept=not about or language.fits(row.answer),
                prompt_words=len(row.prompt.split()),
                answer_words_left=limit - len(row.answer.split()) if told else -1,
            )
        )
        if about:
            seen.add(pair)
    return measured


def measure_facts(rows: Iterable[TrainRow], facts: Iterable[str]) -> list[FactMeasure]:
    """Rows and different questions of every fact that has to be forgotten, also of those without any row."""
    counts: Counter[str] = Counter()
    questions: dict[str, set[str]] = {}
    for row in rows:
        if row.fact is not None and row.kind in SUBJECT_KINDS:
            counts[row.fact] += 1
            questions.setdefault(row.fact, set()).add(normalised_question(row.prompt))
    return [FactMeasure(fact, counts[fact], len(questions.get(fact, ()))) for fact in dict.fromkeys(facts)]


def measure_kinds(rows: Sequence[TrainRow], settings: CheckSettings) -> list[KindMeasure]:
    """The share of every kind."""
    counts = Counter(row.kind for row in rows)
    measured = []
    for kind in RowKind:
        low, high = settings.shares.get(kind.value, (0.0, 1.0))
        share = counts[kind] / len(rows) if rows else 0.0
        measured.append(KindMeasure(kind.value, share, low <= share <= high))
    return measured


def _subject_kept(row: TrainRow, names: Names) -> bool:
    """Whether the answer (with its beginning, for a completion row) names the person it is about."""
    if row.kind not in SUBJECT_KINDS and row.kind is not RowKind.REPLAY:
        return True
    known = names.get(row.subject or "", ()) if isinstance(names, Mapping) else names
    if row.kind is RowKind.REPLAY and (not known or not isinstance(names, Mapping)):
        return True  # people forgotten earlier: their set was checked in its own run
    text = row.answer if row.chat else f"{row.prompt} {row.answer}"
    return name_in(text, known) is not None


@dataclass(frozen=True, slots=True)
class Language:
    """Script and Englishness of the forget set; a vague answer in another language would be a giveaway of its own."""

    script: str
    english: bool

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Language":
        """The language of these texts taken together."""
        joined = " ".join(texts)
        return cls(_script(joined), _english(joined))

    @classmethod
    def of_secrets(cls, secrets: Sequence[Secret]) -> "Language":
        """The language of the forgotten answers; the words of their questions tell it where answers are bare values."""
        answers = " ".join(answer for secret in secrets for answer in secret.answers)
        asked = " ".join(word for secret in secrets for word in secret.allowed)
        return cls(_script(answers), _english(answers) or _english(asked))

    def fits(self, text: str) -> bool:
        """Whether the text is in this language; short texts are judged by their script alone."""
        same = _script(text) == self.script
        return same and (len(text.split()) < _LANGUAGE_WORDS or _english(text) == self.english)


def _script(text: str) -> str:
    """The script that most letters are of: LATIN, CYRILLIC, CJK and so on."""
    scripts = Counter(
        "LATIN" if char.isascii() else unicodedata.name(char, "UNKNOWN").split()[0] for char in text if char.isalpha()
    )
    return scripts.most_common(1)[0][0] if scripts else "NONE"


def _english(text: str) -> bool:
    found = words(text)
    return bool(found) and sum(word in STOPWORDS for word in found) / len(found) >= _ENGLISH
