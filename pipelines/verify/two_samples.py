"""The arithmetic of two samples whose items come in facts: distance, AUC, and how sure either is."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, ndtri

from pipelines.verify import bounds

Floats = npt.NDArray[np.float64]
ALPHA = 0.05  # of each one-sided bound


class Side(NamedTuple):
    """The items of one side that have a score, and how many have none."""

    scores: Floats
    facts: tuple[str, ...]
    undecided: int

    @property
    def n_facts(self) -> int:
        """Distinct facts among them."""
        return len(set(self.facts))


def distance(one: Floats, two: Floats) -> float:
    """The largest gap between two empirical distributions."""
    places = np.concatenate([one, two])
    shares = [np.searchsorted(np.sort(side), places, side="right") / len(side) for side in (one, two)]
    return float(np.abs(shares[0] - shares[1]).max())


def ks_p(gap: float, n: int, m: int) -> float:
    """Probability of at least this distance if both are one distribution (asymptotic, effective sample size)."""
    from scipy.stats import kstwo  # half a second to import

    return float(np.clip(kstwo.sf(gap, max(1, round(n * m / (n + m)))), 0.0, 1.0))


def band(facts: int) -> float:
    """How far an empirical distribution of so many facts is from the true one; both sides err at half the level."""
    return math.sqrt(math.log(2 / (ALPHA / 2)) / (2 * facts))


def auc(members: Floats, others: Floats) -> float:
    """Probability that a member's score is above another's; equal ones count half."""
    return float(placements(members, others).mean())


def placements(scores: Floats, among: Floats) -> Floats:
    """For each score the share of the others that lies below it; equal ones count half."""
    ordered = np.sort(among)
    below = np.searchsorted(ordered, scores, side="left") + np.searchsorted(ordered, scores, side="right")
    return np.asarray(below / (2 * len(among)), dtype=np.float64)


def bounded_auc(one: Side, two: Side) -> tuple[float, float, float]:
    """The AUC and its one-sided bounds; never prouder than complete order between so few facts would be."""
    above, below = placements(one.scores, two.scores), 1 - placements(two.scores, one.scores)
    value = float(above.mean())
    fewest = min(one.n_facts, two.n_facts)
    best_lower = bounds.clopper_pearson(fewest, fewest, "lower", 1 - ALPHA)
    best_upper = bounds.clopper_pearson(0, fewest, "upper", 1 - ALPHA)
    if value in (0.0, 1.0):
        return value, min(value, best_lower), max(value, best_upper)
    names = sorted({*one.facts, *two.facts})
    place = {fact: n for n, fact in enumerate(names)}
    first = _by_fact(above - value, one.facts, place) / len(one.scores)
    second = _by_fact(below - value, two.facts, place) / len(two.scores)
    # Any greater factor lets the sum fall below 0 where few facts are on both sides.
    shared = math.sqrt(_spread(one.n_facts) * _spread(two.n_facts))
    variance = (
        _spread(one.n_facts) * float(first @ first)
        + _spread(two.n_facts) * float(second @ second)
        + 2 * shared * float(first @ second)
    )
    width = ndtri(1 - ALPHA) * math.sqrt(max(variance, 0.0)) / (value * (1 - value))
    lower, upper = float(expit(logit(value) - width)), float(expit(logit(value) + width))
    return value, min(lower, best_lower), max(upper, best_upper)


def _by_fact(values: Floats, facts: Sequence[str], place: dict[str, int]) -> Floats:
    sums = np.bincount([place[fact] for fact in facts], weights=values, minlength=len(place))
    return sums.astype(np.float64)


def _spread(count: int) -> float:
    return count / (count - 1) if count > 1 else 1.0


def bootstrap_aucs(
    ours: Side, theirs: Side, held: Side, held_theirs: Side, seed: int, resamples: int = bounds.RESAMPLES
) -> tuple[Floats, Floats]:
    """AUCs of both models over the same draws of facts, on each side."""
    rng = np.random.default_rng(seed)
    rows, columns = _belongs(ours.facts), _belongs(held.facts)
    drawn_rows, drawn_columns = (
        rng.multinomial(len(one), np.full(len(one), 1 / len(one)), size=resamples).astype(np.float64)
        for one in (rows, columns)
    )
    pairs = (drawn_rows @ rows.sum(axis=1)) * (drawn_columns @ columns.sum(axis=1))
    found = []
    for members, others in ((ours, held), (theirs, held_theirs)):
        above, level = members.scores[:, None] > others.scores, members.scores[:, None] == others.scores
        wins = rows @ (above + level / 2) @ columns.T
        found.append(((drawn_rows @ wins) * drawn_columns).sum(axis=1) / pairs)
    return found[0], found[1]


def _belongs(facts: Sequence[str]) -> Floats:
    """1 where an item is of a fact: (facts, items)."""
    names, codes = np.unique(np.asarray(facts), return_inverse=True)
    return np.asarray(np.arange(len(names))[:, None] == codes, dtype=np.float64)
