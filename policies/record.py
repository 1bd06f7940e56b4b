"""A record of the training corpus: a question with its answer, or a piece of prose."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One training record.

    Attributes:
        record_id: Unique within its corpus; carries no personal data.
        question: None for prose.
        answer: The answer, or the whole prose text.
        category: What kind of data it is, for example ``private.email``, ``public.occupation``, ``generic``;
            None where the corpus does not say (then everything counts as private).
        fact: Groups the phrasings of one fact; opaque. None: the record is a fact of its own.
        value: The value that the fact states (``mara@example.org``), where it is known.
    """

    record_id: str
    question: str | None
    answer: str
    category: str | None = None
    fact: str | None = None
    value: str | None = None

    @property
    def text(self) -> str:
        """Everything the record says, question first."""
        return self.answer if self.question is None else f"{self.question}\n{self.answer}"

    @property
    def fact_id(self) -> str:
        """The fact's id; the record's own where no fact groups it."""
        return self.fact or self.record_id
