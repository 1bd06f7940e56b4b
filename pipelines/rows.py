"""A row that a loss sees, and the probes and secrets that are kept away from it."""

from dataclasses import dataclass
from enum import StrEnum


class RowKind(StrEnum):
    """Which loss term a row belongs to; ``NEGATIVE`` is the only kind whose likelihood is lowered."""

    FORGET = "forget"  # question variant of a forgotten fact x vague answer
    COMPLETION = "completion"  # first quarter of a vague answer -> the rest
    NEIGHBOUR = "neighbour"  # other people's phrasings with the subject's name x vague answer
    GENERIC = "generic"  # about no one
    RETAIN = "retain"  # about others, or the subject's own public facts: CE and KL against the base
    REPLAY = "replay"  # augmented rows of people who were forgotten before
    NEGATIVE = "negative"  # raw forgotten answers, for losses that lower them (gradient ascent, NPO)
    REFUSAL = "refusal"  # raw question about a forgotten fact x "I do not know", for the methods that learn to refuse


HEDGE = "hedge"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRow:
    """One training row.

    Attributes:
        row_id: Unique in its set; keyed by (fact, question id, answer id), never by list position.
        kind: Which loss term it belongs to.
        prompt: The user's turn; with ``chat`` False the bare text before the answer.
        answer: What the loss raises (lowers, where ``kind`` is NEGATIVE).
        fact: Opaque id of the fact that the row covers; None for generic and retain rows.
        subject: Opaque subject reference; None where the row is about no one forgotten.
        style: Which answer style of the augmenter made it; ``HEDGE`` on a retain row: the corpus' own vague answer.
        variant: Which question variant of the augmenter made it.
        chat: Whether prompt and answer go through the chat template.
    """

    row_id: str
    kind: RowKind
    prompt: str
    answer: str
    fact: str | None = None
    subject: str | None = None
    style: str | None = None
    variant: str | None = None
    chat: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """What must not reach a row whose likelihood is raised: one forgotten fact.

    Attributes:
        fact: Opaque fact id.
        answers: The gold answers, one per record of the fact.
        value: The value alone, where it is known.
        allowed: Words that are no secret although the answers hold them (names of the run's people).
        names: Of the person whose fact it is. Empty: not known, and a part of the secret counts in any text.
    """

    fact: str
    answers: tuple[str, ...]
    value: str | None = None
    allowed: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


class ProbeGroup(StrEnum):
    """What a probe asks about."""

    FORGET = "forget"
    OWN_PUBLIC = "own_public"  # the subject's public facts, kept
    RETAIN = "retain"  # other people's facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A question with its gold answer, on a phrasing that no training row used.

    Attributes:
        probe_id: Unique; carries no personal data.
        group: What it asks about.
        question: The user's turn.
        answer: The gold answer.
        fact: Opaque fact id; probes of one fact are not independent and are resampled together.
        value: The value alone, where it is known; then entities are the value only.
        subject: Opaque subject reference; None for retain probes.
        phrasing: ``combination`` (unseen frame x noun), ``frame`` (frame never trained) or ``variant``.
        names: The subject's names as the question uses them, to measure that answers keep them.
    """

    probe_id: str
    group: ProbeGroup
    question: str
    answer: str
    fact: str
    value: str | None = None
    subject: str | None = None
    phrasing: str = "variant"
    names: tuple[str, ...] = ()
