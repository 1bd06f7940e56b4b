"""Metrics: counts and durations, with statuses and codes as their only attributes."""

from functools import cache

from opentelemetry import metrics
from opentelemetry.metrics import Counter, Histogram, MeterProvider

_providers: list[MeterProvider] = []


def count_ticket(status: str) -> None:
    """A ticket has reached a status."""
    _counter("lethe.tickets", "{ticket}", "Tickets by the status that they reached.").add(1, {"lethe.status": status})


def count_rejection(threshold: str) -> None:
    """The gate stopped a run because of a threshold."""
    _counter("lethe.gate.rejections", "{run}", "Runs stopped by the gate, by threshold.").add(
        1, {"lethe.threshold": threshold}
    )


def record_step(step: str, seconds: float, *, outcome: str) -> None:
    """A step of a run has ended; ``outcome`` is ``ok`` or an error code."""
    _histogram("lethe.run.step.duration", "Duration of the steps of a run.").record(
        seconds, {"lethe.step": step, "lethe.outcome": outcome}
    )


def record_swap(seconds: float, *, outcome: str) -> None:
    """A swap has ended, from the changed desired state to the last acknowledgement."""
    _histogram("lethe.swap.duration", "Duration of a swap on all replicas.").record(seconds, {"lethe.outcome": outcome})


@cache
def _counter(name: str, unit: str, description: str) -> Counter:
    return _meter().create_counter(name, unit, description)


@cache
def _histogram(name: str, description: str) -> Histogram:
    return _meter().create_histogram(name, "s", description)


def _meter() -> metrics.Meter:
    provider = _providers[-1] if _providers else metrics.get_meter_provider()
    return provider.get_meter("lethe")


def use(provider: MeterProvider | None) -> None:
    """Send what is measured from now on to a provider; None: to OpenTelemetry's global one."""
    _providers[:] = [] if provider is None else [provider]
    _counter.cache_clear()
    _histogram.cache_clear()
