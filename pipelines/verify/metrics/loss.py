"""LOSS: the mean negative log-likelihood of the gold answers, the oldest membership score."""

from collections.abc import Iterator

from pipelines.verify import membership_scores
from pipelines.verify.metrics.from_tokens import from_tokens
from pipelines.verify.metrics.registry import Context, metric
from pipelines.verify.results import MetricResult


@metric("loss", "forget", "own_public", "retain", likelihood=True)
def loss(context: Context) -> Iterator[MetricResult]:
    """Nats per token."""
    yield from_tokens(
        context,
        "loss",
        membership_scores.loss,
        on_forget="higher",
        source="arXiv 1709.01604",
        share=False,
        note="far above the control's is over-unlearned",
    )
