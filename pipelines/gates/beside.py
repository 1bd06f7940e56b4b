"""How far from a model that never saw the subject: forget quality, privleak and UDS, told as findings.

They decide nothing: a large p is no proof of sameness, and one control is one draw of many. What was not run, or says
nothing, is told with its reason, so that nobody takes a missing figure for a good one.
"""

from collections.abc import Iterator, Sequence

from pipelines.gates.case import Case
from pipelines.gates.gate import number
from pipelines.verify.results import MetricResult

_NAMES = {
    "forget_quality": "Forget quality (p of the KS test against the control)",
    "privleak": "privleak (per cent, against the control)",
    "uds": "UDS (erased inside, of what the control lacks)",
}


def beside_findings(case: Case, current: Sequence[str]) -> Iterator[str]:
    """One sentence for each figure and subject of the run; none where there was no control."""
    for subject in current:
        for name, metric in case.beside.get(subject, {}).items():
            yield f"{_NAMES.get(name, name)}: {_told(metric)}"


def _told(metric: MetricResult) -> str:
    if metric.state != "measured":
        return f"{metric.state.replace('_', ' ')}, {metric.note or 'no reason given'}"
    bounds = (
        "" if metric.lower is None or metric.upper is None else f" ({number(metric.lower)} to {number(metric.upper)})"
    )
    return f"{number(metric.value)}{bounds} over {metric.n} items; {metric.note or 'held against no threshold'}"
