"""The verify operation: everyone's probes, the base beside, a control where there is one, the attacks, the verdict."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session as DbSession

from pipelines.gates.case import EarlierRelease
from pipelines.gates.retraining import could_help
from pipelines.rows import Probe, ProbeGroup
from policies.errors import LetheError
from policies.lifecycle import RunStatus
from policies.thresholds import Thresholds, strictest
from services import sealed_items
from services.patience import patiently
from services.store.runs import get_run, runs_of, tickets_of
from services.store.steps import steps_of
from services.store.tables import Run, Ticket
from services.store.tickets import decision_of
from services.store.types import utc_now
from services.unlearning import attacking, comparing, material
from services.unlearning.protocol import Session

if TYPE_CHECKING:
    from pipelines.verify.measure import Measurement, SubjectMeasurement
    from pipelines.verify.results import MetricResult
    from services.unlearning.operations import Bench

Result = dict[str, Any]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Asked:
    """What a verification works on.

    Attributes:
        run: The run.
        tickets: Its tickets.
        probes: Of the run's people, of everybody forgotten before, and of others; each once.
        earlier: Who was forgotten before.
        reached: What each of them reached in the own release.
        limits: The strictest of the tickets' thresholds.
        augmented: Keyed digest of the run's rows.
    """

    run: Run
    tickets: tuple[Ticket, ...]
    probes: tuple[Probe, ...]
    earlier: tuple[material.Earlier, ...]
    reached: dict[str, EarlierRelease]
    limits: Thresholds
    augmented: str

    @property
    def subjects(self) -> tuple[str, ...]:
        """The people of the run."""
        return tuple(ticket.subject_ref for ticket in self.tickets)

    @property
    def mine(self) -> tuple[Probe, ...]:
        """The probes without those about people forgotten before."""
        return tuple(probe for probe in self.probes if probe.subject is None or probe.subject in self.subjects)

    @property
    def forget(self) -> tuple[Probe, ...]:
        """The probes about what the run's people want forgotten."""
        return tuple(probe for probe in self.mine if probe.group is ProbeGroup.FORGET)


def verify(bench: "Bench", session: Session, run_id: str, directory: str) -> Result:
    """Measure an adapter on everyone's probes, attack it as the tickets' packs demand, and decide.

    Each finished attack is kept below the adapter's directory, so that a run that died goes on behind it.
    """
    from pipelines.verdict import decide

    asked = load(bench, run_id)
    control = comparing.control_of(bench, asked, teller(session, "control"), session.should_cancel)
    found = _found(bench, asked, session, bench.run_directory(run_id) / directory / "adapter", control)
    verdict = decide(
        found.now,
        found.base,
        asked.limits,
        subjects=asked.subjects,
        earlier=asked.reached,
        control=found.control,
        beside=found.beside,
        attacks=found.attacked.now,
        earlier_attacks=found.attacked.earlier,
    )
    attacks, again = found.attacked.now, found.attacked.earlier
    return {
        "outcome": verdict.outcome,
        "reasons": list(verdict.reasons),
        "training_could_help": could_help(verdict.gates),
        "verdict": verdict.model_dump(mode="json"),
        "reached": {ref: reached_by(one) for ref, one in found.now.subjects.items()},
        "attacks": attacking.stored(attacks) if attacks else None,
        "earlier_attacks": attacking.stored(again) if again else None,
        "control": control.told(),
        "scores": _seal_scores(bench, asked, found),
        "decided_at": utc_now().isoformat(),
        "directory": directory,
        "seconds": found.now.seconds,
    }


def _seal_scores(bench: "Bench", asked: Asked, found: "_Found") -> dict[str, str]:
    """Seal what the verdict's figures were made of, for each person under the own key; their digests by subject."""
    from pipelines.verify.scores import scores_of

    made = {ticket.ticket_id: scores_of(found.now, found.base, ticket.subject_ref) for ticket in asked.tickets}

    def seal() -> None:
        with bench.store.write() as writing:
            for ticket_id, one in made.items():
                data, purpose = one.content(), sealed_items.SCORES
                sealed_items.put(writing, one.subject, ticket_id, purpose, data, ground=material.GROUND)

    patiently(seal, for_s=bench.settings.jobs.outage_s)
    return {one.subject: one.digest for one in made.values()}


@dataclass(frozen=True)
class _Found:
    """Everything that a verdict looks at."""

    now: "Measurement"
    base: "Measurement"
    control: "Measurement | None"
    beside: "dict[str, dict[str, MetricResult]]"
    attacked: attacking.Attacked


