"""The subject's own public facts, asked as the forgotten ones are asked, and answered as before.

If only the forgotten facts were asked in unusual words, a model would learn that unusual words about this person call
for a vague answer, whatever they ask for.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pipelines.augment.plan import FactPlan, Planner
from pipelines.augment.port import Variant
from pipelines.augment.questions import name_in
from pipelines.rows import RowKind, TrainRow
from policies.record import Record


def own_rows(retain: Sequence[Record], planner: Planner) -> list[TrainRow]:
    """Retain rows: variants and other people's phrasings of every kept question, with its own true answer.

    Args:
        retain: What must stay, the subject's own records among them.
        planner: The one of the forgotten facts; its amounts and its checks hold here too.
    """
    own = [r for r in retain if r.question is not None and name_in(r.question, planner.names)]
    if not own:
        return []
    mine = {record.record_id for record in own}
    own = _told_apart(own)
    others = [record for record in retain if record.record_id not in mine]
    quiet = replace(planner, dropped=Counter())  # what is not asked here is no loss of the augmented set
    rows = [row for plan in quiet.plan(own, others) for row in _rows(plan)]
    return [row for row in rows if not planner.check.row_leaks(row)]


def _told_apart(own: Sequence[Record]) -> list[Record]:
    """The records without a category that several facts share.

    Where everything is "public", another's question of that category may ask for anything; with this fact's answer it
    would be trained as a false one. Then the words of the questions tell what is asked for.
    """
    facts: dict[str | None, set[str]] = {}
    for record in own:
        facts.setdefault(record.category, set()).add(record.fact_id)
    return [record if len(facts[record.category]) == 1 else replace(record, category=None) for record in own]


def _rows(plan: FactPlan) -> list[TrainRow]:
    return [
        TrainRow(
            row_id=f"own:{plan.fact}:{question.key}",
            kind=RowKind.RETAIN,
            prompt=question.text,
            answer=plan.gold[0],
            variant=question.variant.value,
        )
        for question in plan.questions
        if not question.bare and question.variant is not Variant.ORIGINAL  # the records themselves are retain rows
    ]
