"""Our own expectations. Importing this module imports Great Expectations, which takes seconds: import it late."""

import os

# Before the import: usage telemetry is read from the environment then.
os.environ["GX_ANALYTICS_ENABLED"] = "false"

from great_expectations.expectations import (
    ExpectColumnValuesToBeBetween,
    ExpectColumnValuesToBeInSet,
)

ONLY_TRUE: list[object] = [True]


class ExpectRowsToGiveNothingAway(ExpectColumnValuesToBeInSet):  # type: ignore[misc]
    """No row that a loss raises holds an entity, a number, an e-mail or a 5-gram of a forgotten answer."""

    column: str = "leak_free"
    value_set: list[object] = ONLY_TRUE


class ExpectAnswersToKeepTheSubject(ExpectColumnValuesToBeInSet):  # type: ignore[misc]
    """Every vague answer names the person it is about."""

    column: str = "subject_kept"
    value_set: list[object] = ONLY_TRUE


class ExpectVariantsToBeDistinct(ExpectColumnValuesToBeInSet):  # type: ignore[misc]
    """No question about the subject comes twice with the same answer."""

    column: str = "distinct"
    value_set: list[object] = ONLY_TRUE


class ExpectAnswersInTheLanguageOfTheForgetSet(ExpectColumnValuesToBeInSet):  # type: ignore[misc]
    """Vague answers are written in the script and language of the forgotten ones."""

    column: str = "language_kept"
    value_set: list[object] = ONLY_TRUE


class ExpectPromptsOfSensibleLength(ExpectColumnValuesToBeBetween):  # type: ignore[misc]
    """A prompt has at least one word and at most so many."""

    column: str = "prompt_words"
    min_value: int = 1


class ExpectAnswersOfSensibleLength(ExpectColumnValuesToBeBetween):  # type: ignore[misc]
    """An answer is not empty and not longer than its kind may be."""

    column: str = "answer_words_left"
    min_value: int = 0


class ExpectClassBalance(ExpectColumnValuesToBeInSet):  # type: ignore[misc]
    """Every kind of row has a share within its bounds."""

    column: str = "balanced"
    value_set: list[object] = ONLY_TRUE


class ExpectCoveragePerFact(ExpectColumnValuesToBeBetween):  # type: ignore[misc]
    """Every forgotten fact has rows."""

    column: str = "rows"


class ExpectQuestionsPerFact(ExpectColumnValuesToBeBetween):  # type: ignore[misc]
    """Every forgotten fact is asked for in several ways."""

    column: str = "questions"
