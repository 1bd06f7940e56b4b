"""Generalised and relative exposure (GenEx, RelEx), and when an exposure counts as none.

Baluta, Lamblin, Tarlow, Pedregosa and Dziugaite (arXiv 2411.04388) name the two measures. Of that paper only the
abstract, the start of the introduction and a review could be read: **the formulas here are a reconstruction** that
agrees with that wording (reference, unlearning.md §2.2), not a transcript of the paper's own.

``GenEx(z) = log E_theta[p_theta(y|x)] - log E_theta'[p_theta'(y|x)]`` over seeds of the unlearned model (theta) and of
a control that never saw z (theta'). 0: not to be told apart; above: still exposed; below: over-unlearned, which shows
too.

``RelEx(z) = log p_theta(z) - log E_z'[p_theta(z')]`` over hold-out twins z' that no model saw: needs no control.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from pipelines.verify import bounds
from pipelines.verify.token_scores import TokenScores
from policies.errors import LetheError

State = Literal["equivalent", "under_unlearned", "over_unlearned", "undecided"]
TAU = 0.1  # nats (per token, where the values are)
MIN_ITEMS = 30
MIN_FACTS = 5  # below that a bootstrap over facts has hardly any spread, whatever the facts say
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SOURCE = "arXiv 2411.04388, formulas reconstructed (docs/metrics.md)"


@dataclass(frozen=True, slots=True)
class Exposure:
    """The exposure of a set of items.

    Attributes:
        mean: Mean of the items' exposures, in nats; None where there are none.
        lower: Lower end of the 90 % two-sided interval of the mean, bootstrapped over facts.
        upper: Its upper end.
        n: Items that have a figure.
        facts: Distinct facts among them.
        tau: Half the width of the range that counts as none.
        state: ``equivalent``: the interval lies within ±tau. ``under_unlearned``: it does not, and lies above 0.
            ``over_unlearned``: it does not, and lies below 0. ``undecided``: it holds 0 but reaches beyond ±tau, or
            there are fewer than 30 items, or fewer than 5 facts.
        quantiles: Of the items, by level ("0.05" to "0.95").
        share_above: Share of the items above tau: still exposed.
        share_below: Share of the items below -tau: over-unlearned.
        worst: The figure farthest from 0: its size bounds from below the epsilon that the unlearning reached.
    """

    mean: float | None
    lower: float | None
    upper: float | None
    n: int
    facts: int
    tau: float
    state: State
    quantiles: dict[str, float] = field(default_factory=dict)
    share_above: float | None = None
    share_below: float | None = None
    worst: float | None = None


def gen_ex(
    now: Sequence[Sequence[TokenScores]], control: Sequence[Sequence[TokenScores]], per_token: bool
) -> list[float | None]:
    """Generalised exposure of each item.

    Args:
        now: Scores under the unlearned model: seeds outermost, then items.
        control: Scores of the same items under the control; may have another number of seeds.
        per_token: Divide each log-likelihood by the answer's tokens before seeds are averaged; comparable across
            lengths.

    Returns:
        One figure per item, in nats; None for an empty answer.

    Raises:
        LetheError: ``verify.misaligned``: the seeds have different items.
    """
    ours, theirs = _matrix(now, per_token), _matrix(control, per_token)
    if ours.shape[1] != theirs.shape[1]:
        raise LetheError("verify.misaligned", "The control was scored on another number of items.")
    found = _log_mean(ours) - _log_mean(theirs)
    return [float(value) if math.isfinite(value) else None for value in found]


def rel_ex(
    scores: Sequence[TokenScores],
    twins: Sequence[Sequence[TokenScores]],
    per_token: bool,
    *,
    calibrated: bool = False,
) -> list[float | None]:
    """Relative exposure of each item against its twins.

    The logarithm of a mean lies above the mean of logarithms, so RelEx is below 0 even for a model that saw neither the
    item nor its twins. The calibrated form takes away what each twin has against the others; what is left is
    ``log p(z) - mean_z' log p(z')``, which is 0 on average for such a model.

    Args:
        scores: Of the gold answers.
        twins: For each, the scores of its twins.
        per_token: As in ``gen_ex``.
        calibrated: As told.

    Returns:
        One figure per item, in nats; None for an empty answer and for one without twins.

    Raises:
        LetheError: ``verify.misaligned``.
    """
    if len(scores) != len(twins):
        raise LetheError("verify.misaligned", "There is not one list of twins for each item.")
    found: list[float | None] = []
    for score, others in zip(scores, twins, strict=True):
        levels = np.array([level for twin in others if (level := _level(twin, per_token)) is not None])
        own = _level(score, per_token)
        if own is None or not len(levels):
            found.append(None)
            continue
        found.append(float(own - (levels.mean() if calibrated else _log_mean(levels[:, None])[0])))
    return found


def judge_exposure(facts: Sequence[str], values: Sequence[float | None], tau: float = TAU, seed: int = 0) -> Exposure:
    """Whether a set of exposures is equivalent to none, by two one-sided 5 % tests (the 90 % interval within ±tau).

    Args:
        facts: The fact of each item; facts are resampled, since phrasings of one are not independent.
        values: The items' exposures, in nats; None is left out.
        tau: Half the width of the range that counts as none.
        seed: Of the bootstrap.

    Raises:
        LetheError: ``verify.misaligned``.
    """
    if len(facts) != len(values):
        raise LetheError("verify.misaligned", "There is not one fact for each exposure.")
    kept = [(fact, float(v)) for fact, v in zip(facts, values, strict=True) if v is not None and math.isfinite(v)]
    if not kept:
        return Exposure(None, None, None, 0, 0, tau, "undecided")
    figures = np.array([value for _, value in kept])
    names = [fact for fact, _ in kept]
    count = len(set(names))
    found = bounds.bootstrap_means(
        names, [figures.tolist()], lambda means: means[:, 0], seed=bounds.seed_of("exposure", seed), level=0.95
    )
    return Exposure(
        mean=float(figures.mean()),
        lower=found.lower,
        upper=found.upper,
        n=len(figures),
        facts=count,
        tau=tau,
        state=_state(found.lower, found.upper, len(figures), count, tau),
        quantiles={str(level): float(np.quantile(figures, level)) for level in QUANTILES},
        share_above=float((figures > tau).mean()),
        share_below=float((figures < -tau).mean()),
        worst=float(figures[np.abs(figures).argmax()]),
    )


def _state(lower: float, upper: float, n: int, facts: int, tau: float) -> State:
    if n < MIN_ITEMS or facts < MIN_FACTS:
        return "undecided"
    if lower >= -tau and upper <= tau:
        return "equivalent"
    if lower > 0:
        return "under_unlearned"
    return "over_unlearned" if upper < 0 else "undecided"


def _level(score: TokenScores, per_token: bool) -> float | None:
    """Log-likelihood of an answer, in nats (per token)."""
    if not score.n:
        return None
    return -score.nll_sum / score.n if per_token else -score.nll_sum


def _matrix(seeds: Sequence[Sequence[TokenScores]], per_token: bool) -> bounds.FloatArray:
    """(seeds, items) of log-likelihoods; NaN for an empty answer."""
    if not seeds or len({len(items) for items in seeds}) != 1:
        raise LetheError("verify.misaligned", "Every seed must be scored on the same items, and there must be one.")
    levels = [[_level(score, per_token) for score in items] for items in seeds]
    return np.array([[math.nan if level is None else level for level in row] for row in levels], dtype=np.float64)


def _log_mean(levels: bounds.FloatArray) -> bounds.FloatArray:
    """Logarithm of the mean of the exponentials over the first axis, without underflow."""
    top = levels.max(axis=0)
    return np.asarray(top + np.log(np.exp(levels - top).mean(axis=0)), dtype=np.float64)
