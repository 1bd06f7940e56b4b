"""Exact memorisation (EM): how many tokens of the gold answer the model would choose itself."""

from collections.abc import Iterator

from pipelines.verify.metrics.from_tokens import from_tokens
from pipelines.verify.metrics.registry import Context, metric
from pipelines.verify.results import MetricResult
from pipelines.verify.token_scores import TokenScores


def em(tokens: TokenScores) -> float | None:
    """Share of an answer's tokens that are the argmax, teacher forced; None for an empty answer."""
    return float(tokens.correct.mean()) if tokens.n else None


@metric("exact_memorisation", "forget", "own_public", "retain", likelihood=True)
def exact_memorisation(context: Context) -> Iterator[MetricResult]:
    """Mean EM of the gold answers."""
    yield from_tokens(
        context, "exact_memorisation", em, on_forget="lower", source="arXiv 2506.12618 (OpenUnlearning)", share=True
    )
