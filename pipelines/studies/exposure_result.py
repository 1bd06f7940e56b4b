"""What an exposure study says: steps until exposure is none, and the utility that is left there, by stratum."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

Look = Mapping[str, Any]
STRATA = ("all", "memorised", "hardly memorised", "difficult", "easy")


class Crossing(NamedTuple):
    """One run, one stratum.

    Attributes:
        method: Of the run.
        forget_set: ``id`` or ``ood``.
        stratum: ``all``, or the half of the items above or below the median of memorisation or difficulty.
        n: Its items.
        steps_to_tau: First look at which the mean GenEx a token lies within ±tau; None: at none.
        equivalent_at: First look at which its whole 90 % interval does; of ``all`` only.
        zero_at: Step at which the mean GenEx passes 0, between two looks by a straight line; None: it does not.
        utility_at_zero: Share of unseen questions about kept facts that are right there, of the base's.
        utility_end: The same at the last look.
    """

    method: str
    forget_set: str
    stratum: str
    n: int
    steps_to_tau: int | None
    equivalent_at: int | None
    zero_at: float | None
    utility_at_zero: float | None
    utility_end: float | None


def crossings(result: Mapping[str, Any]) -> list[Crossing]:
    """One line for every run and stratum."""
    tau = result["settings"]["tau"]
    found = []
    for run in result["runs"]:
        for stratum, places in strata(result["sets"][run["set"]]).items():
            found.append(_crossing(run, stratum, places, tau))
    return found


def strata(items: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Places of the items in each stratum; an item at the median is in the lower half."""
    found: dict[str, list[int]] = {"all": list(range(len(items)))}
    for key, above, below in (("memorisation", *STRATA[1:3]), ("difficulty", *STRATA[3:5])):
        middle = median(item[key] for item in items)
        found[above] = [place for place, item in enumerate(items) if item[key] > middle]
        found[below] = [place for place, item in enumerate(items) if item[key] <= middle]
    return found


def curve(looks: Sequence[Look], places: Sequence[int]) -> list[float | None]:
    """Mean GenEx a token of some items at every look."""
    means = []
    for look in looks:
        values = [value for place in places if (value := look["items"][place]) is not None]
        means.append(sum(values) / len(values) if values else None)
    return means


def utilities(looks: Sequence[Look]) -> list[float | None]:
    """Share of unseen questions about kept facts that are right, of that before the first step; None without any."""
    first = looks[0]["right_test"]
    return [look["right_test"] / first if first else None for look in looks]


def _crossing(run: Mapping[str, Any], stratum: str, places: Sequence[int], tau: float) -> Crossing:
    looks = run["looks"]
    means, useful = curve(looks, places), utilities(looks)
    steps = [look["step"] for look in looks]
    near = [step for step, mean in zip(steps, means, strict=True) if mean is not None and abs(mean) < tau]
    equal = [look["step"] for look in looks if look["gen_ex_token"]["state"] == "equivalent"]
    zero, left = _at_zero(steps, means, useful)
    return Crossing(
        method=run["method"],
        forget_set=run["set"],
        stratum=stratum,
        n=len(places),
        steps_to_tau=near[0] if near else None,
        equivalent_at=equal[0] if equal and stratum == "all" else None,
        zero_at=zero,
        utility_at_zero=left,
        utility_end=useful[-1],
    )


def _at_zero(
    steps: Sequence[int], means: Sequence[float | None], useful: Sequence[float | None]
) -> tuple[float | None, float | None]:
    """Step and utility where the mean first comes down to 0."""
    for place in range(1, len(steps)):
        before, after = means[place - 1], means[place]
        if before is None or after is None or before <= 0 or after > 0:
            continue
        share = before / (before - after)
        step = steps[place - 1] + share * (steps[place] - steps[place - 1])
        had, has = useful[place - 1], useful[place]
        return step, None if had is None or has is None else had + share * (has - had)
    return None, None
