"""The verify operation: everyone's probes, the base beside, a control where there is one, the attacks, the verdict."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session as DbSession

from pipelines.gates.case import EarlierRelease
from pipelines.gates.retraining import could_help
from pipelines.rows import Probe, ProbeGroup
from policies.errors import LetheError
from policies.lifecycle import RunStatus
from policies.thresholds import Thresholds, strictest
from services.store.runs import get_run, runs_of, tickets_of
from services.store.steps import steps_of
from services.store.tables import Run, Ticket
from services.store.types import utc_now
from services.ticket import decision_of
from services.unlearning import attacking, comparing, material
from services.unlearning.protocol import Session

if TYPE_CHECKING:
    from pipelines.verify.measure import SubjectMeasurement
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


def verify(bench: "Bench", session: Session, run_id: str, directory: str) -> Result:
    """Measure an adapter on everyone's probes, attack it as the tickets' packs demand, and decide.

    Each finished attack is kept below the adapter's directory, so that a run that died goes on behind it.
    """
    from pipelines.model import with_adapter
    from pipelines.verdict import decide
    from pipelines.verify.backends import make_backends
    from pipelines.verify.measure import MeasureSettings, measure
    from pipelines.verify.references import reference_texts

    asked = load(bench, run_id)
    backends = make_backends(
        embedding_model=bench.settings.verify.embedding_model or None,
        nli_model=bench.settings.verify.nli_model or None,
    )
    values = sorted({probe.value for probe in asked.probes if probe.group is ProbeGroup.RETAIN and probe.value})
    ask: dict[str, Any] = {
        "backends": backends,
        "settings": MeasureSettings(seed=asked.run.seed),
        "reference_texts": reference_texts(asked.probes, asked.run.seed),
        "other_values": values,
    }
    adapter = bench.run_directory(run_id) / directory / "adapter"
    control = comparing.control_of(bench, asked, teller(session, "control"), session.should_cancel)
    twins = comparing.twins_of(bench, asked)
    with with_adapter(bench.base, adapter) as loaded:
        before = measure(loaded, asked.probes, which="base", twins=twins, progress=teller(session, "base"), **ask)
        now = measure(
            loaded,
            asked.probes,
            twins=twins,
            control=control.loaded,
            base=before,
            progress=teller(session, "adapter"),
            **ask,
        ).measurement
        unseen = control.measured(asked.mine, progress=teller(session, "control"), **ask)
        attacked = attacking.attack(
            bench,
            asked,
            loaded,
            adapter,
            now,
            backends=backends,
            control=control.loaded,
            progress=teller(session),
            should_cancel=session.should_cancel,
        )
    verdict = decide(
        now,
        before.measurement,
        asked.limits,
        subjects=asked.subjects,
        earlier=asked.reached,
        control=unseen,
        attacks=attacked.now,
        earlier_attacks=attacked.earlier,
    )
    return {
        "outcome": verdict.outcome,
        "reasons": list(verdict.reasons),
        "training_could_help": could_help(verdict.gates),
        "verdict": verdict.model_dump(mode="json"),
        "reached": {ref: reached_by(found) for ref, found in now.subjects.items()},
        "attacks": attacking.stored(attacked.now) if attacked.now else None,
        "earlier_attacks": attacking.stored(attacked.earlier) if attacked.earlier else None,
        "control": control.told(),
        "decided_at": utc_now().isoformat(),
        "directory": directory,
        "seconds": now.seconds,
    }


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
    """Tickets of one run share retain probes; and what one forgets is no retain probe of another."""
    forgotten = {probe.fact for probe in probes if probe.group is ProbeGroup.FORGET}
    kept: dict[str, Probe] = {}
    for probe in probes:
        if probe.group is not ProbeGroup.RETAIN or probe.fact not in forgotten:
            kept.setdefault(probe.probe_id, probe)
    return list(kept.values())


def _reached(session: DbSession, person: material.Earlier) -> EarlierRelease:
    """What an earlier subject's own release reached; of one from before a figure was kept, its verdict still has it."""
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
