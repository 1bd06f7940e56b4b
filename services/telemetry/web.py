"""Metrics of HTTP, and the page on which Prometheus reads all metrics.

BentoML's own metrics are off: they have the path of every request as a label, also of those that no key let in, so that
anybody could write a name into them, and one series for each ticket.
"""

import time
from typing import Any

from fastapi.telemetry import TelemetryConfig
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.telemetry import metrics, prometheus

NO_BENTOML_METRICS = {"enabled": False}  # for `@bentoml.service(metrics=…)`
# For `FastAPI(telemetry=…)`: its logs hold what a faulty request held, and an environment variable sends them off.
NO_FASTAPI_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
OTHER = "other"
_NOT_COUNTED = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})


class HttpMetrics:
    """ASGI middleware, in front of the guard: refusals count too.

    Args:
        app: What is behind it.
        routes: Paths that may be told as they are, beside the templates of FastAPI's routes.
    """

    def __init__(self, app: ASGIApp, *, routes: tuple[str, ...] = ()) -> None:
        self._app, self._routes = app, frozenset(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and measure it."""
        if scope["type"] != "http" or scope["path"] in _NOT_COUNTED:
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        path = scope["path"]  # routing may cut it
        try:
            await self._app(scope, receive, noted)
        finally:
            told = {
                "http.request.method": scope["method"] if scope["method"] in {"GET", "HEAD", "POST"} else OTHER,
                "http.route": path if path in self._routes else _template(scope),
                "http.response.status_code": status,
            }
            metrics.record("http.server.request.duration", time.perf_counter() - began, told)


def _template(scope: Scope) -> str:
    """The template of the FastAPI route that answered."""
    return str(getattr(scope.get("route"), "path_format", None) or OTHER)


class MetricsPage:
    """ASGI middleware, behind the guard: ``/metrics``."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer ``/metrics``, pass on all else."""
        if scope["type"] != "http" or scope["path"] != "/metrics":
            await self._app(scope, receive, send)
            return
        body, kind = await run_in_threadpool(prometheus.page)  # figures are read from the store
        headers: Any = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
