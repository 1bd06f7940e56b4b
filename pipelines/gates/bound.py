"""A bound that decides: met, missed, or out of reach of so few facts."""

from typing import NamedTuple

from pipelines.gates.gate import number
from pipelines.verify import bounds


class Bound(NamedTuple):
    """A one-sided 95 % bound, what is asked of it, and over how many facts it was drawn."""

    value: float | None
    limit: float
    least: bool
    facts: int

    @property
    def met(self) -> bool:
        """Whether it lies on the right side."""
        if self.value is None:
            return False
        return self.value >= self.limit - 1e-9 if self.least else self.value <= self.limit + 1e-9

    @property
    def within_reach(self) -> bool:
        """Whether so many facts could show it, did they all agree; a bound that could not be drawn shows nothing."""
        if self.value is None or not self.facts:
            return False
        nearest = bounds.clopper_pearson(0, self.facts, "upper")
        return nearest <= (1 - self.limit if self.least else self.limit) + 1e-9

    @property
    def words(self) -> str:
        """For a reason."""
        side, need = ("lower", "at least") if self.least else ("upper", "at most")
        return f"its {side} bound over {self.facts} facts is {number(self.value)}; {need} {self.limit:g} is needed"
