"""Everything that a verdict looks at."""

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from pipelines.verify.attacks.suite import AttackSuite
from pipelines.verify.measure import Measurement
from pipelines.verify.results import MetricResult
from policies.thresholds import Thresholds


class EarlierRelease(BaseModel):
    """What an earlier subject reached in its own release, to be compared with now.

    Attributes:
        kfr: Share of forget probes forgotten.
        own_public: KRR of the subject's own kept facts.
        named: Share of forget answers that named the subject.
        fluent: Share of forget answers that were forgotten and fluent.
    """

    model_config = ConfigDict(frozen=True)

    kfr: float
    own_public: float | None = None
    named: float | None = None
    fluent: float | None = None


class Case(NamedTuple):
    """Everything that a verdict looks at; ``decide`` says what each part is."""

    now: Measurement
    base: Measurement
    limits: Thresholds
    earlier: Mapping[str, EarlierRelease]
    control: Measurement | None
    beside: Mapping[str, Mapping[str, MetricResult]]
    attacks: AttackSuite | None = None
    earlier_attacks: AttackSuite | None = None
