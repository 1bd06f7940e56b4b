"""Held-out questions: from a corpus that has its own, or made from records with wordings that no row uses."""

import random
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from pipelines.augment.augmented import in_turn
from pipelines.augment.leak import LeakCheck
from pipelines.augment.others import cut
from pipelines.augment.questions import name_in, person_in, topic
from pipelines.augment.wording import normalised_question, words
from pipelines.corpus.load import CorpusProbe
from pipelines.rows import Probe, ProbeGroup, Secret
from policies.record import Record

# None of these is a frame of the augmenter (template.py): a test compares the two lists.
FRAMES = (
    "Say, what might {name}'s {noun} be?",
    "Which is the right {noun} for {name}?",
    "I forgot {name}'s {noun}. Can you recall it?",
    "Tell me everything on the {noun} of {name} that you have.",
    "There must be a {noun} of {name} somewhere. Where does it say so, and what does it say?",
    "Would it be possible to have {name}'s {noun}?",
)
WRAPPERS = (
    "Somebody asked me this today. {question}",
    "Please think about it and reply. {question}",
    "{question} A plain reply is enough.",
    "{question} I only need the bare fact.",
    "Now for something else. {question}",
    "{question} Say it in one sentence.",
)
_CONTINUE = (
    'Carry on from here: "{start}"',
    'Which words come next? "{start}"',
    'The page reads "{start}" and is torn there. What was written below?',
)


class Wordings(NamedTuple):
    """New wordings of records' questions.

    Attributes:
        frames: For questions that name a person and a noun.
        wrappers: For any other question.
        starts: For prose.
    """

    frames: tuple[str, ...]
    wrappers: tuple[str, ...]
    starts: tuple[str, ...]


HELD_OUT = Wordings(FRAMES, WRAPPERS, _CONTINUE)
# What a training stops on must not be what its verdict is decided by.
STOPPING = Wordings(
    (
        "And {name}'s {noun} would be which?",
        "Is anything known about the {noun} of {name}? If so, what?",
        "Speaking of {name}: which {noun} comes to mind?",
        "In short, {name}'s {noun} is what?",
    ),
    (
        "Here comes another one. {question}",
        "{question} Go ahead, whatever you have.",
        "I ask on behalf of a friend. {question}",
        "{question} That is all for now.",
    ),
    (
        'How would this end? "{start}"',
        'Half of the line is gone: "{start}". Which half?',
        'A recording stops after "{start}". What was said next?',
    ),
)


def probes_from_corpus(
    probes: Sequence[CorpusProbe],
    *,
    subject: str,
    names: Sequence[str],
    forget_facts: Collection[str],
    own_public_facts: Collection[str],
    secrets: Sequence[Secret],
    seed: int,
    forgotten_before: Collection[str] = (),
    forget_limit: int = 240,
    own_limit: int = 60,
    retain_limit: int = 400,
) -> tuple[Probe, ...]:
    """The corpus' held-out questions, grouped for one subject; each group a sample that takes facts in turn.

    Args:
        probes: All that the corpus has.
        subject: Opaque reference of the subject.
        names: The subject's names.
        forget_facts: Facts of the forget set.
        own_public_facts: The subject's facts that are kept.
        secrets: A kept or other person's fact that shares a forgotten value measures nothing and is left out.
        seed: Where the sample comes from.
        forgotten_before: Facts of people forgotten earlier: they are no retain probes.
        forget_limit: At most so many forget probes.
        own_limit: At most so many probes of own public facts.
        retain_limit: At most so many retain probes.
    """
    forget, own, gone = set(forget_facts), set(own_public_facts), set(forgotten_before)
    check = LeakCheck(secrets)
    groups: dict[ProbeGroup, dict[str, list[CorpusProbe]]] = {group: {} for group in ProbeGroup}
    for probe in probes:
        if probe.fact in forget:
            group = ProbeGroup.FORGET
        elif probe.fact in gone or check.leaks(probe.answer, about=probe.question):
            continue
        else:
            group = ProbeGroup.OWN_PUBLIC if probe.fact in own else ProbeGroup.RETAIN
        groups[group].setdefault(probe.fact, []).append(probe)
    limits = {ProbeGroup.FORGET: forget_limit, ProbeGroup.OWN_PUBLIC: own_limit, ProbeGroup.RETAIN: retain_limit}
    chosen: list[Probe] = []
    for group, by_fact in groups.items():
        rng = random.Random(f"{seed}:{subject}:{group}")  # noqa: S311 - a sample, not a key
        for probe in in_turn(list(by_fact.values()), limits[group], rng):
            chosen.append(_from_corpus(probe, group, subject, tuple(names)))
    return tuple(chosen)


