"""How a metric is made from teacher-forced scores: one figure per answer, told beside the base's and the control's."""

from collections.abc import Callable, Sequence

from pipelines.verify import results
from pipelines.verify.metrics.registry import Context
from pipelines.verify.results import Direction, Item, MetricResult
from pipelines.verify.token_scores import TokenScores

NO_LIKELIHOODS = "no likelihoods were asked for"
Score = Callable[[TokenScores], float | None]


def items_of(context: Context, scores: Sequence[float | None]) -> tuple[Item, ...]:
    """The scores with their probes and facts."""
    return tuple(
        Item(probe=a.probe, fact=a.fact, score=score) for a, score in zip(context.answers, scores, strict=True)
    )


def better(context: Context, on_forget: Direction) -> Direction:
    """A metric's direction: what is better for answers to be forgotten is worse for those to be kept."""
    if on_forget == "none" or context.group == "forget":
        return on_forget
    return "higher" if on_forget == "lower" else "lower"


def from_tokens(
    context: Context,
    name: str,
    score: Score,
    *,
    on_forget: Direction,
    source: str,
    share: bool,
    note: str | None = None,
) -> MetricResult:
    """A metric from each gold answer's scores.

    Args:
        context: ``tokens`` None: the metric is not run.
        name: Its key in a report.
        score: From an answer's scores to its figure; None where it has none.
        on_forget: Which way is better on answers to be forgotten.
        source: Where the definition stands.
        share: Whether figures lie in 0..1 (the bound is then never prouder than Clopper-Pearson's over facts).
        note: What a reader must know.

    Returns:
        The mean over answers; ``parts`` has that of the base and of the control over the same answers, where known.
    """
    direction = better(context, on_forget)
    if context.tokens is None:
        return results.not_run(name, NO_LIKELIHOODS, source=source, direction=direction)
    found = [score(tokens) for tokens in context.tokens]
    items = items_of(context, found)
    parts = {
        role: _mean_where(found, [score(tokens) for tokens in other])
        for role, other in (("base", context.base_tokens), ("control", context.control_tokens))
        if other is not None
    }
    make = results.share if share else results.mean
    made = make(name, items, direction=direction, source=source, note=note, seed=context.seed)
    return made.model_copy(update={"parts": {**made.parts, **parts}})


def _mean_where(mine: Sequence[float | None], others: Sequence[float | None]) -> float | None:
    """Mean of the others' figures over the answers that have both."""
    both = [other for own, other in zip(mine, others, strict=True) if own is not None and other is not None]
    return sum(both) / len(both) if both else None
