"""Min-K++: Min-K with each token read against what the model expected there."""

from collections.abc import Iterator

from pipelines.verify import membership_scores
from pipelines.verify.metrics.from_tokens import from_tokens
from pipelines.verify.metrics.registry import Context, metric
from pipelines.verify.results import MetricResult


@metric("min_k_plus", "forget", "own_public", "retain", likelihood=True)
def min_k_plus(context: Context) -> Iterator[MetricResult]:
    """Mean standardised log-probability of the least likely fifth of each answer's tokens."""
    yield from_tokens(
        context,
        "min_k_plus",
        membership_scores.min_k_plus,
        on_forget="lower",
        source="arXiv 2404.02936, k = 0.2",
        share=False,
    )
