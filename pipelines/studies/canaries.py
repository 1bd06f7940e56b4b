"""Canaries: random tokens in sentences, put into a corpus before a base is trained on it (Carlini et al. 2019).

Each belongs to a thing with a random name, has a random property with a random value, and is asked in several wordings
that no person is asked in: what is forgotten with them is out of the distribution of everything else.
"""

import json
import random
import shutil
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from policies.record import Record

CATEGORY = "canary.code"
FRAMES = (
    "State {noun} of {name}.",
    "{name} has which {noun}?",
    "Read out {noun} for {name}, please.",
    "{name}: {noun}?",
    "Under {name}, look up {noun} and give it.",
    "Print {noun} as it is entered for {name}.",
    "Which entry stands at {noun} for {name}?",
    "Show me what {name} has under {noun}.",
)
_WORDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """Something with a random name, and its canaries."""

    thing: str
    name: str
    records: tuple[Record, ...]


def make_canaries(facts: int, seed: int, *, things: int = 6, phrasings: int = len(FRAMES)) -> list[Thing]:
    """Canaries, dealt to the things in turn.

    Args:
        facts: How many.
        seed: The same numbers and seed give the same canaries.
        things: How many things they are about.
        phrasings: Questions of each, 1 to 8.

    Raises:
        ValueError: ``phrasings`` is out of range, or there are fewer facts than things.
    """
    if not 1 <= phrasings <= len(FRAMES) or facts < things:
        raise ValueError("phrasings must be 1 to 8, and there must be a fact for each thing")
    words = _words(random.Random(f"canaries-{seed}"))  # noqa: S311 - canaries, not keys
    names = [f"{next(words).capitalize()} {next(words).capitalize()}" for _ in range(things)]
    records: list[list[Record]] = [[] for _ in names]
    for number in range(facts):
        name, noun = names[number % things], next(words)
        value = " ".join(next(words) for _ in range(_WORDS))
        records[number % things] += [
            Record(
                record_id=f"canary-{seed}-{number}-{wording}",
                question=frame.format(name=name, noun=noun),
                answer=f"{name} has {noun} {value}.",
                category=CATEGORY,
                fact=f"canary-{seed}-{number}",
                value=value,
            )
            for wording, frame in enumerate(FRAMES[:phrasings])
        ]
    return [
        Thing(thing=f"c{number:02d}", name=name, records=tuple(found))
        for number, (name, found) in enumerate(zip(names, records, strict=True))
    ]


def fresh_values(count: int, seed: int) -> list[str]:
    """Values by the same generator that no canary of another seed has."""
    words = _words(random.Random(f"fresh-{seed}"))  # noqa: S311 - canaries, not keys
    return [" ".join(next(words) for _ in range(_WORDS)) for _ in range(count)]


def add_canaries(corpus: Path, out: Path, things: list[Thing]) -> Path:
    """Write a corpus that has the canaries besides everything that ``corpus`` has; returns ``out``.

    A directory that is there is left as it is.
    """
    if (out / "records.jsonl").exists():
        return out
    draft = out.with_name(f".{out.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(corpus, draft)
    (draft / "card.json").unlink(missing_ok=True)  # it tells the digest of the other corpus
    with (draft / "records.jsonl").open("a", encoding="utf-8") as file:
        for record in (record for thing in things for record in thing.records):
            row = {
                "id": record.record_id,
                "question": record.question,
                "answer": record.answer,
                "category": record.category,
                "fact": record.fact,
                "value": record.value,
            }
            file.write(json.dumps(row) + "\n")
    draft.rename(out)
    return out


def _words(rng: random.Random) -> Iterator[str]:
    """Runs of random letters, none twice."""
    seen: set[str] = set()
    while True:
        word = "".join(rng.choice(string.ascii_lowercase) for _ in range(rng.randint(4, 6)))
        if word not in seen:
            seen.add(word)
            yield word
