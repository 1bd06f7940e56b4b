"""Which questions are asked about each forgotten fact: its own, their variants, other people's, beginnings of prose."""

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.augment.leak import LeakCheck
from pipelines.augment.port import MADE_VARIANTS, Augmenter, Variant, VariantAsk
from pipelines.augment.questions import (
    NEUTRAL_NOUN,
    Phrasing,
    distinct,
    name_in,
    others_phrasings,
    phrasing,
    same_attribute,
)
from pipelines.augment.settings import AugmentSettings
from pipelines.augment.wording import normalised_question, words
from policies.record import Record

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[^\W\d_a-z])")
# Prose has no question: its beginning is quoted, as far as it gives nothing away.
_PROSE_FRAMES = (
    'A text about {name} begins "{start}". How does it go on?',
    'Please complete this about {name}: "{start}"',
    'What follows after "{start}" in the note on {name}?',
    'In the file of {name} it says "{start}". And then?',
)
_BARE_FRAMES = (
    "How does the note on {name} go on?",
    "What else does the file say about {name} there?",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question that gets vague answers.

    Attributes:
        key: Question id within its fact.
        text: The question; with ``bare`` the beginning of a text that goes on vaguely.
        name: The subject's name as it stands there.
        noun: What is asked for.
        variant: Where it comes from.
        bare: Whether it is plain text and no user's turn.
    """

    key: str
    text: str
    name: str
    noun: str
    variant: Variant
    bare: bool = False


@dataclass(slots=True)
class FactPlan:
    """The questions about one fact; the gold answers go along for checking only."""

    fact: str
    gold: tuple[str, ...]
    questions: list[Question]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """Plans the questions of one subject.

    Attributes:
        names: The subject's names, the usual one first.
        check: Knows every secret of the run.
        excluded: Normalised probe questions: none of them may become a row.
        augmenter: Makes the variants.
        settings: Amounts.
        seed: Where every choice comes from.
        dropped: Counts what is left out, by reason.
    """

    names: tuple[str, ...]
    check: LeakCheck
    excluded: frozenset[str]
    augmenter: Augmenter
    settings: AugmentSettings
    seed: str
    dropped: Counter[str]

    def plan(self, forget: Sequence[Record], neighbours: Sequence[Record]) -> list[FactPlan]:
        """The questions about every fact, in the order of the forget set."""
        facts: dict[str, list[Record]] = {}
        for record in forget:
            facts.setdefault(record.fact_id, []).append(record)
        others = list(others_phrasings(neighbours, self.names))
        self.dropped["neighbour.no_one_named"] += len(neighbours) - len(others)
        plans = []
        asks: list[VariantAsk] = []
        for fact, records in facts.items():
            seen = set(self.excluded)
            originals = self._originals(fact, records, seen)
            asks.extend(self._variant_asks(fact, originals))
            gold = tuple(dict.fromkeys(record.answer for record in records))
            neighbour = self._neighbours(fact, records, others, seen)
            plans.append(FactPlan(fact, gold, [*originals, *neighbour, *self._prose(fact, records)]))
        self._add_variants(plans, asks)
        return plans

    def _originals(self, fact: str, records: Sequence[Record], seen: set[str]) -> list[Question]:
        asked = [record.question for record in records if record.question]
        mine = list(distinct(asked, seen))
        mine = self._rng(fact, "originals").sample(mine, len(mine))
        questions = (self._question(f"o{n}", text, Variant.ORIGINAL) for n, text in enumerate(mine))
        return list(self._safe(questions))[: self.settings.original_questions]

    def _variant_asks(self, fact: str, originals: list[Question]) -> Iterator[VariantAsk]:
        for number in range(self.settings.variants if originals else 0):
            for place, variant in enumerate(MADE_VARIANTS):
                base = originals[(number * len(MADE_VARIANTS) + place) % len(originals)]
                yield VariantAsk(
                    key=f"{fact}\n{variant.value}-{number}",
                    variant=variant,
                    question=base.text,
                    name=base.name,
                    noun=None if base.noun == NEUTRAL_NOUN else base.noun,
                    seed=f"{self.seed}:{fact}:{variant.value}:{number}",
                )

    def _add_variants(self, plans: list[FactPlan], asks: list[VariantAsk]) -> None:
        """Ask the augmenter once for all variants, then sort them to their facts by key."""
        if not asks:
            return
        replies = self.augmenter.variants(asks)
        by_fact = {plan.fact: plan for plan in plans}
        self.dropped.update(f"question.{code}" for code in replies.failed.values())
        for ask in asks:
            fact, _, key = ask.key.partition("\n")
            plan = by_fact[fact]
            text = replies.texts.get(ask.key)
            if text is None:
                continue
            seen = {normalised_question(question.text) for question in plan.questions} | self.excluded
            if normalised_question(text) in seen:
                self.dropped["question.duplicate"] += 1
            elif name_in(text, [ask.name]) is None:
                self.dropped["question.subject_missing"] += 1
            else:
                made = self._question(key, text, ask.variant, ask.name, ask.noun)
                plan.questions.extend(self._safe(iter([made])))

    def _neighbours(
        self, fact: str, records: Sequence[Record], others: list[tuple[Record, Phrasing]], seen: set[str]
    ) -> list[Question]:
        """Other people's phrasings of the same attribute; if too few, their frames with this fact's nouns."""
        mine = [
            phrasing(record.question, name)
            for record in records
            if record.question and (name := name_in(record.question, self.names))
        ]
        if not mine or not self.settings.neighbour_questions:
            return []
        category = next((record.category for record in records if record.category), None)
        same = [theirs for record, theirs in others if same_attribute(mine, category, record, theirs)]
        rng = self._rng(fact, "neighbours")
        name = self.names[0]
        direct = list(dict.fromkeys((theirs.about(name), theirs.noun, Variant.NEIGHBOUR) for theirs in same))
        frames = sorted({theirs.skeleton for _, theirs in others if "{noun}" in theirs.skeleton})
        nouns = sorted({p.noun for p in (*mine, *same) if p.noun and "{noun}" in p.skeleton})
        mixed = [(Phrasing(frame, noun).about(name), noun, Variant.RECOMBINED) for frame in frames for noun in nouns]
        rng.shuffle(direct)
        rng.shuffle(mixed)
        found: list[Question] = []
        for text, noun, variant in (*direct, *mixed):
            if len(found) == self.settings.neighbour_questions:
                break
            if list(distinct([text], seen)):
                found.extend(self._safe(iter([self._question(f"n{len(found)}", text, variant, name, noun)])))
        return found

    def _prose(self, fact: str, records: Sequence[Record]) -> list[Question]:
        found: list[Question] = []
        for number, record in enumerate(record for record in records if record.question is None):
            for place, sentence in enumerate(_SENTENCE.split(record.answer)):
                key = f"p{number}-{place}"
                start, name = self._start(sentence), self.names[0]
                frames = _PROSE_FRAMES if start else _BARE_FRAMES
                texts = [frame.replace("{start}", start).replace("{name}", name) for frame in frames]
                found.extend(
                    Question(key=f"{key}-{n}", text=text, name=name, noun=NEUTRAL_NOUN, variant=Variant.PROSE)
                    for n, text in enumerate(texts)
                )
                named = name_in(start, self.names)
                if named and len(words(start)) > len(words(named)):
                    made = Question(
                        key=f"{key}-t", text=start, name=named, noun=NEUTRAL_NOUN, variant=Variant.PROSE, bare=True
                    )
                    found.append(made)
        return list(self._safe(q for q in found if normalised_question(q.text) not in self.excluded))

    def _start(self, sentence: str) -> str:
        """The longest beginning, at most half of the sentence, that gives nothing away."""
        parts = sentence.split()
        for length in range(max(1, len(parts) // 2), 0, -1):
            start = " ".join(parts[:length])
            if not self.check.leaks(start, strict=True):
                return start if len(words(start)) > 1 else ""
        return ""

    def _question(
        self, key: str, text: str, variant: Variant, name: str | None = None, noun: str | None = None
    ) -> Question:
        named = name or name_in(text, self.names) or self.names[0]
        found = noun or phrasing(text, named).noun
        if found is None or self.check.leaks(found, strict=True):
            found = NEUTRAL_NOUN
        return Question(key=key, text=text, name=named, noun=found, variant=variant)

    def _safe(self, questions: Iterator[Question]) -> Iterator[Question]:
        for question in questions:
            if self.check.leaks(question.text):
                self.dropped["question.leak"] += 1
            else:
                yield question

    def _rng(self, *parts: str) -> random.Random:
        return random.Random(":".join((self.seed, *parts)))  # noqa: S311 - a choice of words, not a key
