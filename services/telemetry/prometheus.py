"""The metrics in Prometheus's text form. ``prometheus_client`` is imported late: BentoML sets it up in its workers."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from prometheus_client import CollectorRegistry

_registries: "list[CollectorRegistry]" = []


def reader() -> "PrometheusMetricReader":
    """A reader whose metrics are on the page from now on."""
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    _registries[:] = [registry]
    return PrometheusMetricReader(scope_info_enabled=False, registry=registry)


def page() -> tuple[bytes, str]:
    """The text, and its content type."""
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    return (generate_latest(_registries[-1]) if _registries else b""), CONTENT_TYPE_LATEST
