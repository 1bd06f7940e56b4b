"""Start and end of telemetry in a process."""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased

from services.settings import Settings
from services.telemetry import logs, metrics, prometheus, traces

EXPORT_TIMEOUT_S = 5.0
METRIC_PERIOD_MS = 15_000
# For `@bentoml.service(tracing=BENTOML_TRACING)`: its default rate is 0, which our spans inherit from their parents.
BENTOML_TRACING = {"sample_rate": 1.0, "excluded_urls": "livez,readyz,healthz,metrics"}
# Of a gateway, which makes the span of a request itself: BentoML's instrumentation makes one of every chunk besides,
# which took more processor time than everything else together (benchmarks/serving.py).
GATEWAY_TRACING = {"sample_rate": 1.0, "excluded_urls": "."}


@dataclass(frozen=True, kw_only=True)
class Exporters:
    """Where things go; None: nowhere."""

    spans: SpanExporter | None = None
    metrics: MetricExporter | None = None
    logs: LogRecordExporter | None = None


@dataclass
class Telemetry:
    """What a process has started; ``shutdown`` sends the rest and undoes it."""

    endings: list[Callable[[], object]] = field(default_factory=list)

    def shutdown(self) -> None:
        """Send what waits, for a few seconds at most, and stop."""
        while self.endings:
            try:
                self.endings.pop()()
            except Exception:  # an unreachable collector must not keep a process from ending
                logging.getLogger(__name__).exception("telemetry did not end cleanly")


def setup(service: str, settings: Settings, *, exporters: Exporters | None = None) -> Telemetry:
    """Start traces, metrics and logs in a process; call it first in a service's ``__init__``.

    Args:
        service: ``service.name`` (``lethe-intake``).
        settings: Exporter, endpoint and level.
        exporters: In place of those that the settings name.
    """
    chosen = exporters or _exporters(settings)
    resource = Resource.create({"service.name": service})
    started = Telemetry()
    _start_logs(started, service, settings.telemetry.log_level, chosen.logs, resource)
    _start_metrics(started, chosen.metrics, resource, settings.telemetry.suppressed_step_s)
    _start_traces(started, chosen.spans, resource)
    return started


def _exporters(settings: Settings) -> Exporters:
    if settings.telemetry.exporter == "otlp":
        return _otlp(settings.telemetry.endpoint.rstrip("/"))
    if settings.telemetry.exporter == "console":
        from opentelemetry.sdk.metrics.export import ConsoleMetricExporter
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        # The JSON lines on standard error are the console form of logs already.
        return Exporters(spans=ConsoleSpanExporter(out=sys.stderr), metrics=ConsoleMetricExporter(out=sys.stderr))
    return Exporters()


def _otlp(endpoint: str) -> Exporters:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return Exporters(
        spans=OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", timeout=EXPORT_TIMEOUT_S),
        metrics=OTLPMetricExporter(endpoint=f"{endpoint}/v1/metrics", timeout=EXPORT_TIMEOUT_S),
        logs=OTLPLogExporter(endpoint=f"{endpoint}/v1/logs", timeout=EXPORT_TIMEOUT_S),
    )


def _start_logs(
    started: Telemetry, service: str, level: str, exporter: LogRecordExporter | None, resource: Resource
) -> None:
    provider = None
    if exporter is not None:
        provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
        started.endings.append(provider.shutdown)
    for handler in logs.configure(service, level, provider):
        started.endings.append(partial(logging.getLogger().removeHandler, handler))


def _start_metrics(
    started: Telemetry, exporter: MetricExporter | None, resource: Resource, suppressed_step_s: float
) -> None:
    readers: list[MetricReader] = [prometheus.reader()]
    if exporter is not None:
        readers.append(PeriodicExportingMetricReader(exporter, export_interval_millis=METRIC_PERIOD_MS))
    provider = MeterProvider(readers, resource, views=metrics.views(), shutdown_on_exit=False)
    metrics.use(provider, suppressed_step_s=suppressed_step_s)
    started.endings += [lambda: metrics.use(None), provider.shutdown]


def _start_traces(started: Telemetry, exporter: SpanExporter | None, resource: Resource) -> None:
    provider = _bentoml_provider() or TracerProvider(
        sampler=ParentBased(ALWAYS_ON), resource=resource, shutdown_on_exit=False
    )
    provider.sampler = ParentBased(ALWAYS_ON)  # of the tracers made from now on; requests need BENTOML_TRACING besides
    if exporter is not None:
        processor = BatchSpanProcessor(traces.RedactingExporter(exporter))
        provider.add_span_processor(processor)
        started.endings.append(processor.shutdown)
    traces.use(provider)
    started.endings.append(lambda: traces.use(None))
    if type(trace.get_tracer_provider()) is trace.ProxyTracerProvider:
        trace.set_tracer_provider(provider)


def _bentoml_provider() -> TracerProvider | None:
    """BentoML's own provider, if this is one of its workers: spans of requests and ours must share one.

    BentoML makes it when the worker starts, before any service's ``__init__``; ours beside it would be lost.
    """
    container = sys.modules.get("bentoml._internal.configuration.containers")
    made = None if container is None else getattr(container.BentoMLContainer.tracer_provider, "_cache", None)
    return made if isinstance(made, TracerProvider) else None  # not yet made: this is no worker, so none is wanted
