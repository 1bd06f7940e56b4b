"""What an attack is given, and what it says."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from pipelines.rows import Probe, Secret, TrainRow
from pipelines.verify.backends import Backends
from pipelines.verify.results import Direction, Item

if TYPE_CHECKING:
    from pipelines.model import LoadedModel

Tier = Literal[0, 1, 2]
State = Literal["measured", "undecided", "not_run"]
Measure = Literal["kfr", "leak_at_k", "hits", "any_of_k", "auc", "interference", "used"]
"""``kfr``: KFR under the attack. ``leak_at_k``, ``hits``, ``any_of_k``: shares of probes or facts whose secret is told.
``auc``: of a membership test. ``used``: facts given in the prompt that the answer uses, where more is better."""
Progress = Callable[[str, int, int], None]  # attack, done, of how many


class AttackSettings(BaseModel):
    """Budgets. The defaults fit a small model on two cores."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_new_tokens: int = Field(default=64, ge=1)
    max_batch_tokens: int = Field(default=16384, ge=1)
    samples: int = Field(default=128, ge=1)
    probes_per_fact: int = Field(default=2, ge=1)
    relearn_steps: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(10, 30), min_length=1)
    leaked_share: float = Field(default=0.5, ge=0, le=1)
    utility_drop_max: float = Field(default=0.05, ge=0, le=1)
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class AttackContext:
    """One adapter under attack; texts in it are personal data and stay in memory.

    Attributes:
        loaded: The base with the adapter on; ``adapter_disabled()`` is the base.
        adapter: Directory of the adapter.
        forget: Forget probes of every subject that is attacked.
        retain: Probes about others: what an attack may not cost (a quantised model that lost everything shows nothing).
        secrets: What is forgotten, of every subject erased so far; no row that an attack trains on benignly holds it.
        erased: Names of every subject erased so far; no such row may hold one.
        benign: Rows about others and about no one, for benign fine-tuning; none about anybody erased.
        forgotten: KFR without any attack, by subject.
        control: A model that never saw the subjects, attacked in the same way; None where there is none.
        earlier: Adapter directories of earlier releases, oldest first.
        holdout: Probes about people who were never in the corpus, drawn as the forgotten were.
        backends: The judges.
        settings: Budgets.
        progress: Told attack, done, total.
        should_cancel: Asked now and then.
    """

    loaded: "LoadedModel"
    adapter: Path
    forget: tuple[Probe, ...]
    retain: tuple[Probe, ...] = ()
    secrets: tuple[Secret, ...] = ()
    erased: frozenset[str] = frozenset()
    benign: tuple[TrainRow, ...] = ()
    forgotten: Mapping[str, float] = field(default_factory=dict)
    control: "LoadedModel | None" = None
    earlier: tuple[Path, ...] = ()
    holdout: tuple[Probe, ...] = ()
    backends: Backends = field(default_factory=Backends)
    settings: AttackSettings = field(default_factory=AttackSettings)
    progress: Progress | None = None
    should_cancel: Callable[[], bool] | None = None


class SubjectResult(BaseModel):
    """One subject under one attack.

    ``control``, and the paired difference to it with its upper bound, are of the same subject's items; None where no
    control was attacked.
    """

    model_config = ConfigDict(frozen=True)

    value: float | None
    lower: float | None = None
    upper: float | None = None
    n: int = 0
    facts: int = 0
    undecided: int = 0
    control: float | None = None
    over_control: float | None = None
    over_control_upper: float | None = None


class AttackResult(BaseModel):
    """What one attack, in one variant, came to. Ids and figures, no text.

    Attributes:
        name: Attack, and variant after a colon: ``relearn_leaked:30``.
        tier: Its price.
        measure: What ``value`` is; None where the attack failed before it could say.
        value: Over all probes of all subjects; None where it was not run.
        lower: One-sided 95 % bound, resampled by fact.
        upper: The other one.
        bound_method: How they were found.
        n: Items that were scored.
        facts: Distinct facts among them.
        undecided: Items that no judge could score: they count for nothing.
        before: The same figure without the attack.
        control: The same attack on the control; None where there is none.
        direction: Which way is better for the subject.
        worst: The subject with the worst value; an opaque reference.
        subjects: By subject.
        seconds: Wall time.
        budget: What it was allowed and what it used.
        state: ``not_run`` and ``undecided`` say why in ``note``.
        inapplicable: ``not_run`` because there is nothing here to attack (no other language in the corpus, no earlier
            release, a base that breaks by itself), not because something that could be given is missing: it is no pass,
            and no verdict waits for it.
        source: Where the attack is described.
        note: What a reader must know.
        parts: Further figures (share of 4-bit codes changed, block size, loss of utility).
        items: Score of each probe.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    tier: Tier
    measure: Measure | None
    value: float | None = None
    lower: float | None = None
    upper: float | None = None
    bound_method: str | None = None
    n: int = 0
    facts: int = 0
    undecided: int = 0
    before: float | None = None
    control: float | None = None
    direction: Direction = "higher"
    worst: str | None = None
    subjects: dict[str, SubjectResult] = {}
    seconds: float = 0.0
    budget: dict[str, float] = {}
    state: State = "measured"
    inapplicable: bool = False
    source: str = ""
    note: str | None = None
    parts: dict[str, float | None] = {}
    items: tuple[Item, ...] = ()


class Attack(Protocol):
    """One attack.

    Attributes:
        name: Registered name, lower case.
        tier: Its price.
        source: Where it is described.
    """

    name: ClassVar[str]
    tier: ClassVar[Tier]
    source: ClassVar[str]

    def run(self, context: AttackContext) -> Iterable[AttackResult]:
        """Attack, in every variant; what it changes of the model it puts back."""
        ...
