"""The answers of one model, read by subject: which metrics see which answers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from pipelines.rows import Probe, ProbeGroup
from pipelines.verify import metrics
from pipelines.verify.answers import Answer, answer_of
from pipelines.verify.backends import Backends
from pipelines.verify.kfr_krr import Coverage
from pipelines.verify.likelihoods import Compared
from pipelines.verify.measurement import SubjectMeasurement
from pipelines.verify.metrics import Context, Group
from pipelines.verify.results import MetricResult
from pipelines.verify.values import ValueIndex


class Scorer(NamedTuple):
    """The answers of one model, read per subject."""

    probes: Sequence[Probe]
    answers: Sequence[Answer]
    coverage: Sequence[Coverage]
    backends: Backends
    reference: Mapping[str, str]
    nll: Mapping[tuple[str, str], float]
    others: ValueIndex | None
    compared: Compared | None
    seed: int

    def subject(self, subject: str) -> SubjectMeasurement:
        """One subject's forget probes, own public probes and reference sentences."""
        mine = [i for i, p in enumerate(self.probes) if (p.subject or "") == subject]
        forget = [i for i in mine if self.probes[i].group is ProbeGroup.FORGET]
        own = [i for i in mine if self.probes[i].group is ProbeGroup.OWN_PUBLIC]
        reference = metrics.run_all(self._reference_context(forget)) if self.reference else {}
        ppl = reference["ppl_median"].value if reference else None
        values = tuple(dict.fromkeys(value for i in mine if (value := self.probes[i].value)))
        return SubjectMeasurement(
            forget=metrics.run_all(self._context("forget", forget, values, ppl)),
            own_public=metrics.run_all(self._context("own_public", own)) if own else {},
            reference=reference,
        )

    def retain(self) -> dict[str, MetricResult]:
        """Other people's facts."""
        chosen = [i for i, p in enumerate(self.probes) if p.group is ProbeGroup.RETAIN]
        return metrics.run_all(self._context("retain", chosen)) if chosen else {}

    def _context(
        self, group: Group, chosen: Sequence[int], own_values: tuple[str, ...] = (), ppl: float | None = None
    ) -> Context:
        context = Context(
            group=group,
            answers=tuple(self.answers[i] for i in chosen),
            coverage=tuple(self.coverage[i] for i in chosen),
            backends=self.backends,
            others=self.others,
            own_values=own_values,
            reference_ppl=ppl,
            seed=self.seed,
        )
        if self.compared is None:
            return context
        probes, found = [self.probes[i] for i in chosen], self.compared
        return replace(
            context,
            tokens=found.now.of(probes),
            base_tokens=found.base.of(probes) if found.base else None,
            control_tokens=found.control.of(probes) if found.control else None,
            twin_tokens=found.now.twins_of(probes),
            lens=found.now.lens,
        )

    def _reference_context(self, forget: Sequence[int]) -> Context:
        chosen = [self.probes[i] for i in forget if self.probes[i].probe_id in self.reference]
        texts = [self.reference[p.probe_id] for p in chosen]
        return Context(
            group="reference",
            answers=tuple(
                answer_of(p, text, self.nll.get((p.question, text))) for p, text in zip(chosen, texts, strict=True)
            ),
            coverage=(),
            backends=self.backends,
            seed=self.seed,
        )
