"""How far a model is from a control that never saw the subject: forget quality, privleak and UDS, subject by subject.

Forget quality and privleak need a hundred items a side, which the held-out questions about one person seldom are. So
the subject's own rows, on which the base was trained, are asked for beside them: both models are asked the same. The
depth score is taken at the held-out questions alone. Too few items are ``not_run``, never a pass.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.rows import Probe
from pipelines.verify import results
from pipelines.verify.likelihoods import Likelihoods, Twins, likelihoods
from pipelines.verify.results import Item, MetricResult

if TYPE_CHECKING:
    from pipelines.model import LoadedModel

FIGURES = ("forget_quality", "privleak", "uds")
NO_HOLDOUT = "there is no hold-out: people who were never in the corpus can be drawn only where it was generated"

Progress = Callable[[str, int, int], None]  # stage, done, of how many


@dataclass(frozen=True, kw_only=True)
class Material:
    """What the two models are asked; its texts are personal data and stay in memory.

    Attributes:
        forget: The held-out questions about the run's people.
        rows: Their own rows as the base was trained on them, as probes.
        kept: Facts that every model knows; without any UDS cannot tell whether the models' states fit.
        holdout: About people who were never in the corpus, in both forms; empty where nobody can draw them.
        twins: Of ``forget`` and ``rows``, by probe id.
        cache: Where the control's part of UDS is kept.
        key: Of digests over personal data, for the names of what is kept.
        seed: Of the bounds.
        max_batch_tokens: Bound on the tokens of one batch.
    """

    forget: Sequence[Probe]
    rows: Sequence[Probe] = ()
    kept: Sequence[Probe] = ()
    holdout: Sequence[Probe] = ()
    twins: Twins
    cache: Path | None = None
    key: bytes = b""
    seed: int = 0
    max_batch_tokens: int = 16384

    @property
    def asked(self) -> tuple[Probe, ...]:
        """Everything that is asked about the run's people."""
        return (*self.forget, *self.rows)


def beside_control(
    loaded: "LoadedModel", control: "LoadedModel", material: Material, *, progress: Progress | None = None
) -> dict[str, dict[str, MetricResult]]:
    """The three figures of each subject, by subject and name (``FIGURES``).

    Args:
        loaded: The model with its adapter on.
        control: A model that never saw the subjects, with the same tokens.
        material: What is asked.
        progress: Told stage, done, total; what it raises ends the work.

    Raises:
        LetheError: ``verify.bad_logits``.
    """
    ours, theirs = (
        _Sides.of(model, material, _stage(progress, f"{name} likelihood"))
        for name, model in (("adapter", loaded), ("control", control))
    )
    subjects = dict.fromkeys(probe.subject or "" for probe in material.forget)
    return {
        subject: {
            "forget_quality": _forget_quality(subject, material, ours, theirs),
            "privleak": _privleak(subject, material, ours, theirs),
            "uds": _depth(subject, loaded, control, material, progress),
        }
        for subject in subjects
    }


@dataclass(frozen=True)
class _Sides:
    """What one model says: likelihoods of answers and twins, and of the values alone, hold-out last."""

    likely: Likelihoods
    values: Sequence[Item]

    @classmethod
    def of(cls, model: "LoadedModel", material: Material, progress: Callable[[int, int], None] | None) -> "_Sides":
        from pipelines.verify.value_likelihood import value_items

        room = material.max_batch_tokens
        likely = likelihoods(model, material.asked, material.twins, max_batch_tokens=room, progress=progress)
        about = (*material.asked, *material.holdout) if material.holdout else ()
        return cls(likely, value_items(model, about, max_batch_tokens=room, progress=progress))


def _forget_quality(subject: str, material: Material, ours: _Sides, theirs: _Sides) -> MetricResult:
    from pipelines.verify.indistinguishable import forget_quality

    mine = [probe for probe in material.asked if (probe.subject or "") == subject]
    return forget_quality(_ratios(mine, ours.likely), _ratios(mine, theirs.likely))


def _ratios(probes: Sequence[Probe], likely: Likelihoods) -> list[Item]:
    """Truth ratios; their logarithm, which orders them alike and does not overflow."""
    from pipelines.verify.metrics.truth_ratio import log_ratio

    twins = likely.twins_of(probes) or [()] * len(probes)
    return [
        Item(probe=probe.probe_id, fact=probe.fact, score=log_ratio(gold, wrong))
        for probe, gold, wrong in zip(probes, likely.of(probes), twins, strict=True)
    ]


def _privleak(subject: str, material: Material, ours: _Sides, theirs: _Sides) -> MetricResult:
    from pipelines.verify.indistinguishable import privleak

    if not material.holdout:
        return results.not_run("privleak", NO_HOLDOUT, source="arXiv 2407.06460")
    last = len(material.asked)
    mine = [n for n, probe in enumerate(material.asked) if (probe.subject or "") == subject]
    sides = [([side.values[n] for n in mine], side.values[last:]) for side in (ours, theirs)]
    return privleak(*sides[0], *sides[1], seed=material.seed)


def _depth(
    subject: str, loaded: "LoadedModel", control: "LoadedModel", material: Material, progress: Progress | None
) -> MetricResult:
    from pipelines.verify.uds import UdsSettings, unlearning_depth

    return unlearning_depth(
        loaded,
        control,
        [probe for probe in material.forget if (probe.subject or "") == subject],
        kept=material.kept,
        cache=material.cache,
        key=material.key,
        settings=UdsSettings(max_batch_tokens=material.max_batch_tokens),
        seed=material.seed,
        progress=_stage(progress, "depth"),
    )


def _stage(progress: Progress | None, stage: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(stage, done, total)
