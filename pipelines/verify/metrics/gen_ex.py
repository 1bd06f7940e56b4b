"""Generalised exposure (GenEx): is the gold answer likelier than to a model that never saw it? Per answer, per token.

The formula is a reconstruction (pipelines/verify/exposure.py).
"""

from collections.abc import Iterator

from pipelines.verify import exposure, results
from pipelines.verify.metrics.exposed import exposed
from pipelines.verify.metrics.from_tokens import NO_LIKELIHOODS
from pipelines.verify.metrics.registry import Context, metric
from pipelines.verify.results import MetricResult


@metric("gen_ex", "forget", likelihood=True)
def gen_ex(context: Context) -> Iterator[MetricResult]:
    """Log-likelihood of the gold answers less that under the control, in nats: 0 is ideal."""
    for name, per_token in (("gen_ex", False), ("gen_ex_token", True)):
        if context.tokens is None or context.control_tokens is None:
            why = NO_LIKELIHOODS if context.tokens is None else "no control was given"
            yield results.not_run(name, why, source=exposure.SOURCE)
            continue
        values = exposure.gen_ex([context.tokens], [context.control_tokens], per_token)
        yield exposed(context, name, values, per_token=per_token)
