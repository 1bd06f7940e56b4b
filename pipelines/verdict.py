"""Accepted, rejected or undecided: a measurement held against the policy's thresholds, with a reason for everything.

Only an adapter that passes every required gate is accepted. Whatever was not run, or was measured on too few probes,
is never counted as passed.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from pipelines.gates.attacks import attack_gates, untold
from pipelines.gates.beside import beside_findings
from pipelines.gates.case import Case, EarlierRelease
from pipelines.gates.control import control_gates
from pipelines.gates.earlier import earlier_gates
from pipelines.gates.earlier_attack import earlier_attack_gates
from pipelines.gates.exposed import exposure_findings
from pipelines.gates.gate import Gate, State
from pipelines.gates.kept import krr_gate
from pipelines.gates.subject import subject_gates
from pipelines.verify.attacks.suite import AttackSuite
from pipelines.verify.measure import Measurement, SubjectMeasurement
from pipelines.verify.results import MetricResult
from policies.canonical import canonical_json, sha256_hex
from policies.thresholds import MeasuredThresholds, Thresholds

Outcome = Literal["accepted", "rejected", "undecided"]

__all__ = ["EarlierRelease", "Gate", "Outcome", "State", "Verdict", "decide", "summary"]


class Verdict(BaseModel):
    """The decision on one adapter.

    Attributes:
        outcome: ``accepted`` only if every required gate passed.
        gates: Every threshold with what was measured against it.
        reasons: In plain words, why it is not accepted; one sentence if it is.
        findings: What a reader must know although it decides nothing.
        thresholds: Those that were applied.
        metrics: Value, bounds and sample size of every metric, the base's row and the reference set's beside it.
        backends: The judges; verdicts of different ones cannot be compared.
        digest: SHA-256 of all of the above.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal["lethe.verdict/1"] = "lethe.verdict/1"
    outcome: Outcome
    gates: tuple[Gate, ...]
    reasons: tuple[str, ...]
    findings: tuple[str, ...] = ()
    thresholds: MeasuredThresholds
    metrics: dict[str, Any]
    backends: dict[str, str]
    digest: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the adapter may be released."""
        return self.outcome == "accepted"

    def failed(self) -> tuple[Gate, ...]:
        """The required gates that were missed."""
        return tuple(gate for gate in self.gates if gate.required and gate.state == "fail")


def decide(
    measurement: Measurement,
    base: Measurement,
    thresholds: Thresholds,
    *,
    subjects: Sequence[str] | None = None,
    earlier: Mapping[str, EarlierRelease] | None = None,
    control: Measurement | None = None,
    beside: Mapping[str, Mapping[str, MetricResult]] | None = None,
    attacks: AttackSuite | None = None,
    earlier_attacks: AttackSuite | None = None,
) -> Verdict:
    """Hold a measurement against the thresholds.

    Args:
        measurement: Of the adapter.
        base: Of the same probes on the base.
        thresholds: The policy's.
        subjects: Whom this run is about; default: everyone measured who is not in ``earlier``.
        earlier: Everyone forgotten before, with what their own releases reached.
        control: The same probes on a model that never saw the subjects.
        beside: How far the adapter is from it, by subject (``pipelines.verify.beside_control``).
        attacks: What the attacks on the adapter came to; None where none were tried.
        earlier_attacks: The same on some of the people forgotten before.
    """
    case = Case(
        now=measurement,
        base=base,
        limits=thresholds,
        earlier=earlier or {},
        control=control,
        beside=beside or {},
        attacks=attacks,
        earlier_attacks=earlier_attacks,
    )
    current = list(subjects) if subjects is not None else [s for s in measurement.subjects if s not in case.earlier]
    gates = [gate for subject in current for gate in subject_gates(case, subject)]
    if not current:
        gates.append(Gate(name="subjects", state="not_run", reason="No subject of this run was measured."))
    gates.append(krr_gate(case))
    gates.extend(gate for subject in case.earlier for gate in earlier_gates(case, subject))
    gates.extend(control_gates(case, current))
    gates.extend(attack_gates(case, current))
    gates.extend(earlier_attack_gates(case))
    outcome = _outcome(gates)
    open_gates = [gate for gate in gates if gate.required and gate.state != "pass"]
    verdict = Verdict(
        outcome=outcome,
        gates=tuple(gates),
        reasons=tuple(gate.reason for gate in open_gates) or ("Every threshold of the policy was reached.",),
        findings=tuple(_findings(case, current, gates)),
        thresholds=thresholds,
        metrics=summary(measurement, base, case.beside),
        backends=dict(measurement.backends),
    )
    body = verdict.model_dump(mode="json", exclude={"digest"})
    return verdict.model_copy(update={"digest": sha256_hex(canonical_json(body))})


def summary(
    measurement: Measurement, base: Measurement, beside: Mapping[str, Mapping[str, MetricResult]] | None = None
) -> dict[str, Any]:
    """Value, bounds, sample size, direction and source of every metric, with the base's row: for a signed verdict.

    Args:
        measurement: Of the adapter.
        base: Of the same probes on the base.
        beside: Figures beside a control, by subject; each with its note, since most say why they were not run.
    """
    near = beside or {}
    return {
        "subjects": {
            subject: {
                "forget": _figures(found.forget),
                "own_public": _figures(found.own_public),
                "reference": _figures(found.reference),
                **({"base": _base_figures(base.subjects[subject])} if subject in base.subjects else {}),
                **({"beside_control": _figures(near[subject], note=True)} if subject in near else {}),
            }
            for subject, found in measurement.subjects.items()
        },
        "retain": {"adapter": _figures(measurement.retain), "base": _figures(base.retain)},
    }


def _base_figures(found: SubjectMeasurement) -> dict[str, Any]:
    return {"forget": _figures(found.forget), "own_public": _figures(found.own_public)}


def _figures(metrics: Mapping[str, MetricResult], *, note: bool = False) -> dict[str, Any]:
    kept = ("value", "lower", "upper", "n", "facts", "undecided", "state", "bound_method", "direction", "source")
    fields = (*kept, *(["note"] * note))
    return {key: {field: getattr(metric, field) for field in fields} for key, metric in metrics.items()}


def _outcome(gates: Sequence[Gate]) -> Outcome:
    states = {gate.state for gate in gates if gate.required}
    if "fail" in states:
        return "rejected"
    return "accepted" if states == {"pass"} else "undecided"


def _findings(case: Case, current: Sequence[str], gates: Sequence[Gate]) -> Iterator[str]:
    if any(gate.name == "base_knew" and gate.state != "pass" for gate in gates):
        yield "The base did not know a subject of this run: its own KFR is above the limit."
    notes = {
        metric.note
        for subject in current
        if subject in case.now.subjects
        for metric in (case.now.subjects[subject].forget["kfr"],)
        if metric.note
    }
    yield from sorted(notes)
    if case.control is None:
        yield "no control was measured"
    undecided = sum(case.now.subjects[s].forget["kfr"].undecided for s in current if s in case.now.subjects)
    if undecided:
        yield f"{undecided} forget probes could not be scored and count for nothing"
    yield from exposure_findings(case, current)
    yield from beside_findings(case, current)
    yield from untold(case)
