"""Robust fluency: what the Linguistic Score cannot see, each to be read beside a reference set on the same probes."""

import math
from collections import Counter
from collections.abc import Sequence

from pipelines.augment.wording import words as folded_words
from pipelines.verify import bounds, results
from pipelines.verify.answers import Answer
from pipelines.verify.linguistic_score import EMPTY_NLL, perplexity, tokens
from pipelines.verify.results import Item, MetricResult

SOURCE = "robust fluency, docs/metrics.md"
FLUENT_REPEAT_MAX = 0.2
FLUENT_PPL_TIMES = 10.0


def _ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[start:] for start in range(n)), strict=False))


def repeated_share(text: str, n: int = 4) -> float:
    """Share of a text's n-grams that repeat an earlier one: 0 for good text, near 1 for "at at at"."""
    grams = _ngrams(tokens(text), n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def names_subject(answer: Answer) -> bool | None:
    """Whether the answer keeps one of the subject's names, whole; None where no name is known."""
    if not answer.names:
        return None
    said = f" {' '.join(folded_words(answer.response))} "
    return any(f" {' '.join(folded_words(name))} " in said for name in answer.names)


def is_fluent(answer: Answer, reference_ppl: float | None) -> bool | None:
    """Not empty, no repetition, and not far beyond the reference set's perplexity; None: nobody measured that."""
    if answer.empty or repeated_share(answer.response) > FLUENT_REPEAT_MAX:
        return False
    if reference_ppl is None or answer.nll is None:
        return None
    return perplexity(answer.nll) <= FLUENT_PPL_TIMES * reference_ppl


def ppl_median(answers: Sequence[Answer], seed: int = 0) -> MetricResult:
    """Median perplexity under the base; an empty answer counts as 1000, a failed one as undecided."""
    pairs = [(a, EMPTY_NLL if a.empty else a.nll) for a in answers]
    good = [(a, perplexity(nll)) for a, nll in pairs if nll is not None and math.isfinite(nll)]
    if not any(a.nll is not None for a, _ in good):
        return results.not_run("ppl_median", "no perplexities: no model was given", source=SOURCE, direction="lower")
    scores = {a.probe: ppl for a, ppl in good}
    items = [Item(probe=a.probe, fact=a.fact, score=scores.get(a.probe)) for a in answers]
    return results.median("ppl_median", items, direction="lower", source=SOURCE, seed=seed)


def repeated_4grams(answers: Sequence[Answer], seed: int = 0) -> MetricResult:
    """Mean share of 4-grams that repeat within their own answer."""
    items = [Item(probe=a.probe, fact=a.fact, score=repeated_share(a.response)) for a in answers]
    return results.share("repeated_4grams", items, direction="lower", source=SOURCE, seed=seed)


def distinct(answers: Sequence[Answer], n: int, seed: int = 0) -> MetricResult:
    """Distinct n-grams per n-gram over all answers together: low where every answer is the same template.

    An n-gram that stands c times counts 1/c wherever it stands, so that each answer has a share in the figure and facts
    can be resampled (with the counts of the whole set: the bound tells which answers carry the figure, no more).
    """
    grams = [_ngrams(tokens(a.response), n) for a in answers]
    counts = Counter(gram for own in grams for gram in own)
    shares = [sum(1 / counts[gram] for gram in own) for own in grams]
    items = tuple(
        Item(probe=a.probe, fact=a.fact, score=share / len(own) if own else None)
        for a, own, share in zip(answers, grams, shares, strict=True)
    )
    base = MetricResult(
        name=f"distinct_{n}",
        n=len(results.scored(items)),
        undecided=sum(item.score is None for item in items),
        direction="higher",
        source=SOURCE,
        note="over all answers together",
        items=items,
    )
    if not counts:
        return base.model_copy(update={"state": "undecided", "note": f"no answer has {n} words"})
    facts = [a.fact for a, own in zip(answers, grams, strict=True) if own]
    update: dict[str, object] = {"value": len(counts) / counts.total(), "facts": len(set(facts))}
    if len(set(facts)) > 1:
        found = bounds.ratio_bounds(
            facts,
            [share for share, own in zip(shares, grams, strict=True) if own],
            [float(len(own)) for own in grams if own],
            seed=bounds.seed_of(base.name, seed),
        )
        update |= {"lower": found.lower, "upper": found.upper, "bound_method": found.method}
    return base.model_copy(update=update)


def length(answers: Sequence[Answer], seed: int = 0) -> MetricResult:
    """Mean words per answer. Answers of another length cannot be compared by LS."""
    items = [Item(probe=a.probe, fact=a.fact, score=float(len(tokens(a.response)))) for a in answers]
    return results.mean("length_words", items, direction="none", source=SOURCE, seed=seed)


def subject_named(answers: Sequence[Answer], seed: int = 0) -> MetricResult:
    """Share of answers that keep one of the subject's names."""
    flags = [names_subject(a) for a in answers]
    items = [
        Item(probe=a.probe, fact=a.fact, score=None if flag is None else float(flag))
        for a, flag in zip(answers, flags, strict=True)
    ]
    return results.share("subject_named", items, direction="higher", source=SOURCE, seed=seed)


def empty(answers: Sequence[Answer], seed: int = 0) -> MetricResult:
    """Share of empty answers: forgotten, and not fluent."""
    items = [Item(probe=a.probe, fact=a.fact, score=float(a.empty)) for a in answers]
    return results.share("empty", items, direction="lower", source=SOURCE, seed=seed)
