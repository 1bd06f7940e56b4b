"""What a run of the benchmark is told, and the stored settings of the quick one."""

from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.bench import candidates
from pipelines.bench.bases import BaseRecipe, Kind
from policies.errors import LetheError

QUICK_ATTACKS = ("leak_at_k", "prefix_injection", "quantised", "relearn_leaked")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings:
    """What a run of the benchmark is told.

    Attributes:
        quick: A smoke run: marked as such everywhere.
        people: The first so many subjects; None for all.
        kinds: Which bases, the one that is searched on first.
        seeds: Of bases and unlearning, of the first base; the others take the first of them alone.
        trials: Trials of each method's search; 0: the stored settings.
        slice_people: Subjects of the validation slice that trials erase.
        methods: Names; all where empty.
        recipe: How bases are made.
        forget_p: Unseen phrasings of each erased row.
        retain_p: Unseen phrasings of kept rows in all.
        val_limit: At most so many validation rows of each kind.
        neighbour_questions: Of the augmenter, a fact.
        attacks: Names; all of tiers 0 and 1 where empty.
        attack_seeds: Of each method's final runs so many are attacked.
        attack_per_subject: Unseen phrasings of each subject that attacks ask, beside the validation questions.
        samples: Of leak@k.
        ablations: Whether one-factor ablations run.
        device: Where; None: the GPU where there is one.
    """

    quick: bool = False
    people: int | None = None
    kinds: tuple[Kind, ...] = ("phrased", "plain")
    seeds: tuple[int, ...] = (0, 1, 2)
    trials: int = 3
    slice_people: int = 12
    methods: tuple[str, ...] = ()
    recipe: BaseRecipe = field(default_factory=BaseRecipe)
    forget_p: int = 1
    retain_p: int = 200
    val_limit: int | None = None
    neighbour_questions: int = 6
    attacks: tuple[str, ...] = ()
    attack_seeds: int = 1
    attack_per_subject: int = 4
    samples: int = 128
    ablations: bool = True
    device: str | None = None

    def __post_init__(self) -> None:
        faults = [
            *(["seeds must not be empty"] if not self.seeds else []),
            *(["kinds must name a base"] if not self.kinds else []),
            *(["people must be at least 2"] if self.people is not None and self.people < 2 else []),
            *(["samples must be at least 1"] if self.samples < 1 else []),
            *(["trials must be 0 to 6"] if not 0 <= self.trials <= len(candidates.GRID) else []),
        ]
        if faults:
            raise LetheError("bench.bad_settings", "The options of the benchmark cannot be used.", tuple(faults))


def quick_settings(**changes: Any) -> BenchSettings:
    """Twelve people, one base, stored settings, one seed, few attacks: to see that it works, and roughly how well."""
    made = BenchSettings(
        quick=True,
        people=12,
        kinds=("phrased",),
        seeds=(0,),
        trials=0,
        recipe=BaseRecipe(hedges=120),
        retain_p=60,
        attacks=QUICK_ATTACKS,
        attack_per_subject=2,
        samples=32,
        ablations=False,
    )
    return replace(made, **changes)
