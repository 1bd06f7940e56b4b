"""Logit lens: does a layer inside the model still name the value, though the last one does not?"""

from collections.abc import Iterator

import numpy as np

from pipelines.verify import results
from pipelines.verify.metrics.from_tokens import NO_LIKELIHOODS, items_of
from pipelines.verify.metrics.registry import Context, metric
from pipelines.verify.results import MetricResult
from pipelines.verify.token_scores import Lens

SOURCE = "arXiv 2309.17410 (Patil et al.), docs/metrics.md"


def names_it(lens: Lens) -> float:
    """1.0 where one layer puts every token that was looked at first, else 0.0."""
    return float((lens.ranks == 0).all(axis=1).any())


@metric("logit_lens", "forget", likelihood=True)
def logit_lens(context: Context) -> Iterator[MetricResult]:
    """Share of gold answers whose first telling tokens are all first in some intermediate layer."""
    if context.tokens is None or context.lens is not None:
        why = NO_LIKELIHOODS if context.tokens is None else context.lens or ""
        yield results.not_run("logit_lens", why, source=SOURCE, direction="lower")
        return
    lenses = [tokens.lens for tokens in context.tokens]
    made = results.share(
        "logit_lens",
        items_of(context, [None if lens is None else names_it(lens) for lens in lenses]),
        direction="lower",
        source=SOURCE,
        seed=context.seed,
    )
    yield made.model_copy(update={"parts": _layers([lens for lens in lenses if lens is not None])})


def _layers(lenses: list[Lens]) -> dict[str, float | None]:
    """Of every layer, median rank and mean log-probability of the first telling token."""
    if not lenses:
        return {}
    ranks = np.array([lens.ranks[:, 0] for lens in lenses])
    told = np.array([lens.log_probs[:, 0] for lens in lenses])
    parts: dict[str, float | None] = {"best_rank_median": float(np.median(ranks.min(axis=1)))}
    for layer in range(ranks.shape[1]):
        parts[f"layer_{layer + 1}_rank_median"] = float(np.median(ranks[:, layer]))
        parts[f"layer_{layer + 1}_log_prob"] = float(told[:, layer].mean())
    return parts
