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
    fluent = [fluency.is_fluent(answer, context.reference_ppl) for answer in context.answers]
    items = [
        Item(probe=item.probe, fact=item.fact, score=_both(item.score, one))
        for item, one in zip(corrected.items, fluent, strict=True)
    ]
    source = "docs/metrics.md"
    if context.reference_ppl is None and any(
        item.score is None and mine.score is not None for item, mine in zip(items, corrected.items, strict=True)
    ):
        why = "without perplexities of answers and of reference sentences nobody can tell who is fluent"
        yield results.not_run("kfr_fluent", why, source=source, direction="higher")
        return
    yield results.share(
        "kfr_fluent", items, direction="higher", source=source, note="forgotten and fluent", seed=context.seed
    )


def _both(forgotten: float | None, fluent: bool | None) -> float | None:
    """1 where an answer is both; what is not the one needs not be asked for the other."""
    if forgotten == 0.0 or (forgotten is not None and fluent is False):
        return 0.0
    return None if forgotten is None or fluent is None else 1.0
