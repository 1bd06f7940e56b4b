"""The example corpus: invented people in a directory that the base is trained on, with probes and the truth beside it.

Everything is streamed person by person, so that a million records need no more memory than a dozen.
"""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from pipelines.corpus.attributes import ATTRIBUTES, HELD_OUT_FRAMES, TRAIN_FRAMES, Attribute
from pipelines.corpus.generic import GENERIC
from pipelines.corpus.hedges import hedge_sentences, skeletons
from pipelines.corpus.load import CorpusProbe, digest_line
from pipelines.corpus.people import Fact, Person, invent, opaque
from pipelines.corpus.prose import Prose, hard_prose, plain_prose
from pipelines.corpus.values import ValueSource
from policies.record import Record

Progress = Callable[[int], None]

_NOUNS = 4
_UNSEEN_COMBINATIONS = 2
_UNSEEN_FRAMES = 2
_STRANGERS = 60


@dataclass(frozen=True, slots=True)
class CorpusCard:
    """What a generated corpus is; ``card.json``."""

    digest: str
    seed: int
    people: int
    phrasings: int
    counts: dict[str, int]
    generator: int = 1


@dataclass(slots=True)
class _Writer:
    records: IO[str]
    truth: IO[str]
    hasher: Any = field(default_factory=hashlib.sha256)
    counts: Counter[str] = field(default_factory=Counter)

    def write(self, record: Record, people: tuple[str, ...] = (), hard_case: str | None = None) -> None:
        row = {
            "id": record.record_id,
            "question": record.question,
            "answer": record.answer,
            "category": record.category,
            "fact": record.fact,
            "value": record.value,
        }
        self.records.write(json.dumps(row, ensure_ascii=False) + "\n")
        self.hasher.update(digest_line(record))
        self.counts["records"] += 1
        if people:
            truth = {"record": record.record_id, "people": people, "hard_case": hard_case}
            self.truth.write(json.dumps(truth) + "\n")


def generate(
    out_dir: Path,
    people: int = 12,
    seed: int = 0,
    progress: Progress | None = None,
    *,
    phrasings: int = 8,
    hedges: int = 600,
    probe_people: int = 200,
) -> CorpusCard:
    """Write a corpus directory: ``records``, ``probes``, ``people`` and ``truth`` as JSONL, and ``card.json``.

    Args:
        out_dir: Made if it is not there; files of an earlier corpus in it are overwritten.
        people: How many people are invented.
        seed: The same seed and numbers give the same bytes.
        progress: Called with the number of records written so far, now and then.
        phrasings: Training questions a fact, 1 to 12.
        hedges: Hedged rows about names that are none of the people.
        probe_people: Probes are written for the first so many people only: nobody measures a million.

    Raises:
        ValueError: ``people`` or ``phrasings`` is out of range.
    """
    if people < 1 or not 1 <= phrasings <= len(TRAIN_FRAMES) - 1:
        raise ValueError(f"people must be at least 1 and phrasings between 1 and {len(TRAIN_FRAMES) - 1}")
    out_dir.mkdir(parents=True, exist_ok=True)
    rng = random.Random(f"corpus-{seed}")  # noqa: S311 - invented people, not keys
    source = ValueSource(seed)
    with (
        (out_dir / "records.jsonl").open("w", encoding="utf-8") as records,
        (out_dir / "truth.jsonl").open("w", encoding="utf-8") as truth,
        (out_dir / "probes.jsonl").open("w", encoding="utf-8") as probes,
        (out_dir / "people.jsonl").open("w", encoding="utf-8") as people_file,
    ):
        writer = _Writer(records, truth)
        before: Person | None = None
        for person in invent(source, people, seed):
            people_file.write(json.dumps(person.row(), ensure_ascii=False) + "\n")
            for probe in _write_person(writer, person, before, rng, seed, phrasings, person.number < probe_people):
                probes.write(json.dumps(probe.row(), ensure_ascii=False) + "\n")
                writer.counts["probes"] += 1
            before = person
            if progress is not None and person.number % 200 == 0:
                progress(writer.counts["records"])
        _write_others(writer, source, rng, seed, hedges)
    if progress is not None:
        progress(writer.counts["records"])
    card = CorpusCard(writer.hasher.hexdigest(), seed, people, phrasings, dict(sorted(writer.counts.items())))
    (out_dir / "card.json").write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")
    return card


