"""Which metrics are run on which group of answers. Adding one touches its own file and this package's list only."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from pipelines.verify.answers import Answer
from pipelines.verify.backends import Backends
from pipelines.verify.kfr_krr import Coverage
from pipelines.verify.results import MetricResult
from pipelines.verify.token_scores import TokenScores
from pipelines.verify.values import ValueIndex
from policies.errors import LetheError

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
        tokens: Teacher-forced scores of the gold answers, aligned with ``answers``; None: not asked for.
        base_tokens: The same under the base.
        control_tokens: The same under a control, which never saw the subject; None: there is no control.
        twin_tokens: For each answer, the scores of its gold answer's twins; None: no twins were given.
        lens: Why the logit lens was not run; None: it was (where a probe's scores have no reading, it had no place).
        seed: Of the bootstraps.
    """

    group: Group
    answers: tuple[Answer, ...]
    coverage: tuple[Coverage, ...]
    backends: Backends
    others: ValueIndex | None = None
    own_values: tuple[str, ...] = ()
    reference_ppl: float | None = None
    tokens: tuple[TokenScores, ...] | None = None
    base_tokens: tuple[TokenScores, ...] | None = None
    control_tokens: tuple[TokenScores, ...] | None = None
    twin_tokens: tuple[tuple[TokenScores, ...], ...] | None = None
    lens: str | None = "no likelihoods were asked for"
    seed: int = 0

    def __post_init__(self) -> None:
        aligned = (self.tokens, self.base_tokens, self.control_tokens, self.twin_tokens, self.coverage or None)
        if any(scores is not None and len(scores) != len(self.answers) for scores in aligned):
            raise LetheError("verify.misaligned", "There are not as many scores as answers.")


Metric = Callable[[Context], Iterable[MetricResult]]
_METRICS: dict[str, tuple[frozenset[Group], Metric]] = {}
_LIKELIHOOD: set[str] = set()


def metric(name: str, *groups: Group, likelihood: bool = False) -> Callable[[Metric], Metric]:
    """Register a metric for groups of answers.

    Args:
        name: New among the metrics.
        groups: At least one.
        likelihood: Whether it reads teacher-forced scores, which answers in a file do not have.

    Raises:
        ValueError: The name is taken or no group is named.
    """

    def register(function: Metric) -> Metric:
        if name in _METRICS or not groups:
            raise ValueError(f"metric {name!r}: its name must be new and it needs a group")
        _METRICS[name] = (frozenset(groups), function)
        if likelihood:
            _LIKELIHOOD.add(name)
        return function

    return register


def run_all(context: Context, *, likelihood: bool = True) -> dict[str, MetricResult]:
    """Every metric of the context's group, by its key in a report; those that read likelihoods only if asked for."""
    found = (
        result
        for name, (groups, function) in _METRICS.items()
        if context.group in groups and (likelihood or name not in _LIKELIHOOD)
        for result in function(context)
    )
    return {result.key: result for result in found}
