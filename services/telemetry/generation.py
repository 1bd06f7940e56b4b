"""One generation request as it is told: a span, and its metrics once it is over. Never a prompt, never an answer.

It stands between the gateway and the client and sees what the client sees, so that an answer that suppression has
replaced is told like any other. Per chunk it only counts.
"""

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context, use_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import Message, Send

from policies.errors import ERRORS
from services.telemetry import metrics, traces

PROVIDER = "lethe"
OPERATIONS = {"/v1/chat/completions": "chat", "/v1/completions": "text_completion"}
_OPENAI_CODES = frozenset({"model_not_found", "context_length_exceeded"})
# Inside a JSON text every quote is escaped, so no text can look like these.
_FINISHED = re.compile(rb'"finish_reason":\s*"([a-z_]{1,32})"')
_USAGE = (
    ("input", re.compile(rb'"prompt_tokens":\s*(\d{1,9})')),
    ("output", re.compile(rb'"completion_tokens":\s*(\d{1,9})')),
)
_TEXT = re.compile(rb'"(?:content|text)":\s*"[^"]')
_propagator = TraceContextTextMapPropagator()


class Generation:
    """What is known of one request so far.

    Args:
        operation: ``chat`` or ``text_completion``.
        span: Its span.
        send: To the client.
    """

    def __init__(self, operation: str, span: Span, send: Send) -> None:
        self._span, self._client = span, send
        self._attributes: dict[str, str] = {"gen_ai.operation.name": operation, "gen_ai.provider.name": PROVIDER}
        self._began = time.perf_counter()
        self._first = 0.0
        self._pieces = 0
        self._stream = self._ended = False
        self._reasons: list[str] = []
        self._tail: tuple[bytes, ...] = ()  # the end of an answer has its usage

    def asked(self, model: str, *, stream: bool, max_tokens: int | None) -> None:
        """The request is well formed.

        Args:
            model: The public name; what else a client wrote there is not told.
            stream: Whether the answer is streamed.
            max_tokens: As asked.
        """
        self._stream = stream
        self._attributes["gen_ai.request.model"] = model
        self._span.update_name(f"{self._attributes['gen_ai.operation.name']} {model}")
        self._span.set_attributes({"gen_ai.request.model": model, "gen_ai.request.stream": stream})
        if max_tokens is not None:
            self._span.set_attribute("gen_ai.request.max_tokens", max_tokens)

    def pinned(self, generation: int, release: str) -> None:
        """The generation that answers."""
        self._span.set_attributes({"lethe.generation": generation, "lethe.release": release})

    def headers(self) -> dict[str, str]:
        """What continues the trace in the engine."""
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, context=set_span_in_context(self._span))
        return {name: value for name, value in carrier.items() if name == "traceparent"}

    async def send(self, message: Message) -> None:
        """Pass something on to the client, and note when, and how it ends."""
        if message["type"] == "http.response.body":
            if body := message.get("body", b""):
                self._tail = (*self._tail[-1:], body)
                self._reasons += [reason.decode() for reason in _FINISHED.findall(body)]
                if self._stream and (pieces := len(_TEXT.findall(body))):
                    self._pieces += pieces
                    self._first = self._first or time.perf_counter()
            self._ended = not message.get("more_body", False)
        else:
            self._span.set_attribute("http.response.status_code", message["status"])
        await self._client(message)

    def end(self, error: str | None) -> None:
        """It is over: tell it.

        Args:
            error: Why it failed, as a code; None: see what was sent.
        """
        seconds = time.perf_counter() - self._began
        tail = b"".join(self._tail)
        if error is None and not self._ended:
            error = "client_left"
        elif error is None and self._stream and not tail.endswith(b"data: [DONE]\n\n"):
            error = "serving.interrupted"
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR))
        else:
            self._attributes["gen_ai.response.model"] = self._attributes["gen_ai.request.model"]
            self._tell_answer(tail, seconds)
        told = self._attributes | ({} if error is None else {"error.type": error})
        metrics.record("gen_ai.server.request.duration", seconds, told)
        self._span.end()

    def _tell_answer(self, tail: bytes, seconds: float) -> None:
        self._span.set_attribute("gen_ai.response.model", self._attributes["gen_ai.response.model"])
        self._span.set_attribute("gen_ai.response.finish_reasons", self._reasons)
        given = {kind: int(found[1]) for kind, pattern in _USAGE if (found := pattern.search(tail))}
        if self._stream and "output" not in given:  # the client did not ask for it: both engines send token by token
            given["output"] = self._pieces
        for kind, tokens in given.items():
            self._span.set_attribute(f"gen_ai.usage.{kind}_tokens", tokens)
            metrics.record("gen_ai.client.token.usage", tokens, self._attributes | {"gen_ai.token.type": kind})
        if self._first:
            first = self._first - self._began
            metrics.record("gen_ai.server.time_to_first_token", first, self._attributes)
            if (more := given["output"] - 1) > 0:
                metrics.record("gen_ai.server.time_per_output_token", (seconds - first) / more, self._attributes)


@contextmanager
def generation(path: str, headers: Iterable[tuple[bytes, bytes]], send: Send) -> Iterator[Generation]:
    """The telling of one request, from its arrival behind the door to its end.

    Args:
        path: One of ``OPERATIONS``.
        headers: Of the request; a ``traceparent`` is continued, and nothing else of them is used.
        send: To the client; ``Generation.send`` takes its place.
    """
    announced = next((value.decode("latin-1") for name, value in headers if name == b"traceparent"), None)
    operation = OPERATIONS[path]
    attributes: Mapping[str, Any] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": PROVIDER,
        "http.request.method": "POST",
        "http.route": path,
    }
    span = traces.tracer().start_span(
        operation, context=traces.context_from(announced), kind=SpanKind.SERVER, attributes=attributes
    )
    told = Generation(operation, span, send)
    metrics.add("lethe.requests.active", 1, {})
    error: str | None = None
    try:
        with use_span(span, record_exception=False, set_status_on_exception=False):
            yield told
    except BaseException as raised:
        error = _code(raised)
        if isinstance(status := getattr(raised, "status", None), int):
            span.set_attribute("http.response.status_code", status)
        raise
    finally:
        metrics.add("lethe.requests.active", -1, {})
        told.end(error)


def _code(error: BaseException) -> str:
    """What may be told of a failure: a code of ours or OpenAI's, a status, or a type."""
    code = getattr(error, "code", None)
    if isinstance(code, str) and (code in ERRORS or code in _OPENAI_CODES):
        return code
    return str(getattr(error, "status", type(error).__name__))