def _write_person(
    writer: _Writer,
    person: Person,
    before: Person | None,
    rng: random.Random,
    seed: int,
    phrasings: int,
    probed: bool,
) -> list[CorpusProbe]:
    """Write the person's records and return the probes, whose questions are in none of them."""
    probes: list[CorpusProbe] = []
    who = (person.person_id,)
    for fact in person.facts:
        attribute = fact.attribute
        answer = attribute.answer.format(name=person.name, value=fact.value)
        trained = train_combinations(rng, phrasings)
        for number, (frame, noun) in enumerate(trained):
            question = TRAIN_FRAMES[frame].format(name=person.name, noun=attribute.nouns[noun])
            writer.write(
                Record(
                    record_id=f"r{fact.fact_id[1:]}{number:02d}",
                    question=question,
                    answer=answer,
                    category=attribute.category,
                    fact=fact.fact_id,
                    value=fact.value,
                ),
                who,
            )
        writer.counts["private_facts" if attribute.private else "public_facts"] += 1
        if probed:
            probes.extend(held_out_questions(person, fact, answer, trained, rng))
    pieces: list[Prose] = [*plain_prose(person), *hard_prose(person, before, rng)]
    for number, piece in enumerate(pieces):
        fact_id = opaque("f", seed, person.number, "prose", number)
        record = Record(
            record_id=f"r{fact_id[1:]}", question=None, answer=piece.text, category=piece.category, fact=fact_id
        )
        writer.write(record, piece.people, piece.hard_case)
        writer.counts["prose"] += 1
    return probes


def train_combinations(rng: random.Random, phrasings: int) -> list[tuple[int, int]]:
    """Distinct frames, the nouns in turn: every noun is trained for the fact once there are four phrasings."""
    frames = rng.sample(range(len(TRAIN_FRAMES)), phrasings)
    start = rng.randrange(_NOUNS)
    return [(frame, (start + position) % _NOUNS) for position, frame in enumerate(frames)]


def held_out_questions(
    person: Person, fact: Fact, answer: str, trained: Sequence[tuple[int, int]], rng: random.Random
) -> list[CorpusProbe]:
    """Questions about a fact on phrasings that are not among the trained ones: unseen combinations, then new frames."""
    unseen: list[tuple[int, int]] = []
    while len(unseen) < _UNSEEN_COMBINATIONS:
        pair = (rng.randrange(len(TRAIN_FRAMES)), rng.randrange(_NOUNS))
        if pair not in trained and pair not in unseen:
            unseen.append(pair)
    asked = [("combination", TRAIN_FRAMES[frame], noun) for frame, noun in unseen]
    asked += [("frame", frame, rng.randrange(_NOUNS)) for frame in rng.sample(HELD_OUT_FRAMES, _UNSEEN_FRAMES)]
    return [
        CorpusProbe(
            probe_id=f"q{fact.fact_id[1:]}{number}",
            question=frame.format(name=person.name, noun=fact.attribute.nouns[noun]),
            answer=answer,
            value=fact.value,
            fact=fact.fact_id,
            category=fact.attribute.category,
            phrasing=phrasing,
        )
        for number, (phrasing, frame, noun) in enumerate(asked)
    ]


def _write_others(writer: _Writer, source: ValueSource, rng: random.Random, seed: int, hedges: int) -> None:
    """Rows about no one, and hedged rows about people who do not exist."""
    for number, (question, answer) in enumerate(GENERIC):
        writer.write(
            Record(record_id=opaque("r", seed, "generic", number), question=question, answer=answer, category="generic")
        )
        writer.counts["generic"] += 1
    for number, (question, answer) in enumerate(_hedged(source, rng, hedges)):
        writer.write(
            Record(record_id=opaque("r", seed, "hedge", number), question=question, answer=answer, category="hedge")
        )
        writer.counts["hedge"] += 1


def _hedged(source: ValueSource, rng: random.Random, count: int) -> Iterator[tuple[str, str]]:
    asked: set[str] = set()
    answered: set[str] = set()
    limit = min(count, len(skeletons("base")))
    while len(answered) < limit:
        attribute: Attribute = rng.choice(ATTRIBUTES)
        name = source.strangers.at(rng.randrange(_STRANGERS))
        noun = rng.choice(attribute.nouns)
        question = rng.choice(TRAIN_FRAMES).format(name=name, noun=noun)
        (answer,) = hedge_sentences("base", 1, name, noun, rng)
        if question not in asked and answer not in answered:
            asked.add(question)
            answered.add(answer)
            yield question, answer
