"""People who are in no corpus, drawn by the generator that drew the corpus: the hold-out of membership tests.

To a model that never saw a subject, the subject and these people are alike: one source made them. Other text is no such
hold-out, and neither are people of another seed, whose names come from other pools.
"""

import json
import random
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from pipelines.corpus.attributes import TRAIN_FRAMES
from pipelines.corpus.generate import CorpusCard, held_out_questions, train_combinations
from pipelines.corpus.load import CorpusProbe, load_corpus
from pipelines.corpus.people import Fact, Person, invent
from pipelines.corpus.values import ValueSource
from pipelines.rows import Probe, ProbeGroup
from policies.errors import LetheError

Form = Literal["held_out", "trained"]
_Words = tuple[str, ...]

_WORD = re.compile(r"\w+")
_FAR = 1_000_003  # how far apart the draws of two seeds begin
_TRIES = 20  # candidates for each person that is wanted


def fresh_people(
    corpus_dir: Path, people: int, seed: int = 0, *, form: Form = "held_out", group: ProbeGroup = ProbeGroup.RETAIN
) -> list[Probe]:
    """Questions with gold answers about the private facts of people who are in no record of a generated corpus.

    No name of theirs and no value that is asked for stands anywhere in the corpus, nor in its hedged rows about people
    who do not exist: a fact whose value does is left out, a person whose name does is passed over.

    Args:
        corpus_dir: A directory that ``generate`` wrote.
        people: How many; each has some twenty facts, with four questions held out, or one for each phrasing that the
            corpus trains.
        seed: Another seed draws other people of the same source.
        form: ``held_out`` asks as the corpus' probes do, ``trained`` as its training rows do (to stand beside the
            subject's own rows).
        group: Of the probes; they are nobody's.

    Raises:
        LetheError: ``control.corpus_not_generated``; ``corpus.no_fresh_people``: the corpus has used up the names.
    """
    if people < 1 or seed < 0:
        raise ValueError("at least one person, and no negative seed")
    card = _card(corpus_dir)
    chance = random.Random(f"fresh-{card.seed}-{seed}")  # noqa: S311 - invented people, not keys
    source = ValueSource(card.seed)
    first = card.people + seed * _FAR
    chosen: list[tuple[Person, tuple[Fact, ...]]] = []
    for start in range(first, first + _TRIES * people, people):
        chosen += _unknown(corpus_dir, list(invent(source, start + people, card.seed, start)))
        if len(chosen) >= people:
            break
    else:
        raise LetheError("corpus.no_fresh_people", "Every name that the generator can give is in this corpus.")
    return [
        _probe(asked, person, group)
        for person, facts in chosen[:people]
        for fact in facts
        for asked in _questions(person, fact, form, card.phrasings, chance)
    ]


def _card(corpus_dir: Path) -> CorpusCard:
    try:
        return CorpusCard(**json.loads((corpus_dir / "card.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise LetheError("control.corpus_not_generated", "No card says how this corpus was generated.") from None


def _unknown(corpus_dir: Path, people: Sequence[Person]) -> list[tuple[Person, tuple[Fact, ...]]]:
    """The people whom no record names, each with the private facts whose values no record holds."""
    private = {one.number: [fact for fact in one.facts if fact.attribute.private] for one in people}
    names = {_words(name) for one in people for name in (one.name, one.bare_name)}
    values = {_words(fact.value) for facts in private.values() for fact in facts}
    known = _standing_in((record.text for record in load_corpus(corpus_dir)), names | values)
    found = []
    for one in people:
        facts = tuple(fact for fact in private[one.number] if _words(fact.value) not in known)
        if facts and not known & {_words(one.name), _words(one.bare_name)}:
            found.append((one, tuple(facts)))
    return found


def _standing_in(texts: Iterable[str], wanted: Collection[_Words]) -> set[_Words]:
    """Which runs of words stand in some text; one pass, whatever is wanted."""
    by_first: dict[str, set[int]] = {}
    for run in wanted:
        by_first.setdefault(run[0], set()).add(len(run))
    wanted, found = set(wanted), set()
    for text in texts:
        words = _words(text)
        for place, word in enumerate(words):
            for size in by_first.get(word, ()):
                run = words[place : place + size]
                if run in wanted:
                    found.add(run)
    return found


def _words(text: str) -> _Words:
    return tuple(_WORD.findall(text.casefold()))


def _questions(person: Person, fact: Fact, form: Form, phrasings: int, chance: random.Random) -> Iterator[CorpusProbe]:
    answer = fact.attribute.answer.format(name=person.name, value=fact.value)
    trained = train_combinations(chance, phrasings)
    if form == "held_out":
        yield from held_out_questions(person, fact, answer, trained, chance)
        return
    for number, (frame, noun) in enumerate(trained):
        yield CorpusProbe(
            probe_id=f"t{fact.fact_id[1:]}{number:02d}",
            question=TRAIN_FRAMES[frame].format(name=person.name, noun=fact.attribute.nouns[noun]),
            answer=answer,
            value=fact.value,
            fact=fact.fact_id,
            category=fact.attribute.category,
            phrasing="trained",
        )


def _probe(asked: CorpusProbe, person: Person, group: ProbeGroup) -> Probe:
    return Probe(
        probe_id=asked.probe_id,
        group=group,
        question=asked.question,
        answer=asked.answer,
        fact=asked.fact,
        value=asked.value,
        phrasing=asked.phrasing,
        names=(person.name,),
    )
