"""The same attack on a model that never knew: what the model under attack tells beyond it, item by item."""

from collections.abc import Sequence
from typing import NamedTuple

from pipelines.verify import bounds
from pipelines.verify.results import Item

NO_CONTROL = "no control: what a model that never knew would say is not taken off"


class Difference(NamedTuple):
    """Mean of score minus the control's score, with one-sided 95 % bounds."""

    value: float
    lower: float
    upper: float
    n: int

    def parts(self) -> dict[str, float | None]:
        """As figures of a result."""
        return {
            "over_control": self.value,
            "over_control_lower": self.lower,
            "over_control_upper": self.upper,
            "over_control_n": float(self.n),
        }


def over_control(items: Sequence[Item], control: Sequence[Item], *, seed: int = 0) -> Difference | None:
    """The mean difference over items that both could be scored on, facts resampled in pairs.

    The bounds are never nearer the mean than Clopper-Pearson's would be if all facts agreed: with few facts a bootstrap
    of equal differences has no spread at all.

    Args:
        items: Scores under attack.
        control: The control's, on the same probes.
        seed: Of the resampling.

    Returns:
        None where no item was scored on both.
    """
    theirs = {item.probe: item.score for item in control}
    pairs = [
        (item.fact, item.score, other)
        for item in items
        if item.score is not None and (other := theirs.get(item.probe)) is not None
    ]
    if not pairs:
        return None
    facts, mine, other_scores = ([pair[place] for pair in pairs] for place in range(3))
    found = bounds.bootstrap_means(
        [str(fact) for fact in facts],
        [[float(one) for one in mine], [float(one) for one in other_scores]],
        lambda means: means[:, 0] - means[:, 1],
        seed=bounds.seed_of("over_control", seed),
    )
    value = sum(float(a) - float(b) for _, a, b in pairs) / len(pairs)
    room = bounds.clopper_pearson(0, len(set(facts)), "upper")
    return Difference(
        value, max(-1.0, min(found.lower, value - room)), min(1.0, max(found.upper, value + room)), len(pairs)
    )