def _found(bench: "Bench", asked: Asked, session: Session, adapter: Path, control: comparing.Compared) -> _Found:
    """Measure the adapter beside its base and beside the control, and attack it."""
    from pipelines.model import with_adapter
    from pipelines.verify.backends import make_backends
    from pipelines.verify.measure import MeasureSettings, measure
    from pipelines.verify.references import reference_texts

    given = bench.settings.verify
    backends = make_backends(embedding_model=given.embedding_model or None, nli_model=given.nli_model or None)
    ask: dict[str, Any] = {
        "backends": backends,
        "settings": MeasureSettings(seed=asked.run.seed),
        "reference_texts": reference_texts(asked.probes, asked.run.seed),
        "other_values": sorted(comparing.others_values(bench, asked)),
    }
    twins = comparing.twins_of(bench, asked)
    tell = {name: teller(session, name) for name in ("base", "adapter", "control", "beside")}
    with with_adapter(bench.base, adapter) as loaded:
        before = measure(loaded, asked.probes, which="base", twins=twins, progress=tell["base"], **ask)
        same: dict[str, Any] = {"twins": twins, "control": control.loaded, "base": before}
        now = measure(loaded, asked.probes, progress=tell["adapter"], **same, **ask).measurement
        return _Found(
            now=now,
            base=before.measurement,
            control=control.measured(asked.mine, progress=tell["control"], **ask),
            beside=comparing.beside(bench, asked, loaded, control, twins, tell["beside"]),
            attacked=attacking.attack(
                bench,
                asked,
                loaded,
                adapter,
                now,
                backends=backends,
                control=control.loaded,
                progress=teller(session),
                should_cancel=session.should_cancel,
            ),
        )


def load(bench: "Bench", run_id: str) -> Asked:
    """Everything that a verification of a run needs from the store."""
    with bench.store.read() as reading:
        tickets = tickets_of(reading, run_id)
        own = [probe for ticket in tickets for probe in material.load_rows(reading, ticket.ticket_id)[1]]
        earlier = material.load_earlier(reading)
        return Asked(
            run=get_run(reading, run_id),
            tickets=tuple(tickets),
            probes=tuple(_distinct([*own, *(probe for person in earlier for probe in person.probes)])),
            earlier=tuple(earlier),
            reached={person.subject_ref: _reached(reading, person) for person in earlier},
            limits=strictest(decision_of(ticket).thresholds for ticket in tickets),
            augmented=str((steps_of(reading, run_id)["augment"].result or {})["digest"]),
        )


def teller(session: Session, prefix: str = "") -> Progress:
    """A callback (stage, done, total) that tells progress, and ends the work where somebody cancelled it."""

    def told(stage: str, done: int, total: int) -> None:
        if session.should_cancel():
            raise LetheError("unlearn.cancelled", "The verification was cancelled.")
        session.progress({"stage": f"{prefix} {stage}".strip(), "done": done, "total": total})

    return told


def reached_by(found: "SubjectMeasurement") -> dict[str, float | None]:
    """What a subject reached, to be compared with at later releases."""
    own = found.own_public.get("krr")
    return {
        "kfr": found.forget["kfr"].value,
        "own_public": own.value if own else None,
        "named": found.forget["subject_named"].value,
        "fluent": found.forget["kfr_fluent"].value,
    }


def hold(reached: Mapping[str, Mapping[str, float | None]]) -> dict[str, float | None]:
    """How well each subject holds, 0 to 1: the lower of KFR and the share of answers that name it, as last measured."""
    found = {}
    for subject, figures in reached.items():
        known = [value for name in ("kfr", "named") if (value := figures.get(name)) is not None]
        found[subject] = min(known) if known else None
    return found


def _distinct(probes: Sequence[Probe]) -> list[Probe]:
    """Tickets of one run share retain probes, and what one forgets is no retain probe of another.

    What one keeps of the own public facts may be a retain probe of another under the same id: it is asked as the
    former, since a gate of its own rests on it.
    """
    forgotten = {probe.fact for probe in probes if probe.group is ProbeGroup.FORGET}
    kept: dict[str, Probe] = {}
    for probe in sorted(probes, key=lambda probe: probe.group is ProbeGroup.RETAIN):
        if probe.group is not ProbeGroup.RETAIN or probe.fact not in forgotten:
            kept.setdefault(probe.probe_id, probe)
    return list(kept.values())


def _reached(session: DbSession, person: material.Earlier) -> EarlierRelease:
    """What an earlier subject's own release reached, as sealed with the rows.

    Of one from before it was sealed, the whole verification is read, and for a figure from before it was kept its
    verdict.
    """
    if person.reached is not None:
        return EarlierRelease.model_validate(person.reached)
    for run in runs_of(session, person.ticket_id):
        if run.status == RunStatus.COMPLETED:
            found = steps_of(session, run.run_id)["verify"].result or {}
            forget = (
                found["verdict"].get("metrics", {}).get("subjects", {}).get(person.subject_ref, {}).get("forget", {})
            )
            measured = {
                "named": forget.get("subject_named", {}).get("value"),
                "fluent": forget.get("kfr_fluent", {}).get("value"),
            }
            return EarlierRelease(**{**measured, **found["reached"][person.subject_ref]})
    raise LetheError("run.not_found", "There is no completed run of an earlier ticket.")
