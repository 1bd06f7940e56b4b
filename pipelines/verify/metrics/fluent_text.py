"""Robust fluency of the answers, and of the reference sentences that they are read against."""

from collections.abc import Iterator

from pipelines.verify import fluency
from pipelines.verify.metrics.registry import Context, metric
from pipelines.verify.results import MetricResult


@metric("fluency", "forget", "reference")
def robust_fluency(context: Context) -> Iterator[MetricResult]:
    """Median perplexity, repeated 4-grams, distinct n-grams, length, empty answers."""
    yield fluency.ppl_median(context.answers, context.seed)
    yield fluency.repeated_4grams(context.answers, context.seed)
    yield fluency.distinct(context.answers, 1, context.seed)
    yield fluency.distinct(context.answers, 2, context.seed)
    yield fluency.length(context.answers, context.seed)
    yield fluency.empty(context.answers, context.seed)
