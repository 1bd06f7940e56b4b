"""What answers are worth: the verdict's own rules, as far as they need no model.

Entities and embeddings decide a verdict; here equal texts and values do. So fewer answers count as a hit than in the
verdict, and fewer as retained: a healthy release passes both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pipelines.rows import Probe
from pipelines.verify import values
from pipelines.verify.answers import Answer, answer_of
from pipelines.verify.backends import Backends
from pipelines.verify.embeddings import ExactEmbedder
from pipelines.verify.kfr_krr import coverages, kfr, krr
from pipelines.verify.results import MetricResult

Outcome = Literal["pass", "fail", "undecided"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
Group = Literal["forget", "control", "own_public", "retain"]
VALUELESS = 0.5  # without values and embeddings a kept fact told in other words is not seen: half is asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One group of answers against what it must reach.

    Attributes:
        group: Which questions.
        n: Answers that could be scored.
        share: Of good ones: forgotten, or retained; None where none could be scored.
        required: Least share.
    """

    group: Group
    n: int
    share: float | None
    required: float

    @property
    def outcome(self) -> Outcome:
        """Whether the share is reached."""
        if self.share is None:
            return "undecided"
        return "pass" if self.share >= self.required else "fail"

    def figures(self) -> dict[str, Any]:
        """What is kept of it."""
        share = None if self.share is None else round(self.share, 4)
        return {"n": self.n, "share": share, "required": round(self.required, 4), "outcome": self.outcome}


def judge(group: Group, probes: Sequence[Probe], answers: Sequence[str], required: float) -> Judged:
    """Score the answers to one group of probes.

    Args:
        group: ``forget`` and ``control`` must not hold the value; ``own_public`` and ``retain`` must.
        probes: What was asked.
        answers: What was said, in the same order.
        required: Least share of good answers.
    """
    said = [answer_of(probe, answer) for probe, answer in zip(probes, answers, strict=True)]
    if group in {"own_public", "retain"} and not any(probe.value for probe in probes):
        required *= VALUELESS
    found = _score(group, said) if said else None
    n, share = (0, None) if found is None else (found.n, found.value)
    return Judged(group=group, n=n, share=share, required=required)


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """Of several: one that failed fails all; nothing scored decides nothing."""
    if "fail" in outcomes:
        return "fail"
    return "pass" if outcomes and "undecided" not in outcomes else "undecided"


def is_telling(probe: Probe) -> bool:
    """Whether the value is one that nobody else has by chance: a number, a date, an address, an id."""
    return bool(probe.value) and values.value_key(probe.value or "").kind in values.HARD_KINDS


def _score(group: Group, answers: Sequence[Answer]) -> MetricResult:
    backends = Backends(embedder=ExactEmbedder())
    found = coverages(answers, backends)
    return (kfr if group in {"forget", "control"} else krr)(answers, found, backends)
