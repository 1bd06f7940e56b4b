"""Neither likelier nor less likely than to a model that never knew: exposure, told as a finding.

It decides nothing, since the formulas are a reconstruction (pipelines/verify/exposure.py); but over-unlearning is told
as a leak, as under-unlearning is: a gap where other people have an answer shows that somebody was removed.
"""

from collections.abc import Iterator, Sequence

from pipelines.gates.case import Case
from pipelines.gates.gate import number
from pipelines.verify.results import MetricResult

_NAMES = {"gen_ex_token": "GenEx, against the control", "rel_ex_token": "RelEx, against hold-out twins"}


def exposure_findings(case: Case, current: Sequence[str]) -> Iterator[str]:
    """One sentence for each measure and subject of the run that has one."""
    for subject in current:
        found = case.now.subjects.get(subject)
        for key, name in _NAMES.items():
            metric = found.forget.get(key) if found else None
            if metric is not None and metric.state != "not_run":
                yield f"{name}: {_told(metric)}"


def _told(metric: MetricResult) -> str:
    parts = metric.parts
    value, lower, upper = metric.value, metric.lower, metric.upper
    if parts.get("calibrated") is not None:  # RelEx is judged by it: it is 0 where nothing was seen
        value, lower, upper = (parts.get(f"calibrated{end}") for end in ("", "_lower", "_upper"))
    words = metric.note or "not judged"
    leak = "; a leak, in whichever direction" if parts.get("equivalent") == 0.0 else ""
    return f"{number(value)} nats a token (90 % interval {number(lower)} to {number(upper)}): {words}{leak}"
