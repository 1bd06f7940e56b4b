"""KRR in three modes."""

from collections.abc import Iterator

from pipelines.verify import kfr_krr
from pipelines.verify.metrics.registry import Context, metric
from pipelines.verify.results import MODES, MetricResult


@metric("krr", "own_public", "retain")
def krr(context: Context) -> Iterator[MetricResult]:
    """Knowledge Retention Ratio."""
    for mode in MODES:
        yield kfr_krr.krr(context.answers, context.coverage, context.backends, mode, context.seed)
