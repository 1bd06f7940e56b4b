"""Traces, metrics and logs by OpenTelemetry, none of which ever holds personal data. docs/telemetry.md lists them."""

from services.telemetry.generation import Generation, generation
from services.telemetry.metrics import (
    begin_counts,
    count_recheck,
    count_rejection,
    count_suppressed,
    count_ticket,
    observe,
    record_step,
    record_swap,
)
from services.telemetry.setup import BENTOML_TRACING, GATEWAY_TRACING, Exporters, Telemetry, setup
from services.telemetry.traces import context_from, link_to, run_span, span, traceparent
from services.telemetry.web import NO_BENTOML_METRICS, NO_FASTAPI_TELEMETRY, HttpMetrics, MetricsPage

__all__ = [
    "BENTOML_TRACING",
    "GATEWAY_TRACING",
    "NO_BENTOML_METRICS",
    "NO_FASTAPI_TELEMETRY",
    "Exporters",
    "Generation",
    "HttpMetrics",
    "MetricsPage",
    "Telemetry",
    "begin_counts",
    "context_from",
    "count_recheck",
    "count_rejection",
    "count_suppressed",
    "count_ticket",
    "generation",
    "link_to",
    "observe",
    "record_step",
    "record_swap",
    "run_span",
    "setup",
    "span",
    "traceparent",
]
