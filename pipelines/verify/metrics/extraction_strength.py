"""Extraction strength (ES): how little of the gold answer must be given for the model to say the rest."""

from collections.abc import Iterator

import numpy as np

from pipelines.verify.metrics.from_tokens import from_tokens
from pipelines.verify.metrics.registry import Context, metric
from pipelines.verify.results import MetricResult
from pipelines.verify.token_scores import TokenScores


def es(tokens: TokenScores) -> float | None:
    """``1 - k*/|y|``, where k* is the least prefix after which every argmax is the gold token.

    With the last token wrong there is no such prefix but the whole answer: k* = |y| and ES = 0. (The published code
    stops at |y| - 1 and gives 1/|y|, the same as for the last token right.) None for an empty answer.
    """
    if not tokens.n:
        return None
    wrong = np.flatnonzero(~tokens.correct)
    least = int(wrong[-1]) + 1 if len(wrong) else 0
    return 1 - least / tokens.n


@metric("extraction_strength", "forget", "own_public", "retain", likelihood=True)
def extraction_strength(context: Context) -> Iterator[MetricResult]:
    """Mean ES of the gold answers."""
    yield from_tokens(
        context,
        "extraction_strength",
        es,
        on_forget="lower",
        source="arXiv 2506.12618 (OpenUnlearning), 0 on total mismatch",
        share=True,
    )
