"""Could the metric tell at all? A model that never saw the subject must count as having forgotten."""

from collections.abc import Iterator, Sequence

from pipelines.gates.case import Case
from pipelines.gates.gate import Gate, number


def control_gates(case: Case, current: Sequence[str]) -> Iterator[Gate]:
    """The gate of the control, for every subject of the run."""
    required = case.limits.control == "required"
    if case.control is None:
        yield Gate(
            name="control",
            state="not_run",
            required=required,
            reason="No control was measured: how a model that never saw the subject would score is not known.",
        )
        return
    for subject in current:
        found = case.control.subjects.get(subject)
        kfr = found.forget["kfr"].value if found else None
        good = kfr is not None and kfr >= case.limits.kfr_min
        yield Gate(
            name="control",
            subject=subject,
            state="pass" if good else "undecided",
            value=kfr,
            threshold=case.limits.kfr_min,
            required=required,
            reason=f"A model that never saw the subject has a KFR of {number(kfr)}"
            + ("." if good else ": the metric cannot tell forgotten from known here."),
        )
