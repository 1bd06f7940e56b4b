"""Metrics: counts, durations and figures, each one of the list in ``instruments``."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Any

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.sdk.metrics.view import View

from services.telemetry.instruments import INSTRUMENTS

Attributes = Mapping[str, str | int]
Figures = Callable[[], Iterable[tuple[float, Attributes]]]
_LOG = logging.getLogger(__name__)
_providers: list[MeterProvider] = []


def count_ticket(status: str) -> None:
    """A ticket has reached a status."""
    add("lethe.tickets", 1, {"lethe.status": status})


def count_rejection(threshold: str) -> None:
    """The gate stopped a run because of a threshold."""
    add("lethe.gate.rejections", 1, {"lethe.threshold": threshold})


def record_step(step: str, seconds: float, *, outcome: str) -> None:
    """A step of a run has ended; ``outcome`` is ``ok`` or an error code."""
    record("lethe.run.step.duration", seconds, {"lethe.step": step, "lethe.outcome": outcome})


def record_swap(seconds: float, *, outcome: str, phases: Mapping[str, float] | None = None) -> None:
    """A swap has ended.

    Args:
        seconds: From the changed desired state to the last acknowledgement.
        outcome: ``ok`` or an error code.
        phases: Seconds of ``prepare`` (proposed to committed) and ``commit`` (committed to the last acknowledgement).
    """
    record("lethe.swap.duration", seconds, {"lethe.outcome": outcome})
    for phase, length in (phases or {}).items():
        record("lethe.swap.phase.duration", length, {"lethe.phase": phase})


def begin_counts(name: str, values: Iterable[str]) -> None:
    """Let a count's series be there at 0: Prometheus sees no increase in a series that begins at 1.

    Args:
        name: Of a counter with one attribute.
        values: What that attribute may be.
    """
    (attribute,) = INSTRUMENTS[name].attributes
    for value in values:
        add(name, 0, {attribute: value})


def count_recheck(outcome: str) -> None:
    """All replicas were asked about forgotten people: ``pass``, ``fail`` (somebody must look) or ``undecided``."""
    add("lethe.rechecks", 1, {"lethe.outcome": outcome})


class Coarse:
    """A count that is told in steps of time, so that no reader can lay it beside a single request.

    What happened in a step is told once the step has ended.

    Args:
        step_s: Length of a step in seconds.
        clock: Seconds, monotonic.
    """

    def __init__(self, step_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._step_s, self._clock = step_s, clock
        self._count = self._told = 0
        self._step = self._now()

    def add(self) -> None:
        """One more."""
        self.told()
        self._count += 1

    def told(self) -> int:
        """The count as it was when the last step ended."""
        if (now := self._now()) != self._step:
            self._step, self._told = now, self._count
        return self._told

    def _now(self) -> int:
        return int(self._clock() // self._step_s)


_suppressed: list[Coarse] = []


def count_suppressed() -> None:
    """An answer was replaced by suppression. That is all that is told of it, and not at once."""
    if _suppressed:
        _suppressed[-1].add()


def add(name: str, amount: int, attributes: Attributes) -> None:
    """Add to a counter."""
    _instrument(name).add(amount, attributes)


def record(name: str, value: float, attributes: Attributes) -> None:
    """Add a value to a histogram."""
    _instrument(name).record(value, attributes)


def observe(name: str, figures: Figures) -> None:
    """Ask for a gauge's figures whenever somebody reads the metrics; to be called after ``setup``.

    Where they cannot be had (the store is busy), the metric is missing for once.
    """
    one = INSTRUMENTS[name]
    make = _meter().create_observable_counter if one.kind == "total" else _meter().create_observable_gauge
    make(name, [partial(_observations, name, figures)], one.unit, one.about)


def _observations(name: str, figures: Figures, _: CallbackOptions) -> Iterable[Observation]:
    try:
        return [Observation(value, attributes) for value, attributes in figures()]
    except Exception as error:  # the reader must get all others
        _LOG.warning("no figures for %s: %s", name, getattr(error, "code", type(error).__name__))
        return []


def views() -> list[View]:
    """What keeps every metric to its own attributes and buckets."""
    return [View(instrument_name=one.name, attribute_keys=set(one.attributes)) for one in INSTRUMENTS.values()]


@cache
def _instrument(name: str) -> Any:
    one, meter = INSTRUMENTS[name], _meter()
    if one.kind == "histogram":
        return meter.create_histogram(name, one.unit, one.about, explicit_bucket_boundaries_advisory=list(one.buckets))
    make = meter.create_counter if one.kind == "counter" else meter.create_up_down_counter
    return make(name, one.unit, one.about)


def _meter() -> metrics.Meter:
    provider = _providers[-1] if _providers else metrics.get_meter_provider()
    return provider.get_meter("lethe")


def use(provider: MeterProvider | None, *, suppressed_step_s: float = 600.0) -> None:
    """Send what is measured from now on to a provider; None: to OpenTelemetry's global one."""
    _providers[:] = [] if provider is None else [provider]
    _instrument.cache_clear()
    _suppressed[:] = []
    if provider is not None:
        count = Coarse(suppressed_step_s)
        _suppressed.append(count)
        observe("lethe.suppressed", lambda: [(count.told(), {})])
