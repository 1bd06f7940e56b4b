"""KFR in three modes, and KFR among fluent answers."""

from collections.abc import Iterator

from pipelines.verify import fluency, kfr_krr, results
from pipelines.verify.metrics.registry import Context, metric
from pipelines.verify.results import MODES, Item, MetricResult


@metric("kfr", "forget")
def kfr(context: Context) -> Iterator[MetricResult]:
    """Knowledge Forgetting Ratio; KFR_fluent beside it, since gibberish has a KFR of 1."""
    corrected = None
    for mode in MODES:
        result = kfr_krr.kfr(context.answers, context.coverage, context.backends, mode, context.seed)
        corrected = corrected or result
        yield result
    assert corrected is not None
    items = [
        item
        if item.score is None
        else Item(probe=item.probe, fact=item.fact, score=item.score * fluency.is_fluent(a, context.reference_ppl))
        for item, a in zip(corrected.items, context.answers, strict=True)
    ]
    yield results.share(
        "kfr_fluent",
        items,
        direction="higher",
        source="docs/metrics.md",
        note="forgotten and fluent",
        seed=context.seed,
    )
