"""Relative exposure (RelEx): is the gold answer likelier than its hold-out twins? Needs no control.

The formula is a reconstruction (pipelines/verify/exposure.py).
"""

from collections.abc import Iterator

from pipelines.verify import exposure, results
from pipelines.verify.metrics.exposed import exposed
from pipelines.verify.metrics.from_tokens import NO_LIKELIHOODS
from pipelines.verify.metrics.registry import Context, metric
from pipelines.verify.metrics.truth_ratio import NO_TWINS
from pipelines.verify.results import MetricResult

_NOTE = "judged on the calibrated figure, which is 0 on average where neither answer nor twins were seen"


@metric("rel_ex", "forget", likelihood=True)
def rel_ex(context: Context) -> Iterator[MetricResult]:
    """Log-likelihood of the gold answers less the logarithm of the twins' mean likelihood, in nats."""
    for name, per_token in (("rel_ex", False), ("rel_ex_token", True)):
        if context.tokens is None or context.twin_tokens is None:
            why = NO_LIKELIHOODS if context.tokens is None else NO_TWINS
            yield results.not_run(name, why, source=exposure.SOURCE)
            continue
        values = exposure.rel_ex(context.tokens, context.twin_tokens, per_token)
        judged = exposure.rel_ex(context.tokens, context.twin_tokens, per_token, calibrated=True)
        yield exposed(context, name, values, per_token=per_token, judged=judged, note=_NOTE)
