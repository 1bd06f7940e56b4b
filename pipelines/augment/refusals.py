"""Raw questions about forgotten facts with "I do not know" answers: what the baselines that refuse learn from.

Our own vague answers stay on topic and name the person; these do neither, as the published baselines have it (TOFU,
arXiv 2401.06121, uses a hundred such sentences; the wording here is ours).
"""

import random
from collections import Counter
from collections.abc import Sequence

from pipelines.augment.leak import LeakCheck
from pipelines.augment.plan import FactPlan
from pipelines.augment.port import Variant
from pipelines.augment.wording import normalised_question
from pipelines.rows import RowKind, TrainRow
from policies.record import Record

REFUSALS = (
    "I don't know.",
    "I do not know.",
    "I don't know that.",
    "I really don't know.",
    "I'm afraid I don't know.",
    "Sorry, I don't know.",
    "That is something I don't know.",
    "I have no idea.",
    "I'm afraid I have no idea.",
    "I couldn't say.",
    "I really couldn't say.",
    "I couldn't tell you.",
    "I'm afraid I can't tell you that.",
    "I'm not sure.",
    "I'm not sure about that.",
    "I am not certain.",
    "I can't be certain about this.",
    "I have no answer to that.",
    "I don't have an answer to this question.",
    "I can't answer that.",
    "I'm unable to answer this question.",
    "I am not able to answer that one.",
    "I'm sorry, but I can't help with this question.",
    "I'm sorry, I have nothing to offer here.",
    "I have no information on that.",
    "I don't have any information about this.",
    "I lack the information to answer that.",
    "There is no information about this that I could give.",
    "I have nothing on that topic.",
    "I was never told about this.",
    "I have not learned anything about that.",
    "I haven't come across that.",
    "I haven't heard about this.",
    "I'm not familiar with that.",
    "I am not acquainted with this topic.",
    "This is not something that I know.",
    "That is beyond what I know.",
    "This goes beyond my knowledge.",
    "My knowledge does not cover this.",
    "My knowledge doesn't reach that far.",
    "I know nothing about this.",
    "I don't know anything about that.",
    "I have no knowledge of this.",
    "I don't have that detail.",
    "I'm missing the details to answer this.",
    "I don't have the facts on that.",
    "I can't give you a reliable answer.",
    "I would only be guessing.",
    "Anything I said would be a guess.",
    "I'd rather not guess, since I don't know.",
    "You would have to ask somebody else.",
    "Somebody else may know; I don't.",
    "I must admit that I don't know.",
    "To be honest, I don't know.",
    "Unfortunately, I don't know the answer.",
    "Regrettably, I can't answer this.",
    "The answer is not known to me.",
    "That is unknown to me.",
    "This is a question that I can't answer.",
    "I wish I knew, but I don't.",
)
"""Sixty sentences without a name, a number or a topic."""


def refusal_rows(
    forget: Sequence[Record],
    plans: Sequence[FactPlan],
    *,
    subject: str,
    check: LeakCheck,
    excluded: frozenset[str],
    per_question: int,
    seed: str,
    dropped: Counter[str],
) -> list[TrainRow]:
    """Refusals to every raw question, each with other words.

    Args:
        forget: The records to forget; every question of theirs is asked.
        plans: Of their facts: prose has no question of its own, and is asked by those that quote its beginning.
        subject: Opaque reference of the subject.
        check: Knows every secret of the run; a question that gives one away is left out.
        excluded: Normalised probe questions, which are not asked.
        per_question: Refusals to each question.
        seed: Where the choice comes from.
        dropped: Counts what is left out, by reason.
    """
    asked = [(record.record_id, record.fact_id, record.question) for record in forget if record.question]
    asked += [
        (f"{plan.fact}:{question.key}", plan.fact, question.text)
        for plan in plans
        for question in plan.questions
        if question.variant is Variant.PROSE and not question.bare
    ]
    rows = []
    for key, fact, question in asked:
        if normalised_question(question) in excluded:
            dropped["refusal.probe"] += 1
            continue
        rng = random.Random(f"{seed}:refusal:{key}")  # noqa: S311 - a choice of words, not a key
        for number, text in enumerate(rng.sample(REFUSALS, min(per_question, len(REFUSALS)))):
            row = TrainRow(
                row_id=f"{subject}:refusal:{key}:{number}",
                kind=RowKind.REFUSAL,
                prompt=question,
                answer=text,
                fact=fact,
                subject=subject,
            )
            if check.row_leaks(row):
                dropped["refusal.leak"] += 1
            else:
                rows.append(row)
    return rows
