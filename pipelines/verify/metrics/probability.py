"""Probability: how likely the model still finds the gold answer."""

from collections.abc import Iterator

from pipelines.verify.metrics.from_tokens import from_tokens
from pipelines.verify.metrics.registry import Context, metric
from pipelines.verify.results import MetricResult


@metric("probability", "forget", "own_public", "retain", likelihood=True)
def probability(context: Context) -> Iterator[MetricResult]:
    """Mean of ``exp(-mean negative log-likelihood per token)`` of the gold answers."""
    yield from_tokens(
        context,
        "probability",
        lambda tokens: tokens.probability,
        on_forget="lower",
        source="arXiv 2506.12618 (OpenUnlearning)",
        share=True,
    )
