"""What may leave this process in traces, metrics and logs: an allow-list of names, and texts made harmless."""

import re
import traceback
from collections.abc import Mapping
from typing import Any

from policies.errors import LetheError
from services.audit.entry import opaque_faults

REDACTED = "[redacted]"
MAX_TEXT = 500

_PREFIXES = ("lethe.", "service.", "telemetry.sdk.")
_NAMES = frozenset(
    {
        "error.type",
        "exception.type",
        "http.method",
        "http.request.method",
        "http.response.status_code",
        "http.route",
        "http.status_code",
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.request.model",
        "gen_ai.request.max_tokens",
        "gen_ai.request.stream",
        "gen_ai.response.finish_reasons",
        "gen_ai.response.model",
        "gen_ai.token.type",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
    }
)
_EMAIL = re.compile(r"[^\s<>\"'=(),;:]+(?:@|%40)[^\s<>\"'(),;:]+")
_NUMBER = re.compile(r"(?<![\w-])\+?\d[\d ()/.\-]{5,}\d(?![\w-])")  # telephone and account numbers; ids stay
_ROUTE = re.compile(r"[A-Z]* ?(?:/[a-z0-9_.\-]*|/\{[a-z_:]+\})*(?: http (?:send|receive))?")
_OURS = ("services", "pipelines", "policies", "lethe")


def attributes(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The attributes that may leave: names on the list, values that are ids, codes, routes and numbers."""
    return {name: _value(name, value) for name, value in (given or {}).items() if allowed(name)}


def allowed(name: str) -> bool:
    """Whether an attribute of this name may leave at all."""
    return name in _NAMES or name.startswith(_PREFIXES)


def _value(name: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_value(name, item) for item in value]
    if name == "http.route" and isinstance(value, str):
        return route(value)
    return REDACTED if opaque_faults(value) else value


def route(text: str) -> str:
    """A route, or the name of a span made from a path: what comes from the caller may hold anything."""
    return text if len(text) <= MAX_TEXT and _ROUTE.fullmatch(text) else REDACTED


def message(text: str) -> str:
    """A log message without e-mail addresses and longer numbers, cut to a length."""
    return _NUMBER.sub(REDACTED, _EMAIL.sub(REDACTED, text))[:MAX_TEXT]


def ours(logger: str) -> bool:
    """Whether a logger is one of Lethe's, whose messages are written with this page in mind."""
    return logger.partition(".")[0] in _OURS


def exception(error: BaseException) -> dict[str, Any]:
    """An exception without its text, which could quote anything: type, place, and our own code where it has one."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    told: dict[str, Any] = {
        "type": type(error).__name__,
        "frames": [f"{_module(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames],
    }
    if isinstance(error, LetheError):
        told |= {"code": error.code, "message": message(error.message)}
    return told


def _module(path: str) -> str:
    """The end of a path: the beginning may hold the name of who installed this."""
    return "/".join(path.split("/")[-2:])
