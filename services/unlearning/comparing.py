"""What a verdict compares with: a control that never saw the run's people, and twins of their gold answers."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.corpus.index import SubjectIndex
from pipelines.rows import Probe, ProbeGroup
from policies.errors import LetheError
from policies.record import Record
from services.controls import find_for_tickets, train_for_tickets
from services.corpus_index import index_path
from services.unlearning import material
from services.unlearning.samples import holdout, some_retained

if TYPE_CHECKING:
    from pipelines.control.card import ControlCard
    from pipelines.corpus.fresh import Form
    from pipelines.model import LoadedModel
    from pipelines.verify.measure import Measurement
    from pipelines.verify.results import MetricResult
    from services.unlearning.operations import Bench
    from services.unlearning.verifying import Asked, Progress

KEPT_ASKED = 60  # facts that every model knows: whether the control's states fit the base at all
HOLDOUT_PEOPLE = 3  # some 270 questions each, in both forms; privleak needs a hundred
FORMS: tuple["Form", ...] = ("held_out", "trained")
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
    """Hold-out twins of gold answers and rows, with values of other people or of nobody, none of anybody erased."""
    subjects = people_of(bench, asked)
    records = [r for s in subjects for r in (*s.forget, *s.retain, *s.neighbours, *s.hold_out)]
    forget = [record for subject in subjects for record in subject.forget]
    gone = {probe.fact for probe in asked.probes if probe.group is ProbeGroup.FORGET}
    gone |= {record.fact_id for record in forget}
    return twins_beside([*asked.forget, *own_rows(subjects)], records, forget, gone, asked.run.seed)


def twins_beside(
    asked: Sequence[Probe],
    records: Iterable[Record],
    forget: Iterable[Record],
    gone: Collection[str],
    seed: int,
) -> Mapping[str, tuple[str, ...]]:
    """Twins of gold answers from what a corpus says of others, and from values that it says of nobody.

    Args:
        asked: Whose gold answers.
        records: Of the corpus.
        forget: What is forgotten: of its categories are the values of nobody.
        gone: Facts that no twin is taken from.
        seed: Of the choices.
    """
    from pipelines.verify.twins import generated_values, pool_of, twins

    categories = {record.category for record in forget if record.category}
    fresh = generated_values(sorted(categories), 40, seed=seed + 7919)
    return twins(asked, pool_of(records, forgotten=gone, fresh=fresh), seed=seed)


def others_values(bench: "Bench", asked: "Asked") -> set[str]:
    """What no answer about the run's people may tell of somebody else.

    Everything that is asked about with a value, of everybody forgotten before and of each other's too, and what the
    corpus says of anybody in the categories that the run forgets, but for what the run's people keep. A person's own
    values are spared where the answers about that person are scored.
    """
    people = people_of(bench, asked)
    categories = {record.category for person in people for record in person.forget if record.category}
    kept = {record.value for person in people for record in person.own_public}
    with SubjectIndex(index_path(bench.installation)) as index:
        return {probe.value for probe in asked.probes if probe.value} | (index.values_of(categories) - kept)


def people_of(bench: "Bench", asked: "Asked") -> list[material.Subject]:
    """The run's people with their records."""
    with SubjectIndex(index_path(bench.installation)) as index, bench.store.read() as reading:
        return material.load_subjects(reading, asked.run.run_id, index)


def own_rows(subjects: Sequence[material.Subject]) -> list[Probe]:
    """What the base was trained on about the run's people, as probes; prose asks nothing and is left out."""
    return [
        row
        for subject in subjects
        for record in subject.forget
        if (row := trained_row(record, subject.subject_ref, subject.names)) is not None
    ]


def trained_row(record: Record, subject: str, names: Sequence[str]) -> Probe | None:
    """A record that the base was trained on, as a probe; None where it asks nothing."""
    if not record.question:
        return None
    return Probe(
        probe_id=f"row-{record.record_id}",
        group=ProbeGroup.FORGET,
        question=record.question,
        answer=record.answer,
        fact=record.fact_id,
        value=record.value,
        subject=subject,
        phrasing="trained",
        names=tuple(names),
    )


def beside(
    bench: "Bench",
    asked: "Asked",
    loaded: "LoadedModel",
    control: Compared,
    twins: Mapping[str, tuple[str, ...]],
    progress: "Progress",
) -> "dict[str, dict[str, MetricResult]]":
    """Forget quality, privleak and UDS of the run's people; nothing without a control."""
    from pipelines.verify.beside_control import Material, beside_control

    if control.loaded is None:
        return {}
    about = Material(
        forget=asked.forget,
        rows=own_rows(people_of(bench, asked)),
        kept=[probe for probe in some_retained(asked.mine, asked.run.seed) if probe.value][:KEPT_ASKED],
        holdout=[probe for form in FORMS for probe in holdout(bench, asked, HOLDOUT_PEOPLE, form)],
        twins=twins,
        cache=bench.run_directory(asked.run.run_id) / "uds",
        key=bench.digest_key,
        seed=asked.run.seed,
    )
    return beside_control(loaded, control.loaded, about, progress=progress)
