"""The loss against how well the answer compresses: an answer that is likely though it is no common text was learned."""

from collections.abc import Iterator

from pipelines.verify import membership_scores
from pipelines.verify.metrics.from_tokens import from_tokens
from pipelines.verify.metrics.registry import Context, metric
from pipelines.verify.results import MetricResult


@metric("zlib", "forget", "own_public", "retain", likelihood=True)
def zlib_loss(context: Context) -> Iterator[MetricResult]:
    """Nats per token and per byte of the zlib-compressed answer."""
    yield from_tokens(
        context,
        "zlib",
        membership_scores.zlib_ratio,
        on_forget="higher",
        source="arXiv 2012.07805",
        share=False,
    )
