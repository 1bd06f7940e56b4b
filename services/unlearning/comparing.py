"""What a verdict compares with: a control that never saw the run's people, and twins of their gold answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.corpus.index import SubjectIndex
from pipelines.rows import Probe, ProbeGroup
from policies.errors import LetheError
from services.controls import find_for_tickets, train_for_tickets
from services.corpus_index import index_path
from services.unlearning import material

if TYPE_CHECKING:
    from pipelines.control.card import ControlCard
    from pipelines.model import LoadedModel
    from pipelines.verify.measure import Measurement
    from services.unlearning.operations import Bench
    from services.unlearning.verifying import Asked, Progress

CANCELLED = frozenset({"unlearn.cancelled", "control.cancelled"})
WITHOUT = (
    "KFR of a model that never saw the subject",
    "GenEx",
    "forget quality (KS test)",
    "privleak",
    "UDS",
    "leak@k and relearning over the control",
)
"""Figures that only a control can give; without one the exposure is told by hold-out twins (RelEx)."""


@dataclass(frozen=True)
class Compared:
    """A control, or why there is none.

    Attributes:
        loaded: The model.
        card: What is known about it.
        why: The code of what kept it away; None: nobody asked for it.
    """

    loaded: "LoadedModel | None" = None
    card: "ControlCard | None" = None
    why: str | None = None

    def measured(self, probes: Sequence[Probe], **ask: Any) -> "Measurement | None":
        """The same probes on the control."""
        from pipelines.verify.measure import measure

        if self.loaded is None:
            return None
        return measure(self.loaded, probes, likelihood=False, **ask).measurement

    def told(self) -> dict[str, Any]:
        """What the report says about it."""
        if self.card is None:
            return {"state": "not_run", "why": self.why, "missing": list(WITHOUT)}
        fields = ("name", "digest", "source", "seed", "records_left_out", "same_corpus", "seconds", "cached")
        shares = {"rest_right": self.card.rest_right, "left_out_right": self.card.left_out_right}
        return {"state": "measured", **{name: getattr(self.card, name) for name in fields}, **shares}


def control_of(
    bench: "Bench", asked: "Asked", progress: "Progress", should_cancel: Callable[[], bool] | None = None
) -> Compared:
    """The control of the run's tickets: trained where the policy requires one, else the one that is there, if any.

    A required control that cannot be had ends nothing: the verdict then stays open and says why.

    Args:
        bench: Base, store and settings.
        asked: The tickets and their thresholds.
        progress: Told of the training.
        should_cancel: Asked while the control trains, and while another process trains it.

    Raises:
        LetheError: ``unlearn.cancelled``.
    """
    from pipelines.model import load_model

    try:
        card = _card(bench, asked, progress, should_cancel)
        if card is None:
            return Compared()
        return Compared(load_model(Path(card.path), device=bench.base.device, dtype=bench.base.dtype), card)
    except LetheError as error:
        if error.code in CANCELLED:
            raise LetheError("unlearn.cancelled", "The verification was cancelled.") from error
        return Compared(why=error.code)


def _card(
    bench: "Bench", asked: "Asked", progress: "Progress", should_cancel: Callable[[], bool] | None
) -> "ControlCard | None":
    tickets = [ticket.ticket_id for ticket in asked.tickets]
    found = find_for_tickets(bench.installation, bench.store, tickets, bench.base.digest)
    if found is not None or asked.limits.control != "required":
        return found
    return train_for_tickets(
        bench.installation,
        bench.store,
        tickets,
        bench.base.path,
        report=lambda step: progress("training", step.step, step.steps),
        should_cancel=should_cancel,
    )


def twins_of(bench: "Bench", asked: "Asked") -> Mapping[str, tuple[str, ...]]:
    """Hold-out twins of the run's gold answers, with values of other people or of nobody, none of anybody erased."""
    from pipelines.verify.twins import generated_values, pool_of, twins

    with SubjectIndex(index_path(bench.installation)) as index, bench.store.read() as reading:
        subjects = material.load_subjects(reading, asked.run.run_id, index)
    records = [r for s in subjects for r in (*s.forget, *s.retain, *s.neighbours, *s.hold_out)]
    gone = {probe.fact for probe in asked.probes if probe.group is ProbeGroup.FORGET}
    gone |= {record.fact_id for subject in subjects for record in subject.forget}
    categories = {record.category for subject in subjects for record in subject.forget if record.category}
    fresh = generated_values(sorted(categories), 40, seed=asked.run.seed + 7919)
    pool = pool_of(records, forgotten=gone, fresh=fresh)
    forget = [probe for probe in asked.mine if probe.group is ProbeGroup.FORGET]
    return twins(forget, pool, seed=asked.run.seed)
