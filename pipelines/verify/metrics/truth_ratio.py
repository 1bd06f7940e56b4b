"""Truth ratio: the gold answer's likelihood against that of wrong answers of the same form."""

import math
from collections.abc import Iterator, Sequence

from pipelines.verify import results
from pipelines.verify.metrics.from_tokens import NO_LIKELIHOODS, items_of
from pipelines.verify.metrics.registry import Context, metric
from pipelines.verify.results import MetricResult
from pipelines.verify.token_scores import TokenScores

SOURCE = "arXiv 2401.06121 (TOFU), aggregates of arXiv 2506.12618"
NO_TWINS = "no twins were given"
_FORGET = (
    "wrong answers are the twins, the right one is the gold answer (not a paraphrase); mean of min(r, 1/r): 1 where "
    "the model prefers neither"
)
_KEPT = (
    "wrong answers are the twins, the right one is the gold answer (not a paraphrase); mean of max(0, 1 - r): 1 where "
    "the model knows"
)


def log_ratio(gold: TokenScores, wrong: Sequence[TokenScores]) -> float | None:
    """Logarithm of ``r = exp(-mean loss of the wrong answers) / exp(-loss of the gold one)``; None: one is missing."""
    right = gold.nll_mean
    losses = [loss for twin in wrong if (loss := twin.nll_mean) is not None]
    return None if right is None or not losses else right - sum(losses) / len(losses)


@metric("truth_ratio", "forget", "own_public", "retain", likelihood=True)
def truth_ratio(context: Context) -> Iterator[MetricResult]:
    """On answers to be forgotten closer to 1 is better; on those to be kept the true one should win."""
    if context.tokens is None or context.twin_tokens is None:
        why = NO_LIKELIHOODS if context.tokens is None else NO_TWINS
        yield results.not_run("truth_ratio", why, source=SOURCE, direction="higher")
        return
    logs = [log_ratio(gold, wrong) for gold, wrong in zip(context.tokens, context.twin_tokens, strict=True)]
    forget = context.group == "forget"
    scores = [
        None if log is None else math.exp(-abs(log)) if forget else max(0.0, 1 - math.exp(min(log, 1.0)))
        for log in logs
    ]
    made = results.share(
        "truth_ratio",
        items_of(context, scores),
        direction="higher",
        source=SOURCE,
        note=_FORGET if forget else _KEPT,
        seed=context.seed,
    )
    known = [log for log in logs if log is not None]
    mean = math.exp(min(sum(known) / len(known), 700.0)) if known else None
    yield made.model_copy(update={"parts": {"geometric_mean_r": mean}})
