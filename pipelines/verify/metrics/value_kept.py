"""Is the value itself in the answer, in any spelling? Printed beside KFR and KRR, which soft matches can bend."""

from collections.abc import Iterator

from pipelines.verify import results
from pipelines.verify.metrics.registry import Context, metric
from pipelines.verify.results import Item, MetricResult


@metric("value_in_output", "forget", "own_public", "retain")
def value_in_output(context: Context) -> Iterator[MetricResult]:
    """Share of answers that state the known value; undecided where none is known."""
    items = [
        Item(probe=a.probe, fact=a.fact, score=None if found.value_held is None else float(found.value_held))
        for a, found in zip(context.answers, context.coverage, strict=True)
    ]
    yield results.share(
        "value_in_output",
        items,
        direction="lower" if context.group == "forget" else "higher",
        source="docs/metrics.md",
        seed=context.seed,
    )
