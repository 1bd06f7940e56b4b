"""Traces: one of each run, linked to the intake traces of its tickets."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from policies.errors import LetheError
from services.telemetry import redact

Value = str | bool | int | float
_SCOPE = "lethe"
_propagator = TraceContextTextMapPropagator()
_providers: list[trace.TracerProvider] = []  # the one that set-up chose; empty: OpenTelemetry's global one


@contextmanager
def span(
    name: str, *, links: Sequence[Link] = (), parent: Context | None = None, **attributes: Value
) -> Iterator[Span]:
    """A span around a piece of work; ``run_id=…`` becomes the attribute ``lethe.run_id``.

    An exception marks it as failed with its code or type, never with its text.
    """
    named = {f"lethe.{key}": value for key, value in attributes.items()}
    with tracer().start_as_current_span(
        name,
        context=parent,
        links=links,
        attributes=redact.attributes(named),
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except BaseException as error:
            code = error.code if isinstance(error, LetheError) else type(error).__name__
            current.set_attribute("error.type", code)
            current.set_status(Status(StatusCode.ERROR))
            raise


@contextmanager
def run_span(name: str, run_id: str, *, tickets: Sequence[str] = (), **attributes: Value) -> Iterator[Span]:
    """A span of a run, in the run's one trace: whichever process works on it, and after however many restarts.

    Args:
        name: What is done (``run.train``).
        run_id: Its trace id is made from it.
        tickets: The traceparents of the tickets that the run serves, to link back to.
        attributes: As in ``span``.
    """
    with span(name, links=link_to(tickets), parent=run_context(run_id), run_id=run_id, **attributes) as current:
        yield current


def run_context(run_id: str) -> Context:
    """The context that every span of a run descends from."""
    digest = hashlib.sha256(f"lethe-run/{run_id}".encode()).digest()
    root = SpanContext(
        trace_id=int.from_bytes(digest[:16]) or 1,
        span_id=int.from_bytes(digest[16:24]) or 1,
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
    return set_span_in_context(NonRecordingSpan(root), Context())


def traceparent() -> str | None:
    """The present span in W3C form (55 characters), to be kept in ``tickets.trace_id``; None outside of one."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")


def link_to(traceparents: Sequence[str | None]) -> list[Link]:
    """Links to other traces; what is no traceparent is left out."""
    return [Link(context) for text in traceparents if text and (context := _span_context(text)).is_valid]


def context_from(traceparent: str | None) -> Context | None:
    """The context to continue a trace from another process in (``span(parent=…)``)."""
    return None if not traceparent else set_span_in_context(NonRecordingSpan(_span_context(traceparent)), Context())


def _span_context(text: str) -> SpanContext:
    context = _propagator.extract({"traceparent": text}, context=Context())
    return trace.get_current_span(context).get_span_context()


def tracer() -> trace.Tracer:
    """The tracer of the provider that set-up chose."""
    return _tracer(_providers[-1] if _providers else trace.get_tracer_provider())


@cache
def _tracer(provider: trace.TracerProvider) -> trace.Tracer:
    """Made once: making one changes the process's filters of warnings for a moment."""
    return provider.get_tracer(_SCOPE)


class RedactingExporter(SpanExporter):
    """Lets spans pass with allowed attributes only, whoever made them: BentoML's hold address and query."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export the harmless copies."""
        return self._inner.export([_harmless(span) for span in spans])

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._inner.force_flush(timeout_millis)


def _harmless(span: ReadableSpan) -> ReadableSpan:
    scope = span.instrumentation_scope
    return ReadableSpan(
        name=span.name if scope is not None and scope.name == _SCOPE else redact.route(span.name),
        context=_plain(span.context),
        parent=_plain(span.parent),
        resource=span.resource,
        attributes=redact.attributes(span.attributes),
        events=(),  # their texts are exceptions and messages
        links=[Link(context) for link in span.links if (context := _plain(link.context))],
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=scope,
    )


def _plain(context: SpanContext | None) -> SpanContext | None:
    """A context without its trace state, which callers fill as they like."""
    if context is None:
        return None
    return SpanContext(context.trace_id, context.span_id, context.is_remote, context.trace_flags)


def use(provider: trace.TracerProvider | None) -> None:
    """Make spans with a provider from now on; None: with OpenTelemetry's global one."""
    _providers[:] = [] if provider is None else [provider]
    _tracer.cache_clear()
