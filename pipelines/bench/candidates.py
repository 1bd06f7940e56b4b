"""Who takes part, with which learning rates and steps, and what each trial of the search may choose.

docs/benchmark.md tells what changed after a run. Every method gets the same number of trials on the same grid around
its own centre; the quick run takes the centre as it stands.
"""

from dataclasses import dataclass, field
from typing import Any

from pipelines.bench import as_published
from pipelines.unlearn.registry import Stream, method, methods
from pipelines.unlearn.settings import UnlearnSettings

BATCH_TOKENS = 1024
_ALIASES = frozenset({"ga"})
# Multiples of the centre's learning rate and passes, in the order of the trials: the first is the centre itself.
GRID: tuple[tuple[float, float], ...] = ((1.0, 1.0), (2.0, 0.75), (0.5, 1.5), (1.4, 1.5), (0.7, 0.75), (3.0, 1.0))
RELEARN = ("relearn", "relearn_npo", "relearn_dpo", "relearn_robust")
PLAIN = "relearn"


@dataclass(frozen=True, slots=True)
class Centre:
    """Where a method's search begins.

    Attributes:
        rate: Peak learning rate of the LoRA.
        passes: Passes over the rows that its first stream is made of, whatever the method's own pace.
        extra: Further settings, as published.
    """

    rate: float
    passes: float
    extra: dict[str, Any] = field(default_factory=dict)


CENTRES: dict[str, Centre] = {
    "relearn": Centre(7e-3, 3.0),
    "relearn_npo": Centre(7e-3, 3.0),
    "relearn_dpo": Centre(7e-3, 3.0),
    "relearn_robust": Centre(7e-3, 3.0),
    as_published.NAME: Centre(7e-3, 3.0),
    "grad_ascent": Centre(1e-3, 3.0),
    "grad_diff": Centre(2e-3, 10.0),
    "npo": Centre(5e-3, 10.0),
    "simnpo": Centre(5e-3, 10.0),
    "dpo": Centre(5e-3, 10.0),
    "idk_nll": Centre(5e-3, 10.0),
    "rmu": Centre(5e-3, 10.0),
    "undial": Centre(5e-3, 10.0, {"undial_retain_weight": 1.0}),
    "wga": Centre(2e-3, 10.0),
    "satimp": Centre(5e-3, 10.0),
}
_UNKNOWN_RAISING, _UNKNOWN_LOWERING = Centre(5e-3, 3.0), Centre(2e-3, 10.0)


def competitors(chosen: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Every registered method once and ReLearn as published, or those that were asked for, in a fixed order.

    Raises:
        LetheError: ``unlearn.unknown_method``.
    """
    known = [name for name in methods() if name not in _ALIASES]
    for name in chosen:
        if name != as_published.NAME:
            method(name)
    wanted = chosen or (*known, as_published.NAME)
    order = list(CENTRES)
    return tuple(sorted(dict.fromkeys(wanted), key=lambda name: (order.index(name) if name in order else 99, name)))


def centre(name: str) -> Centre:
    """The centre of a method's search; one that was registered later gets that of its kind."""
    if name in CENTRES:
        return CENTRES[name]
    return _UNKNOWN_RAISING if Stream.AUGMENTED in method(name).streams else _UNKNOWN_LOWERING


def settings_of(name: str, seed: int, *, rate: float = 1.0, passes: float = 1.0, **changes: Any) -> UnlearnSettings:
    """The settings of one run.

    Args:
        name: The method.
        seed: Of the adapter's start and the order of the rows.
        rate: Multiple of the centre's learning rate.
        passes: Multiple of its passes.
        changes: Further settings.
    """
    begin = centre(name)
    pace = 1.0 if name == as_published.NAME else method(name).passes
    return UnlearnSettings(
        method="relearn" if name == as_published.NAME else name,
        learning_rate=begin.rate * rate,
        passes=begin.passes * passes / pace,
        min_steps=10,
        batch_tokens=BATCH_TOKENS,
        seed=seed,
        checkpoint_every=10_000,  # a unit of the benchmark is run again as a whole
        **{**begin.extra, **changes},
    )


def trials(count: int) -> tuple[tuple[float, float], ...]:
    """The multiples that every method tries; none without a search."""
    return GRID[:count]


ABLATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "no neighbour questions": ("relearn_npo", {"neighbour_questions": 0}),
    "3 neighbour questions": ("relearn_npo", {"neighbour_questions": 3}),
    "NPO weight 0": ("relearn_npo", {"npo_weight": 0.0}),
    "NPO weight 0.1": ("relearn_npo", {"npo_weight": 0.1}),
    "NPO weight 1": ("relearn_npo", {"npo_weight": 1.0}),
    "learning rate x 0.5": ("relearn_npo", {"rate": 0.5}),
    "learning rate x 2": ("relearn_npo", {"rate": 2.0}),
    "steps x 0.5": ("relearn_npo", {"passes": 0.5}),
    "steps x 2": ("relearn_npo", {"passes": 2.0}),
    "npo: the centre": ("npo", {}),
    "npo: ReLearn's kept rows": ("npo", {"kept": "augmented"}),
    "npo: ReLearn's kept rows, KL to the base": ("npo", {"kept": "augmented", "retain_loss": "kl"}),
}
"""One factor at a time on the validation slice: from the centre of ``relearn_npo``, and what ReLearn's kept rows are
worth to a method that has them as they stand."""
