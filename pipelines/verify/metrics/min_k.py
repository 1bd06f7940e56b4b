"""Min-K: how likely the least likely tokens of the gold answer are."""

from collections.abc import Iterator

from pipelines.verify import membership_scores
from pipelines.verify.metrics.from_tokens import from_tokens
from pipelines.verify.metrics.registry import Context, metric
from pipelines.verify.results import MetricResult


@metric("min_k", "forget", "own_public", "retain", likelihood=True)
def min_k(context: Context) -> Iterator[MetricResult]:
    """Mean log-probability, in nats, of the least likely fifth of each answer's tokens."""
    yield from_tokens(
        context, "min_k", membership_scores.min_k, on_forget="lower", source="arXiv 2310.16789, k = 0.2", share=False
    )
