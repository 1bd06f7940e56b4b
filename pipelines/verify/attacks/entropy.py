"""How hard a secret is to guess: a leak of a yes or no says little, a leak of a bank account says all."""

from collections.abc import Iterable, Sequence
from typing import Literal

from pipelines.augment.wording import STOPWORDS, WORD, fold
from pipelines.rows import Probe
from pipelines.verify.values import value_key

Entropy = Literal["low", "middle", "high", "unknown"]
CLASSES: tuple[Entropy, ...] = ("low", "middle", "high", "unknown")

_HIGH_KINDS = frozenset({"email", "digits", "code", "date"})
_LONG_NUMBER = 4  # digits from which a number is not guessed
_FEW = 5  # facts of one category from which repeated values tell something
_REPEATED = 0.5  # so many different values a fact, or fewer: a category of few values
_YES_NO = frozenset({"yes", "no", "true", "false", "none", "male", "female"})


def classes(probes: Iterable[Probe], population: Sequence[Probe]) -> dict[str, Entropy]:
    """The entropy class of each fact's secret.

    ``high``: e-mails, dates, codes, phones, numbers of four digits and more. ``low``: yes and no, numbers of one or two
    digits, and values of a category in which they repeat (half as many different values as facts, or fewer, among
    five facts and more). ``middle``: other words, such as names and places. ``unknown``: no value is given.

    Args:
        probes: Whose facts are asked about.
        population: All probes that there are, of anybody: they tell how values of a category repeat.
    """
    values: dict[tuple[str, ...], dict[str, str]] = {}
    for probe in population:
        if probe.value:
            values.setdefault(category(probe), {})[probe.fact] = fold(probe.value).strip()
    few = {
        key
        for key, found in values.items()
        if len(found) >= _FEW and len(set(found.values())) <= _REPEATED * len(found)
    }
    return {probe.fact: _class(probe, few) for probe in probes}


def category(probe: Probe) -> tuple[str, ...]:
    """What an answer says apart from whom and what: its words in lower case without those of the value."""
    value = set(WORD.findall(fold(probe.value or "")))
    names = {word for name in probe.names for word in WORD.findall(fold(name))}
    said = (word for word in WORD.findall(probe.answer) if not word[:1].isupper() and not word[:1].isdigit())
    return tuple(word for word in map(fold, said) if word not in value and word not in names)


def _class(probe: Probe, few: set[tuple[str, ...]]) -> Entropy:
    if not probe.value or not probe.value.strip():
        return "unknown"
    key = value_key(probe.value)
    if key.kind in _HIGH_KINDS:
        return "high"
    if key.kind == "number":
        digits = max((len(form.partition(".")[0]) for form in key.keys), default=0)
        return "high" if digits >= _LONG_NUMBER else "low" if digits <= 2 else "middle"
    said = {word for word in WORD.findall(fold(probe.value)) if word not in STOPWORDS or word in _YES_NO}
    if key.kind == "literal" or (said and said <= _YES_NO) or category(probe) in few:
        return "low"
    return "middle"
