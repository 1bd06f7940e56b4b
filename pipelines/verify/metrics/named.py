"""Does the answer still name the person it was asked about?"""

from collections.abc import Iterator

from pipelines.verify import fluency
from pipelines.verify.metrics.registry import Context, metric
from pipelines.verify.results import MetricResult


@metric("subject_named", "forget", "reference")
def subject_named(context: Context) -> Iterator[MetricResult]:
    """Share of answers with one of the subject's names."""
    yield fluency.subject_named(context.answers, context.seed)
