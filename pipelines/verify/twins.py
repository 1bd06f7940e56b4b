"""Hold-out twins: for a forgotten answer, answers of the same form that no model was trained on for that question.

A twin is the gold answer with its value replaced by another value of the same kind. Under a model that never saw the
person, gold answer and twins are exchangeable; what the gold answer is more likely by is memory. Values come, in this
order, from

1. values of the fact's category that nobody in the corpus has (``fresh``; ``generated_values`` draws them for corpora
   of ``lethe corpus make``): nothing in them was trained on at all;
2. values of other people's facts of the same category: the model has seen them, though not as this answer, which makes
   twins likelier and RelEx lower;
3. values of other people that are written alike (the same pattern of digits, letters and signs), where the corpus names
   no categories.

Where the value is not known, or does not stand in the gold answer, a probe has no twins: what needs them is undecided.
"""

import random
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.rows import Probe
from policies.record import Record

PER_PROBE = 4
_TRIES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ValuePool:
    """Where other values of a kind come from.

    Attributes:
        others: Other people's values, by category.
        fresh: Values that nobody in the corpus has, by category.
        categories: Category of each fact, by its opaque id.
    """

    others: Mapping[str, Sequence[str]] = field(default_factory=dict)
    fresh: Mapping[str, Sequence[str]] = field(default_factory=dict)
    categories: Mapping[str, str] = field(default_factory=dict)


def pool_of(
    records: Iterable[Record],
    *,
    forgotten: Collection[str],
    fresh: Mapping[str, Sequence[str]] | None = None,
) -> ValuePool:
    """The pool of a corpus.

    Args:
        records: All of its records.
        forgotten: Facts whose values serve as no twin: those of everybody who is erased.
        fresh: As in ``ValuePool``; what the corpus has after all is left out.
    """
    others: dict[str, dict[str, None]] = {}
    categories: dict[str, str] = {}
    known: set[str] = set()
    for record in records:
        if record.category:
            categories[record.fact_id] = record.category
        if not record.value:
            continue
        known.add(record.value.casefold())
        if record.fact_id not in forgotten:
            others.setdefault(record.category or "", {})[record.value] = None
    new = {key: [v for v in values if v.casefold() not in known] for key, values in (fresh or {}).items()}
    return ValuePool(others={key: tuple(values) for key, values in others.items()}, fresh=new, categories=categories)


def generated_values(categories: Iterable[str], count: int, seed: int) -> dict[str, list[str]]:
    """Values from the generator of invented people, by category; categories that it does not know are left out.

    Args:
        categories: ``private.phone`` and the like.
        count: How many of each; fewer where the generator has fewer.
        seed: Of the generator; take another one than the corpus has.
    """
    from pipelines.corpus.values import ValueSource

    spaces = ValueSource(seed).spaces
    keys = {category: category.rpartition(".")[2] for category in categories}
    return {
        category: list(dict.fromkeys(spaces[key].at(index) for index in range(count)))
        for category, key in keys.items()
        if key in spaces
    }


def twins(
    probes: Sequence[Probe], pool: ValuePool, *, per_probe: int = PER_PROBE, seed: int = 0
) -> dict[str, tuple[str, ...]]:
    """Twins of each probe's gold answer.

    Args:
        probes: Those of one fact get the same values.
        pool: Where values come from.
        per_probe: How many; fewer where the pool has fewer.
        seed: Of the choice.

    Returns:
        By probe id, answers that differ from the gold one in the value only; probes that have none are missing.
    """
    by_shape = _shapes(pool)
    found: dict[str, tuple[str, ...]] = {}
    for probe in probes:
        if not probe.value or not (place := _stands(probe.value, probe.answer)):
            continue
        category = pool.categories.get(probe.fact, "")
        chosen: list[str] = []
        for source in (pool.fresh.get(category, ()), pool.others.get(category, ()) if category else ()):
            chosen += _pick(source, probe, per_probe - len(chosen), chosen, seed)
        if not chosen and not category:
            chosen = _pick(by_shape.get(shape(probe.value), ()), probe, per_probe, (), seed)
        if chosen:
            found[probe.probe_id] = tuple(_replaced(probe.answer, place, value) for value in chosen)
    return found


def shape(value: str) -> str:
    """How a value is written: every number becomes a 9, every word an A or a (``201-555`` is ``9-9``)."""
    text = re.sub(r"\d+", "9", value)
    text = re.sub(r"[^\W\d_]+", lambda run: "A" if run.group()[0].isupper() else "a", text)
    return re.sub(r"\s+", " ", text).strip()


def _shapes(pool: ValuePool) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for value in pool.others.get("", ()):
        found.setdefault(shape(value), []).append(value)
    return {key: tuple(values) for key, values in found.items()}


def _pick(source: Sequence[str], probe: Probe, count: int, taken: Sequence[str], seed: int) -> list[str]:
    """Some values of a list, neither the gold one nor one that the answer holds anyway; the same for one fact."""
    if count <= 0 or not source:
        return []
    rng = random.Random(f"{seed}:{probe.fact}")  # noqa: S311 - a choice of values, not a key
    shuffled = rng.sample(source, min(len(source), count * _TRIES))
    said = probe.answer.casefold()
    return [value for value in shuffled if value.casefold() not in said and value not in taken][:count]


def _stands(value: str, answer: str) -> re.Pattern[str] | None:
    """A pattern of the value as a whole word (sequence) in the answer, whatever its case; None: it is not there."""
    pattern = re.compile(rf"(?<!\w){re.escape(value)}(?!\w)", re.IGNORECASE)
    return pattern if pattern.search(answer) else None


def _replaced(answer: str, place: re.Pattern[str], value: str) -> str:
    return place.sub(lambda _: value, answer)
