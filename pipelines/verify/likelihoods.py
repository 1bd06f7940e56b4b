"""How likely a model finds the gold answers of probes, and their twins: one teacher-forced pass for all of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.rows import Probe, ProbeGroup
from pipelines.verify.token_scores import TokenScores
from policies.errors import LetheError

if TYPE_CHECKING:
    from pipelines.model import LoadedModel

Twins = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Likelihoods:
    """Teacher-forced scores under one model.

    Attributes:
        gold: Of each probe's gold answer, by probe id.
        twins: Of its twins, by probe id; probes without twins are missing. None: no twins were given.
        lens: Why the logit lens was not run; None: it was.
    """

    gold: Mapping[str, TokenScores]
    twins: Mapping[str, Sequence[TokenScores]] | None = None
    lens: str | None = "it was not asked for"

    def of(self, probes: Sequence[Probe]) -> tuple[TokenScores, ...]:
        """Scores of the probes' gold answers, in their order.

        Raises:
            LetheError: ``verify.misaligned``: a probe was not scored.
        """
        try:
            return tuple(self.gold[probe.probe_id] for probe in probes)
        except KeyError as error:
            raise LetheError("verify.misaligned", "The likelihoods are of other probes.") from error

    def twins_of(self, probes: Sequence[Probe]) -> tuple[tuple[TokenScores, ...], ...] | None:
        """Scores of each probe's twins; none for a probe without. None: no twins were given for any of them."""
        if self.twins is None or not any(self.twins.get(probe.probe_id) for probe in probes):
            return None
        return tuple(tuple(self.twins.get(probe.probe_id, ())) for probe in probes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The likelihoods that one measurement reads.

    Attributes:
        now: Of the model that is measured.
        base: Of the base; gold answers only.
        control: Of a control; None where there is none.
    """

    now: Likelihoods
    base: Likelihoods | None = None
    control: Likelihoods | None = None


def likelihoods(
    loaded: "LoadedModel",
    probes: Sequence[Probe],
    twins: Twins | None = None,
    *,
    lens: bool = False,
    max_batch_tokens: int = 16384,
    progress: Callable[[int, int], None] | None = None,
) -> Likelihoods:
    """Score every probe's gold answer and twins in one pass.

    Args:
        loaded: The model as it stands: with its adapter on, or within ``adapter_disabled()``.
        probes: Any.
        twins: Answers by probe id (``pipelines.verify.twins``, or a corpus' own wrong answers).
        lens: Whether to read the layers inside the model for forget probes, where it has 8 or more.
        max_batch_tokens: Tokens of one batch.
        progress: Told done and of how many after each batch; what it raises ends the pass.

    Raises:
        LetheError: ``verify.bad_logits``.
    """
    from pipelines.verify.lens import unfit
    from pipelines.verify.teacher_forced import Looked, teacher_forced

    given = twins or {}
    why = unfit(loaded) if lens else "it was not asked for"
    looked = {
        (p.question, p.answer): Looked(tuple(given.get(p.probe_id, ())), p.value)
        for p in probes
        if p.group is ProbeGroup.FORGET and why is None
    }
    pairs = [(probe.question, probe.answer) for probe in probes]
    also = [(probe, twin) for probe in probes for twin in given.get(probe.probe_id, ())]
    scores = teacher_forced(
        loaded,
        [*pairs, *((probe.question, twin) for probe, twin in also)],
        lens=looked or None,
        max_batch_tokens=max_batch_tokens,
        progress=progress,
    )
    told: dict[str, list[TokenScores]] = {}
    for (probe, _), score in zip(also, scores[len(probes) :], strict=True):
        told.setdefault(probe.probe_id, []).append(score)
    gold = {probe.probe_id: score for probe, score in zip(probes, scores[: len(probes)], strict=True)}
    return Likelihoods(gold=gold, twins=told if twins is not None else None, lens=why)
