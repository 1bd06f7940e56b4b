"""Traces, metrics and logs by OpenTelemetry, none of which ever holds personal data. docs/telemetry.md lists them."""

from services.telemetry.metrics import count_recheck, count_rejection, count_ticket, record_step, record_swap
from services.telemetry.setup import BENTOML_TRACING, GATEWAY_TRACING, Exporters, Telemetry, setup
from services.telemetry.traces import context_from, link_to, run_span, span, traceparent

__all__ = [
    "BENTOML_TRACING",
    "GATEWAY_TRACING",
    "Exporters",
    "Telemetry",
    "context_from",
    "count_recheck",
    "count_rejection",
    "count_ticket",
    "link_to",
    "record_step",
    "record_swap",
    "run_span",
    "setup",
    "span",
    "traceparent",
]
