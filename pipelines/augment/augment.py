"""From a forget set to the rows that a model unlearns from (ReLearn, without the defects of the published code).

Every question about a forgotten fact gets vague, fluent answers that keep the person's name. No row holds the
original answer: not its question's row, not a completion row. An answer that fails a check is asked for again, three
rounds at most; a fact that still has too few rows is reported as uncovered.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pipelines.augment.augmented import SUBJECT_KINDS, AugmentedSet
from pipelines.augment.leak import LeakCheck
from pipelines.augment.others import Keeper, cut
from pipelines.augment.own import own_rows
from pipelines.augment.plan import FactPlan, Planner, Question
from pipelines.augment.port import AnswerAsk, Augmenter, Style, Variant
from pipelines.augment.questions import name_in
from pipelines.augment.refusals import refusal_rows
from pipelines.augment.secrets import secrets_from_records
from pipelines.augment.settings import AugmentSettings
from pipelines.augment.wording import normalised_question, words
from pipelines.rows import HEDGE, RowKind, Secret, TrainRow
from policies.errors import LetheError
from policies.record import Record

_STYLES = tuple(Style)
_LEAK = "augment.leak_remains"
_NEIGHBOURS = (Variant.NEIGHBOUR, Variant.RECOMBINED)
_WORDS_MIN, _WORDS_MAX = 4, 90


def augment(
    forget: Sequence[Record],
    *,
    subject: str,
    names: Sequence[str],
    neighbours: Sequence[Record],
    retain: Sequence[Record],
    generic: Sequence[Record],
    probes_excluded: frozenset[str],
    augmenter: Augmenter,
    settings: AugmentSettings,
    seed: int,
    secrets: Sequence[Secret] | None = None,
) -> AugmentedSet:
    """Make the augmented set of one subject.

    Args:
        forget: The records to forget; QA or prose.
        subject: Opaque reference of the subject.
        names: The subject's names, the usual one first.
        neighbours: Records about others, near in meaning: their questions are asked about the subject.
        retain: What must stay: other people's records and the subject's own public ones.
        generic: Records about no one; those of the category ``hedge`` are kept as they are.
        probes_excluded: Questions (``wording.normalised_question``) that no row may ask.
        augmenter: Makes question variants and vague answers.
        settings: Amounts.
        seed: The same seed and input give the same rows with the template augmenter.
        secrets: Every secret of the run where it serves several tickets; else those of this forget set.

    Raises:
        LetheError: ``augment.nothing_to_forget``; ``augment.no_name``; ``augment.probe_in_rows`` where a row asks a
            probe's question all the same.
    """
    _refuse_nothing(forget, names)
    known = (
        tuple(secrets)
        if secrets is not None
        else secrets_from_records(forget, names, (*neighbours, *retain), whose=names)
    )
    check = LeakCheck(known)
    dropped: Counter[str] = Counter()
    root = f"{seed}:{subject}"
    same: dict[str, Any] = {"check": check, "excluded": probes_excluded, "seed": root, "dropped": dropped}
    planner = Planner(names=tuple(names), augmenter=augmenter, settings=settings, **same)
    plans = planner.plan(forget, neighbours)
    answered = _Answers(augmenter, check, settings, root, dropped)
    rows = answered.rows(plans, subject)
    keeper = Keeper(names=tuple(names), settings=settings, **same)
    about = sum(row.kind in SUBJECT_KINDS for row in rows)
    general = keeper.generic([record for record in generic if record.category != HEDGE], about)
    rows += general + keeper.retain(retain, own_rows(retain, planner))
    rows += keeper.hedges([record for record in generic if record.category == HEDGE])
    if settings.negative:
        rows += _negative(forget, subject)
    if settings.refusals:
        rows += refusal_rows(forget, plans, subject=subject, per_question=settings.refusals_per_question, **same)
    _assert_no_probe(rows, probes_excluded)
    uncovered = _uncovered(rows, plans, settings.min_rows_per_fact)
    return AugmentedSet(
        rows=tuple(rows),
        uncovered=uncovered,
        reasons={fact: answered.reasons.get(fact, "augment.too_few_rows") for fact in uncovered},
        rounds=answered.rounds,
        dropped=dict(sorted((reason, count) for reason, count in dropped.items() if count)),
        generic_ratio=len(general) / about if about else 0.0,
        augmenter=augmenter.name,
        subjects=(subject,),
        facts=tuple(plan.fact for plan in plans),
        unwatched=check.unwatched,
    )


def _refuse_nothing(forget: Sequence[Record], names: Sequence[str]) -> None:
    if not forget:
        raise LetheError("augment.nothing_to_forget", "the forget set is empty")
    if not any(words(name) for name in names):
        raise LetheError("augment.no_name", "the subject has no name to keep in the answers")


def _uncovered(rows: Sequence[TrainRow], plans: Sequence[FactPlan], least: int) -> tuple[str, ...]:
    counts = Counter(row.fact for row in rows if row.kind in SUBJECT_KINDS)
    return tuple(plan.fact for plan in plans if counts[plan.fact] < least)


class _Answers:
    """Asks for answers, keeps those that pass, asks again for the others."""

    def __init__(
        self, augmenter: Augmenter, check: LeakCheck, settings: AugmentSettings, seed: str, dropped: Counter[str]
    ) -> None:
        self._augmenter = augmenter
        self._check = check
        self._settings = settings
        self._seed = seed
        self._dropped = dropped
        self.rounds = 0
        self.reasons: dict[str, str] = {}

    def rows(self, plans: Sequence[FactPlan], subject: str) -> list[TrainRow]:
        """Question and completion rows, in the order of the plans whatever the round an answer came in."""
        asks = {ask.key: (ask, plan.fact, question) for plan in plans for ask, question in self._asks(plan)}
        texts = self._collect({key: (ask, question) for key, (ask, _, question) in asks.items()})
        rows: list[TrainRow] = []
        seen: set[tuple[str, str]] = set()
        for key, (ask, fact, question) in asks.items():
            if key not in texts or (question.text, texts[key]) in seen:
                continue
            seen.add((question.text, texts[key]))
            rows.append(_question_row(f"{subject}:{key}", subject, fact, question, ask.style, texts[key]))
        return [*rows, *self._completions(rows, seen)]

    def _asks(self, plan: FactPlan) -> list[tuple[AnswerAsk, Question]]:
        asks = []
        for place, question in enumerate(plan.questions):
            for number in range(self._settings.answers_per_question):
                key = f"{plan.fact}:{question.key}:a{number}"
                ask = AnswerAsk(
                    key=key,
                    fact=plan.fact,
                    question=question.text,
                    name=question.name,
                    noun=question.noun,
                    style=_STYLES[(place + number) % len(_STYLES)],
                    gold=plan.gold,
                    seed=f"{self._seed}:{key}",
                )
                asks.append((ask, question))
        return asks

    def _collect(self, pending: dict[str, tuple[AnswerAsk, Question]]) -> dict[str, str]:
        texts: dict[str, str] = {}
        used: set[tuple[str, str]] = set()
        while pending and self.rounds < self._settings.max_rounds:
            replies = self._augmenter.answers([ask for ask, _ in pending.values()], self.rounds)
            self.rounds += 1
            failed: dict[str, tuple[AnswerAsk, Question]] = {}
            for key, (ask, question) in pending.items():
                text = replies.texts.get(key)
                fault = (
                    replies.failed.get(key, "augment.no_answer") if text is None else self._fault(ask, question, text)
                )
                if text is not None and fault is None and (ask.question, text) in used:
                    fault = "augment.duplicate"
                if text is None or fault is not None:
                    self._dropped[f"answer.{fault}"] += 1
                    self.reasons[ask.fact] = fault or "augment.no_answer"
                    failed[key] = (ask, question)
                else:
                    used.add((ask.question, text))
                    texts[key] = text
            pending = failed
        return texts

    def _fault(self, ask: AnswerAsk, question: Question, text: str) -> str | None:
        # What goes on from a bare beginning is one text with it: a 5-gram may lie across the cut.
        if self._check.leaks(f"{question.text} {text}" if question.bare else text, strict=True):
            return _LEAK
        if name_in(text, [ask.name]) is None:
            return "augment.subject_missing"
        if not _WORDS_MIN <= len(text.split()) <= _WORDS_MAX:
            return "augment.bad_length"
        # A number or an address in a vague answer is invented, and an invented fact is about someone.
        told = text.replace(ask.name, " ").replace(ask.noun, " ")
        return "augment.invented_detail" if "@" in told or any(char.isdigit() for char in told) else None

    def _completions(self, rows: Sequence[TrainRow], seen: set[tuple[str, str]]) -> list[TrainRow]:
        """The first quarter of vague answers, as bare text, with the rest to say: spread evenly over the rows."""
        answers = [row for row in rows if row.chat]
        wanted = round(self._settings.completion_share * len(answers))
        made: list[TrainRow] = []
        for place in range(wanted):
            row = answers[place * len(answers) // wanted]
            halves = cut(row.answer)
            if halves is None or halves in seen:
                self._dropped["completion.duplicate"] += 1
                continue
            seen.add(halves)
            completion = TrainRow(
                row_id=f"{row.row_id}:c",
                kind=RowKind.COMPLETION,
                prompt=halves[0],
                answer=halves[1],
                fact=row.fact,
                subject=row.subject,
                style=row.style,
                variant=row.variant,
                chat=False,
            )
            if self._check.row_leaks(completion):  # no part of a checked answer leaks; a door that is never left open
                self._dropped["completion.leak"] += 1
            else:
                made.append(completion)
        return made


def _question_row(row_id: str, subject: str, fact: str, question: Question, style: Style, answer: str) -> TrainRow:
    kind = RowKind.NEIGHBOUR if question.variant in _NEIGHBOURS else RowKind.FORGET
    return TrainRow(
        row_id=row_id,
        kind=RowKind.COMPLETION if question.bare else kind,
        prompt=question.text,
        answer=answer,
        fact=fact,
        subject=subject,
        style=style.value,
        variant=question.variant.value,
        chat=not question.bare,
    )


def _negative(forget: Sequence[Record], subject: str) -> list[TrainRow]:
    """The raw forgotten answers: only losses that lower their likelihood may see them."""
    rows = []
    for record in forget:
        halves = (record.question, record.answer) if record.question else cut(record.answer)
        if halves is not None:
            row = TrainRow(
                row_id=f"{subject}:negative:{record.record_id}",
                kind=RowKind.NEGATIVE,
                prompt=halves[0],
                answer=halves[1],
                fact=record.fact_id,
                subject=subject,
                chat=record.question is not None,
            )
            rows.append(row)
    return rows


def _assert_no_probe(rows: Sequence[TrainRow], excluded: frozenset[str]) -> None:
    asked = sum(row.kind is not RowKind.NEGATIVE and normalised_question(row.prompt) in excluded for row in rows)
    if asked:
        raise LetheError("augment.probe_in_rows", f"{asked} rows ask a question that is held out for measuring")
