"""Logs as JSON lines on standard error, with trace ids and without personal data; to OTLP as well where it is set."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import get_current
from opentelemetry.sdk._logs import LoggerProvider

from services.telemetry import redact

_SEVERITIES = {
    logging.DEBUG: SeverityNumber.DEBUG,
    logging.INFO: SeverityNumber.INFO,
    logging.WARNING: SeverityNumber.WARN,
    logging.ERROR: SeverityNumber.ERROR,
    logging.CRITICAL: SeverityNumber.FATAL,
}
# They write requests with their query strings, or the caller's address.
_SILENT = ("uvicorn.access", "httpx", "httpcore", "aiohttp.access")
_TAKEN_OVER = ("bentoml", "uvicorn.error", "circus", "dbos")  # bring handlers of their own
_ACCESS = "bentoml.access"


def harmless(record: logging.LogRecord) -> dict[str, Any]:
    """A record as it may leave this process.

    Messages of other libraries keep their template only, since nobody knows what their arguments hold; exceptions
    keep type and place.
    """
    told: dict[str, Any] = {"message": _message(record)}
    told |= redact.attributes({name: value for name, value in vars(record).items() if "." in name})
    if record.exc_info and record.exc_info[1] is not None:
        told["exception"] = redact.exception(record.exc_info[1])
    return told


def _message(record: logging.LogRecord) -> str:
    if record.name == _ACCESS and isinstance(record.args, tuple) and len(record.args) == 4:
        return _access(record.args)
    if redact.ours(record.name):
        try:
            return redact.message(record.getMessage())
        except (TypeError, ValueError):  # arguments that do not fit the template
            pass
    return redact.message(str(record.msg))


def _access(arguments: tuple[Any, ...]) -> str:
    """BentoML's access line without the caller's address, and with the path only if it is one of a known shape."""
    _, request, response, latency = arguments
    fields = dict(part.partition("=")[::2] for part in str(request).split(","))
    method, path = fields.get("method", ""), fields.get("path", "")
    status = str(response).removeprefix("status=").partition(",")[0]
    return f"{method} {redact.route(path)} {status} {float(latency):.1f} ms"


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        context = trace.get_current_span().get_span_context()
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
        }
        if context.is_valid:
            line |= {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
        return json.dumps(line | harmless(record), default=str)


class OtlpHandler(logging.Handler):
    """Hands the harmless form of a record to an OpenTelemetry logger provider."""

    def __init__(self, provider: LoggerProvider) -> None:
        super().__init__()
        self._provider = provider

    def emit(self, record: logging.LogRecord) -> None:
        """Export one record, unless it is the exporter's own."""
        if record.name.startswith("opentelemetry"):
            return
        told = harmless(record)
        exception = told.pop("exception", {})
        body = told.pop("message")
        if exception:
            told["exception.type"] = exception["type"]
        self._provider.get_logger(record.name).emit(
            LogRecord(
                timestamp=int(record.created * 1e9),
                context=get_current(),
                severity_number=_SEVERITIES.get(record.levelno, SeverityNumber.INFO),
                severity_text=record.levelname,
                body=body,
                attributes=told,
            )
        )


def configure(service: str, level: str, provider: LoggerProvider | None) -> list[logging.Handler]:
    """Send every record of this process through the redaction; returns the handlers, for their removal."""
    root = logging.getLogger()
    for handler in [*root.handlers]:
        if type(handler) is logging.StreamHandler:  # BentoML's and basicConfig's; a test's capture stays
            root.removeHandler(handler)
    for name in (*_TAKEN_OVER, *_SILENT):
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = name in _TAKEN_OVER
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(JsonFormatter(service))
    handlers: list[logging.Handler] = [stream]
    if provider is not None:
        handlers.append(OtlpHandler(provider))
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(logging.WARNING)  # of other libraries
    for name in ("services", "pipelines", "policies", "lethe", _ACCESS):
        logging.getLogger(name).setLevel(level.upper())
    return handlers
