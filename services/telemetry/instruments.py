"""Every metric that Lethe emits: name, kind, unit, and the only attributes that it may have.

The views, the documentation and the dashboard are checked against this list. No attribute holds anything that a caller
sent: models are public names, routes are templates, the rest are codes of ours. gen_ai.* and http.* follow
OpenTelemetry's semantic conventions (gen_ai: open-telemetry/semantic-conventions-genai, status "development").
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "histogram", "active", "gauge", "total"]
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
# As the conventions ask.
_REQUEST_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_TOKEN_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_TOKENS = tuple(float(4**power) for power in range(14))
MODEL = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.response.model")


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric.

    Attributes:
        name: OpenTelemetry's; what Prometheus makes of it is in docs/telemetry.md.
        kind: ``active`` goes up and down; ``gauge`` and ``total`` are observed when somebody asks for them.
        unit: UCUM.
        about: What it says.
        attributes: All that it may have.
        buckets: Upper bounds of a histogram.
    """

    name: str
    kind: Kind
    unit: str
    about: str
    attributes: tuple[str, ...] = ()
    buckets: tuple[float, ...] = SECONDS


_ALL = (
    Instrument("lethe.tickets", "counter", "{ticket}", "Tickets by the status that they reached.", ("lethe.status",)),
    Instrument("lethe.gate.rejections", "counter", "{run}", "Runs stopped by the gate.", ("lethe.threshold",)),
    Instrument("lethe.run.step.duration", "histogram", "s", "Steps of runs.", ("lethe.step", "lethe.outcome")),
    Instrument("lethe.swap.duration", "histogram", "s", "Swaps: decided to last confirmation.", ("lethe.outcome",)),
    Instrument("lethe.swap.phase.duration", "histogram", "s", "Phases of swaps: prepare, commit.", ("lethe.phase",)),
    Instrument("lethe.rechecks", "counter", "{round}", "Rounds of probes asked of all replicas.", ("lethe.outcome",)),
    Instrument("lethe.runs.rejected", "gauge", "{run}", "Runs that the gate rejected within the last day."),
    Instrument("lethe.rechecks.failed", "gauge", "{finding}", "Replica and person, remembered within the last day."),
    Instrument("lethe.adapter.generation", "gauge", "{generation}", "Served here; -1: none.", ("lethe.replica",)),
    Instrument("lethe.replica.ready", "gauge", "{replica}", "1 while it answers requests.", ("lethe.replica",)),
    Instrument("lethe.requests.active", "active", "{request}", "Generation requests under way in the gateway."),
    Instrument("lethe.requests.waiting", "gauge", "{request}", "Of these, waiting for their turn."),
    Instrument("lethe.suppressed", "total", "{request}", "Answers replaced by suppression, told in steps of time."),
    Instrument("lethe.generation.desired", "gauge", "{generation}", "What replicas should serve.", ("lethe.base",)),
    Instrument("lethe.replicas.live", "gauge", "{replica}", "Replicas with a running lease."),
    Instrument("lethe.replicas.behind", "gauge", "{replica}", "Of these, not confirmed at the desired generation."),
    Instrument("lethe.replicas.fenced", "gauge", "{replica}", "Lease ended behind the desired generation."),
    Instrument("lethe.suppressions.active", "gauge", "{rule}", "Rules of suppression in force."),
    Instrument("lethe.suppressions.unconfirmed", "gauge", "{rule}", "Of these, not yet applied by every live replica."),
    Instrument("lethe.erasure.waiting", "gauge", "{ticket}", "Approved tickets whose release is not served yet."),
    Instrument("lethe.erasure.pending", "gauge", "s", "Age of the oldest of these; 0: none."),
    Instrument("lethe.erasure.due", "gauge", "s", "Until the nearest deadline of an open ticket; negative: missed."),
    Instrument("lethe.tickets.open", "gauge", "{ticket}", "Open tickets by their date.", ("lethe.when",)),
    Instrument(
        "http.server.request.duration",
        "histogram",
        "s",
        "Requests, whole answer included.",
        ("http.request.method", "http.route", "http.response.status_code"),
    ),
    Instrument(
        "gen_ai.server.request.duration",
        "histogram",
        "s",
        "Generation requests, to the last byte.",
        (*MODEL, "error.type"),
        _REQUEST_S,
    ),
    Instrument("gen_ai.server.time_to_first_token", "histogram", "s", "Of streamed answers.", MODEL, _FIRST_S),
    Instrument("gen_ai.server.time_per_output_token", "histogram", "s", "After the first one.", MODEL, _TOKEN_S),
    Instrument(
        "gen_ai.client.token.usage",
        "histogram",
        "{token}",
        "Tokens of prompts and answers.",
        (*MODEL, "gen_ai.token.type"),
        _TOKENS,
    ),
)
INSTRUMENTS = {one.name: one for one in _ALL}
