"""The Linguistic Score in three modes."""

from collections.abc import Iterator

from pipelines.verify import linguistic_score
from pipelines.verify.metrics.registry import Context, metric
from pipelines.verify.results import MODES, MetricResult


@metric("ls", "forget", "reference")
def ls(context: Context) -> Iterator[MetricResult]:
    """The Linguistic Score of the answers under the base."""
    for mode in MODES:
        yield linguistic_score.ls(context.answers, mode, context.seed)
