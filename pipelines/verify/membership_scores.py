"""What a membership test reads from one teacher-forced answer: LOSS, zlib, Min-K, Min-K++, loss against another model.

Each function gives None for an empty answer. ``MEMBERSHIP`` turns them so that a higher score looks more like a member.
"""

from collections.abc import Callable, Mapping

import numpy as np

from pipelines.verify.bounds import FloatArray
from pipelines.verify.token_scores import TokenScores

MIN_K = 0.2  # share of an answer's tokens, the least likely ones; at least one
_VARIANCE_FLOOR = 1e-6  # Min-K++, as the published code has it

Score = Callable[[TokenScores], float | None]


def loss(scores: TokenScores) -> float | None:
    """LOSS: mean negative log-likelihood per token, in nats (arXiv 1709.01604)."""
    return scores.nll_mean


def zlib_ratio(scores: TokenScores) -> float | None:
    """The loss per byte of the zlib-compressed answer (arXiv 2012.07805)."""
    mean = scores.nll_mean
    return None if mean is None else mean / scores.text_bytes


def min_k(scores: TokenScores, k: float = MIN_K) -> float | None:
    """Min-K: mean log-probability of the least likely share ``k`` of the tokens (arXiv 2310.16789)."""
    return _lowest(scores.log_probs.astype(np.float64), k)


def min_k_plus(scores: TokenScores, k: float = MIN_K) -> float | None:
    """Min-K++: the same of log-probabilities standardised over the tokens, (log p - mu)/sigma (arXiv 2404.02936)."""
    deviation = np.sqrt(np.maximum(scores.std.astype(np.float64) ** 2, _VARIANCE_FLOOR))
    return _lowest((scores.log_probs.astype(np.float64) - scores.mean) / deviation, k)


def reference(scores: TokenScores, other: TokenScores) -> float | None:
    """The loss less that of another model on the same answer (arXiv 2012.07805)."""
    mine, theirs = scores.nll_mean, other.nll_mean
    return None if mine is None or theirs is None else mine - theirs


def _lowest(values: FloatArray, k: float) -> float | None:
    if not len(values):
        return None
    return float(np.sort(values)[: max(1, int(k * len(values)))].mean())


def _negated(score: Score) -> Score:
    def turned(scores: TokenScores) -> float | None:
        value = score(scores)
        return None if value is None else -value

    return turned


MEMBERSHIP: Mapping[str, Score] = {
    "loss": _negated(loss),
    "zlib": _negated(zlib_ratio),
    "min_k": min_k,
    "min_k_plus": min_k_plus,
}
