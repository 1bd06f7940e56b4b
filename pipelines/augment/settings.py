"""How many rows of which kind the augmenter makes."""

from dataclasses import dataclass

from policies.errors import LetheError


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentSettings:
    """Amounts. A fact gets about (original + 4 * variants + neighbour) * answers * (1 + completion) rows.

    Attributes:
        original_questions: At most so many of the fact's own training questions are asked again.
        variants: Questions of each of the four variants a fact.
        neighbour_questions: Other people's phrasings a fact, with the subject's name.
        answers_per_question: Vague answers to each question.
        completion_share: Completion rows, as a share of the question rows.
        generic_ratio: Generic rows wanted for each row about the subject.
        generic_repeats: A generic record is used at most so often, whatever the ratio.
        retain_rows: At most so many retain rows, the subject's own public facts first.
        own_share: This share of the retain rows is about the subject's own public facts, repeated if they are few.
        negative: Also give the raw forgotten answers, for losses that lower their likelihood.
        refusals: Also give the raw questions with "I do not know" answers, for methods that learn to refuse.
        refusals_per_question: So many of them, each in other words.
        min_rows_per_fact: A fact with fewer rows about it is reported as uncovered.
        max_rounds: Answers that fail are asked for again at most so often, the first time included.
    """

    original_questions: int = 8
    variants: int = 1
    neighbour_questions: int = 12
    answers_per_question: int = 2
    completion_share: float = 0.25
    generic_ratio: float = 1.0
    generic_repeats: int = 4
    retain_rows: int = 6000
    own_share: float = 0.08
    negative: bool = False
    refusals: bool = False
    refusals_per_question: int = 4
    min_rows_per_fact: int = 4
    max_rounds: int = 3

    def __post_init__(self) -> None:
        faults = [
            *(f"{name} must not be negative" for name in self.__slots__ if getattr(self, name) < 0),
            *(["answers_per_question must be at least 1"] if self.answers_per_question < 1 else []),
            *(["max_rounds must be 1 to 3"] if not 1 <= self.max_rounds <= 3 else []),
            *(["original_questions must be at least 1"] if self.original_questions < 1 else []),
            *(["refusals_per_question must be at least 1"] if self.refusals_per_question < 1 else []),
            *(["own_share must be at most 1"] if self.own_share > 1 else []),
        ]
        if faults:
            raise LetheError("augment.bad_settings", "the amounts of the augmenter cannot be used", tuple(faults))
