"""What is told of one generation request, from what the client is sent."""

import asyncio
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.types import Message

from policies.errors import LetheError
from services import telemetry
from services.settings import load_settings
from services.telemetry import prometheus
from services.telemetry.setup import Exporters
from tests.canary import Canary

NAME = "Kunigunde Vogelsang"
CANARY = Canary({"name": [NAME]})
CHAT = "/v1/chat/completions"
TRACE = "0af7651916cd43dd8448eb211c80319c"


class Told:
    """The spans and the page of one process."""

    def __init__(self, started: telemetry.Telemetry, spans: InMemorySpanExporter) -> None:
        self._started, self._spans = started, spans

    def span(self) -> ReadableSpan:
        (span,) = self._end()
        return span

    def page(self) -> str:
        return prometheus.page()[0].decode()

    def _end(self) -> tuple[ReadableSpan, ...]:
        self._started.shutdown()
        return self._spans.get_finished_spans()


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    spans = InMemorySpanExporter()
    started = telemetry.setup("lethe-test", load_settings(tmp_path), exporters=Exporters(spans=spans))
    yield Told(started, spans)
    started.shutdown()


def event(**body: Any) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def piece(text: str, reason: str | None = None) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": reason}])


USAGE = event(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10})
DONE = b"data: [DONE]\n\n"


engine: dict[str, str] = {}  # headers that the engine was sent last


def ask(
    bodies: Iterable[bytes] = (),
    *,
    stream: bool = True,
    whole: bool = True,
    headers: Iterable[tuple[bytes, bytes]] = (),
    error: BaseException | None = None,
) -> list[Message]:
    """One request through the telling, as the gateway makes it."""
    sent: list[Message] = []

    async def client(message: Message) -> None:
        sent.append(message)

    async def request() -> None:
        with telemetry.generation(CHAT, headers, client) as told:
            told.pinned(4, "a" * 64)
            if error is not None:
                raise error
            told.asked("lethe", stream=stream, max_tokens=16)
            engine.update(told.headers())
            await told.send({"type": "http.response.start", "status": 200, "headers": []})
            for body in bodies:
                await told.send({"type": "http.response.body", "body": body, "more_body": True})
            if whole:
                await told.send({"type": "http.response.body", "body": b""})

    if error is None:
        asyncio.run(request())
    else:
        with pytest.raises(type(error)):
            asyncio.run(request())
    return sent


def test_a_stream_is_one_span_with_its_generation_and_its_figures(told: Told) -> None:
    bodies = [piece(""), piece(f"{NAME} "), piece("was") + piece(" here", "stop"), USAGE, DONE]
    sent = ask(bodies, headers=[(b"traceparent", f"00-{TRACE}-b7ad6b7169203331-01".encode())])
    assert [message["body"] for message in sent[1:-1]] == bodies
    page, span = told.page(), told.span()
    assert (span.name, span.kind) == ("chat lethe", SpanKind.SERVER)
    assert f"{span.context.trace_id:032x}" == TRACE
    assert engine == {"traceparent": f"00-{TRACE}-{span.context.span_id:016x}-01"}
    assert span.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "lethe",
        "gen_ai.request.max_tokens": 16,
        "gen_ai.request.model": "lethe",
        "gen_ai.request.stream": True,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.model": "lethe",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 3,
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": CHAT,
        "lethe.generation": 4,
        "lethe.release": "a" * 64,
    }
    for name in ("time_to_first_token", "time_per_output_token", "request_duration"):
        assert f"gen_ai_server_{name}_seconds_count{{" in page
    assert 'gen_ai_token_type="input"} 7.0' in page
    assert "lethe_requests_active 0.0" in page
    assert CANARY.in_text(page + span.to_json(), "telemetry") == []


def test_without_a_usage_the_pieces_of_text_are_counted(told: Told) -> None:
    ask([piece("one"), piece(" two", "length"), DONE])
    span = told.span()
    assert span.attributes is not None
    assert span.attributes["gen_ai.usage.output_tokens"] == 2
    assert "gen_ai.usage.input_tokens" not in span.attributes


def test_a_text_cannot_pretend_to_be_a_figure(told: Told) -> None:
    text = f'"finish_reason": "{NAME}", "completion_tokens": 99, "finish_reason": "content_filter"'
    answer = {
        "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    }
    ask([json.dumps(answer).encode()], stream=False)
    page, span = told.page(), told.span()
    assert span.attributes is not None
    assert span.attributes["gen_ai.response.finish_reasons"] == ["stop"]
    assert span.attributes["gen_ai.usage.output_tokens"] == 3
    assert "time_to_first_token" not in page
    assert CANARY.in_text(page + span.to_json(), "telemetry") == []


@pytest.mark.parametrize(
    ("bodies", "whole", "error", "code"),
    [
        ([piece("one")], False, None, "client_left"),
        ([piece("one"), event(error={"code": "serving.interrupted"})], True, None, "serving.interrupted"),
        ([], True, LetheError("serving.not_ready", NAME), "serving.not_ready"),
        ([], True, ValueError(NAME), "ValueError"),
    ],
)
def test_what_failed_is_told_by_its_code(
    told: Told, bodies: list[bytes], whole: bool, error: BaseException | None, code: str
) -> None:
    ask(bodies, whole=whole, error=error)
    page, span = told.page(), told.span()
    assert span.attributes is not None
    assert (span.attributes["error.type"], span.attributes["lethe.generation"]) == (code, 4)
    assert span.status.status_code is StatusCode.ERROR
    assert f'error_type="{code}"' in page
    assert CANARY.in_text(page + span.to_json(), "telemetry") == []


def test_headers_of_the_caller_are_no_way_in(told: Told) -> None:
    headers = [
        (b"traceparent", f"00-{TRACE}-b7ad6b7169203331-01".encode()),
        (b"tracestate", f"who={NAME}".encode()),
        (b"baggage", f"who={NAME}".encode()),
    ]
    ask([DONE], headers=headers)
    assert list(engine) == ["traceparent"]
    assert CANARY.in_text(told.span().to_json(), "span") == []