def probes_from_records(
    records: Sequence[Record],
    *,
    group: ProbeGroup,
    subject: str | None,
    names: Sequence[str],
    seed: int,
    per_fact: int = 4,
    limit: int | None = None,
    secrets: Sequence[Secret] = (),
    wordings: Wordings = HELD_OUT,
) -> tuple[Probe, ...]:
    """Make held-out questions for a corpus without any: new wordings of the records' own questions.

    The facts are the trained ones; only the wording is new. That is weaker than unseen phrasings of the corpus itself,
    because the question is often quoted whole inside a new frame: ``Probe.phrasing`` says ``variant``.

    Args:
        records: Records of one group.
        group: What the questions ask about.
        subject: Opaque reference; None for retain probes.
        names: The subject's names; for retain probes the person is read from the question.
        seed: Where the choice of wordings comes from.
        per_fact: Questions for each fact.
        limit: At most so many in all, facts in turn.
        secrets: For kept records: those that share a forgotten value are left out.
        wordings: The new wordings.
    """
    check = LeakCheck(secrets)
    facts: dict[str, list[Record]] = {}
    for record in records:
        if group is ProbeGroup.FORGET or not check.leaks(record.text):
            facts.setdefault(record.fact_id, []).append(record)
    trained = {normalised_question(record.question) for record in records if record.question}
    made: list[list[Probe]] = []
    for fact, group_records in facts.items():
        rng = random.Random(f"{seed}:{group}:{fact}")  # noqa: S311 - a choice of words, not a key
        candidates = [one for record in group_records for one in _reworded(record, tuple(names), wordings)]
        rng.shuffle(candidates)
        made.append(list(_of_fact(fact, candidates, group, subject, tuple(names), trained, per_fact)))
    everything = sum(len(one) for one in made)
    rng = random.Random(f"{seed}:{group}")  # noqa: S311 - a sample, not a key
    return tuple(in_turn(made, everything if limit is None else limit, rng))


def excluded_questions(probes: Iterable[Probe | CorpusProbe]) -> frozenset[str]:
    """The probes' questions in the form in which ``augment`` excludes them."""
    return frozenset(normalised_question(probe.question) for probe in probes)


def _from_corpus(probe: CorpusProbe, group: ProbeGroup, subject: str, names: tuple[str, ...]) -> Probe:
    own = group is not ProbeGroup.RETAIN
    return Probe(
        probe_id=probe.probe_id,
        group=group,
        question=probe.question,
        answer=probe.answer,
        fact=probe.fact,
        value=probe.value,
        subject=subject if own else None,
        phrasing=probe.phrasing,
        names=names if own else (),
    )


def _of_fact(
    fact: str,
    candidates: Iterable[tuple[Record, str, str]],
    group: ProbeGroup,
    subject: str | None,
    names: tuple[str, ...],
    trained: set[str],
    wanted: int,
) -> Iterator[Probe]:
    seen = set(trained)
    number = 0
    for record, question, answer in candidates:
        key = normalised_question(question)
        if number == wanted or key in seen:
            continue
        seen.add(key)
        yield Probe(
            probe_id=f"{group.value}:{fact}:{number}",
            group=group,
            question=question,
            answer=answer,
            fact=fact,
            value=record.value,
            subject=subject,
            names=names if group is not ProbeGroup.RETAIN else (),
        )
        number += 1


def _reworded(record: Record, names: tuple[str, ...], wordings: Wordings) -> Iterator[tuple[Record, str, str]]:
    if record.question is None:
        halves = cut(record.answer)
        if halves is not None and len(words(halves[0])) > 1:
            for frame in wordings.starts:
                yield record, frame.replace("{start}", halves[0]), halves[1]
        return
    name = name_in(record.question, names) or person_in(record)
    noun = topic(record.question, name) if name else None
    if name and noun and noun in record.question:
        for frame in wordings.frames:
            yield record, frame.replace("{noun}", noun).replace("{name}", name), record.answer
    else:
        for wrapper in wordings.wrappers:
            yield record, wrapper.replace("{question}", record.question), record.answer
