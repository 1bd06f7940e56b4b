"""Which metrics are run on which group of answers. Adding one touches its own file and this package's list only."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from pipelines.verify.answers import Answer
from pipelines.verify.backends import Backends
from pipelines.verify.kfr_krr import Coverage
from pipelines.verify.results import MetricResult
from pipelines.verify.values import ValueIndex

Group = Literal["forget", "own_public", "retain", "reference"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Everything that the metrics of one group share, computed once.

    Attributes:
        group: Which answers these are.
        answers: The answers; their texts stay in memory.
        coverage: Entity coverage of each answer; empty for the reference group, which has no gold answers.
        backends: The judges.
        others: Private values of other people; None where none were given.
        own_values: Values that are not another's: the subject's own.
        reference_ppl: Median perplexity of the reference sentences, if known.
        seed: Of the bootstraps.
    """

    group: Group
    answers: tuple[Answer, ...]
    coverage: tuple[Coverage, ...]
    backends: Backends
    others: ValueIndex | None = None
    own_values: tuple[str, ...] = ()
    reference_ppl: float | None = None
    seed: int = 0


Metric = Callable[[Context], Iterable[MetricResult]]
_METRICS: dict[str, tuple[frozenset[Group], Metric]] = {}


def metric(name: str, *groups: Group) -> Callable[[Metric], Metric]:
    """Register a metric for groups of answers.

    Raises:
        ValueError: The name is taken or no group is named.
    """

    def register(function: Metric) -> Metric:
        if name in _METRICS or not groups:
            raise ValueError(f"metric {name!r}: its name must be new and it needs a group")
        _METRICS[name] = (frozenset(groups), function)
        return function

    return register


def run_all(context: Context) -> dict[str, MetricResult]:
    """Every metric of the context's group, by its key in a report."""
    found = (
        result for groups, function in _METRICS.values() if context.group in groups for result in function(context)
    )
    return {result.key: result for result in found}
