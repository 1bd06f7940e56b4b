import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from policies.errors import LetheError
from services import telemetry
from services.settings import load_settings
from services.telemetry import metrics, prometheus, redact, traces
from services.telemetry.logs import harmless
from services.telemetry.setup import Exporters, Telemetry
from tests.canary import Canary

NAME, EMAIL, PHONE = "Kunigunde Vogelsang", "kunigunde@voliere.example", "+49 30 7654321"
CANARY = Canary({"name": [NAME], "email": [EMAIL], "phone": [PHONE]})


class Collected:
    """Everything that left the process."""

    def __init__(self, telemetry_: Telemetry, stream: io.StringIO) -> None:
        self.telemetry, self.stream = telemetry_, stream
        self.spans = InMemorySpanExporter()
        self.logs = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collected]:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    made = Collected(Telemetry(), stream)
    made.telemetry = telemetry.setup(
        "lethe-test", load_settings(tmp_path), exporters=Exporters(spans=made.spans, logs=made.logs)
    )
    yield made
    made.telemetry.shutdown()


def test_a_span_has_its_attributes_and_a_failure_its_code(collected: Collected) -> None:
    def fail() -> None:
        with telemetry.span("run.train", run_id="r-1", people=NAME):
            raise LetheError("unlearn.diverged", "The loss is not a number.")

    with pytest.raises(LetheError):
        fail()
    collected.telemetry.shutdown()
    (span,) = collected.spans.get_finished_spans()
    assert span.attributes == {
        "lethe.run_id": "r-1",
        "lethe.people": redact.REDACTED,
        "error.type": "unlearn.diverged",
    }
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.resource.attributes["service.name"] == "lethe-test"


def test_a_run_is_one_trace_in_every_process_and_links_to_its_tickets(collected: Collected) -> None:
    parents = []
    for ticket in ("t-1", "t-2"):
        with telemetry.span("ticket.receive", ticket_id=ticket):
            parents.append(telemetry.traceparent() or "")
    with telemetry.run_span("run.augment", "r-1", tickets=[*parents, "no traceparent"]):
        pass
    traces.use(None)  # another process, later
    second = InMemorySpanExporter()
    other = telemetry.setup("lethe-other", _settings(collected), exporters=Exporters(spans=second))
    with telemetry.run_span("run.train", "r-1"), telemetry.span("run.train.step"):
        pass
    other.shutdown()
    collected.telemetry.shutdown()
    first = {span.name: span for span in collected.spans.get_finished_spans() if span.name == "run.augment"}
    spans = [first["run.augment"], *second.get_finished_spans()]
    assert len({span.context.trace_id for span in spans}) == 1
    linked = [f"{link.context.trace_id:032x}" for link in first["run.augment"].links]
    assert linked == [parent.split("-")[1] for parent in parents]


def _settings(_: Collected) -> Any:
    return load_settings(Path("/nonexistent"))


def test_a_trace_goes_on_in_another_process(collected: Collected) -> None:
    with telemetry.span("first") as first:
        parent = telemetry.traceparent()
    with telemetry.span("second", parent=telemetry.context_from(parent)) as second:
        assert second.get_span_context().trace_id == first.get_span_context().trace_id
    assert telemetry.context_from(None) is None
    assert telemetry.traceparent() is None


def test_spans_of_others_lose_what_is_not_on_the_list(collected: Collected) -> None:
    provider = traces._providers[-1]
    with provider.get_tracer("opentelemetry.instrumentation.asgi").start_as_current_span(
        f"GET /people/{EMAIL}",
        attributes={
            "http.method": "GET",
            "http.route": "/tickets/{ticket_id}",
            "http.url": f"http://x/?email={EMAIL}",
            "http.target": f"/people/{EMAIL}",
            "net.peer.ip": "203.0.113.9",
            "gen_ai.request.model": "lethe",
            "gen_ai.prompt": NAME,
            "lethe.note": NAME,
        },
    ) as span:
        span.add_event("exception", {"exception.message": NAME})
        span.set_status(trace.Status(trace.StatusCode.ERROR, NAME))
    collected.telemetry.shutdown()
    (exported,) = collected.spans.get_finished_spans()
    assert exported.name == redact.REDACTED
    assert exported.attributes == {
        "http.method": "GET",
        "http.route": "/tickets/{ticket_id}",
        "gen_ai.request.model": "lethe",
        "lethe.note": redact.REDACTED,
    }
    assert CANARY.in_text(exported.to_json(), "span") == []


def test_logs_are_json_lines_with_the_trace_and_without_the_person(collected: Collected) -> None:
    log = logging.getLogger("services.test")
    with telemetry.span("ticket.receive"):
        parent = telemetry.traceparent() or ""
        log.info("ticket of %s, %s, stored", EMAIL, PHONE, extra={"lethe.ticket_id": "t-1", "lethe.name": NAME})
        try:
            raise ValueError(f"{NAME} lives here")
        except ValueError:
            log.exception("step failed")
        try:
            raise LetheError("unlearn.no_rows", "No rows.")
        except LetheError:
            log.exception("step refused")
        logging.getLogger("sqlalchemy.engine").warning("parameters: %s", NAME)
        logging.getLogger("elsewhere").info("not told at all")
        log.debug("below the level")
    collected.telemetry.shutdown()
    first, second, third, library = collected.lines()
    assert first["message"] == f"ticket of {redact.REDACTED}, {redact.REDACTED}, stored"
    assert (first["trace_id"], first["lethe.ticket_id"], first["lethe.name"]) == (
        parent.split("-")[1],
        "t-1",
        redact.REDACTED,
    )
    assert second["exception"]["type"] == "ValueError"
    assert second["exception"]["frames"][0].startswith("services/test_telemetry.py:")
    assert third["exception"]["code"] == "unlearn.no_rows"
    assert library["message"] == "parameters: %s"
    assert CANARY.in_text(collected.stream.getvalue(), "log") == []
    exported = [record.log_record for record in collected.logs.get_finished_logs()]
    assert [record.body for record in exported] == [line["message"] for line in collected.lines()]
    assert f"{exported[0].trace_id:032x}" == parent.split("-")[1]
    assert exported[1].attributes is not None
    assert exported[1].attributes["exception.type"] == "ValueError"
    assert CANARY.in_text(str([record.attributes for record in exported]), "log") == []


def test_arguments_that_do_not_fit_lose_the_arguments_and_not_the_line() -> None:
    record = logging.LogRecord("services.test", logging.INFO, __file__, 1, "two %s %s", ("one",), None)
    assert harmless(record)["message"] == "two %s %s"


def test_access_lines_have_no_address_no_query_and_no_odd_path(collected: Collected) -> None:
    access = logging.getLogger("bentoml.access")
    for path in ("/tickets/t-1", f"/people/{EMAIL}", f"/find/{NAME}"):
        access.info(
            "%s (%s) (%s) %.3fms",
            "203.0.113.9:4711",
            f"scheme=http,method=GET,path={path},type=,length=",
            "status=200,type=application/json,length=9",
            1.25,
        )
    logging.getLogger("uvicorn.access").warning("GET /?email=%s", EMAIL)
    logging.getLogger("httpx").warning("HTTP Request: GET http://x/?email=%s", EMAIL)
    assert [line["message"] for line in collected.lines()] == [
        "GET /tickets/t-1 200 1.2 ms",
        f"GET {redact.REDACTED} 200 1.2 ms",
        f"GET {redact.REDACTED} 200 1.2 ms",
    ]


def test_metrics_have_statuses_and_codes_only() -> None:
    from opentelemetry.sdk.metrics import MeterProvider

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], views=metrics.views(), shutdown_on_exit=False)
    metrics.use(provider)
    metrics.add("lethe.tickets", 1, {"lethe.status": "completed", "lethe.ticket_id": "t-1"})  # one too many
    telemetry.count_ticket("completed")
    telemetry.count_rejection("kfr_min")
    telemetry.record_step("train", 12.5, outcome="ok")
    telemetry.record_swap(0.5, outcome="ok", phases={"prepare": 0.4})
    telemetry.count_recheck("pass")
    measured = reader.get_metrics_data()
    assert measured is not None
    data = json.loads(measured.to_json())
    metrics.use(None)
    provider.shutdown()
    found = {
        metric["name"]: metric["data"]["data_points"][0]["attributes"]
        for metric in data["resource_metrics"][0]["scope_metrics"][0]["metrics"]
    }
    assert found == {
        "lethe.tickets": {"lethe.status": "completed"},
        "lethe.gate.rejections": {"lethe.threshold": "kfr_min"},
        "lethe.run.step.duration": {"lethe.step": "train", "lethe.outcome": "ok"},
        "lethe.swap.duration": {"lethe.outcome": "ok"},
        "lethe.swap.phase.duration": {"lethe.phase": "prepare"},
        "lethe.rechecks": {"lethe.outcome": "pass"},
        "lethe.suppressed": {},
    }


def test_a_count_is_there_at_0_before_its_first_event(collected: Collected) -> None:
    """Prometheus sees no increase in a series that begins at 1."""
    telemetry.begin_counts("lethe.rechecks", ("pass", "fail"))
    assert 'lethe_rechecks_total{lethe_outcome="fail"} 0.0' in prometheus.page()[0].decode()
    telemetry.count_recheck("fail")
    page = prometheus.page()[0].decode()
    assert 'lethe_rechecks_total{lethe_outcome="fail"} 1.0' in page
    assert 'lethe_rechecks_total{lethe_outcome="pass"} 0.0' in page


def test_the_count_of_suppressed_answers_is_told_when_a_step_of_time_has_ended() -> None:
    now = [5.0]
    count = metrics.Coarse(10.0, clock=lambda: now[0])
    count.add()
    assert count.told() == 0
    now[0] = 10.0
    count.add()
    count.add()
    assert count.told() == 1
    now[0] = 31.0
    assert count.told() == 3


def test_figures_that_cannot_be_had_are_missing_and_the_page_is_there(collected: Collected) -> None:
    def busy() -> list[tuple[float, dict[str, str]]]:
        raise LetheError("store.busy", "Busy.")

    telemetry.observe("lethe.replicas.behind", busy)
    telemetry.observe("lethe.adapter.generation", lambda: [(3, {"lethe.replica": "r-1", "lethe.more": NAME})])
    text = prometheus.page()[0].decode()
    assert 'lethe_adapter_generation{lethe_replica="r-1"} 3.0' in text
    assert "lethe_replicas_behind" not in text
    assert CANARY.in_text(text, "metrics") == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("run r-0123456789abcdef done in 12.5 s", "run r-0123456789abcdef done in 12.5 s"),
        ("at 2026-11-21 and u-1234567890", f"at {redact.REDACTED} and u-1234567890"),
        (f"mail {EMAIL}.", f"mail {redact.REDACTED}"),
        ("mail x%40y.example now", f"mail {redact.REDACTED} now"),
        (f"call {PHONE}", f"call {redact.REDACTED}"),
        ("a" * 1000, "a" * 500),
    ],
)
def test_messages_lose_addresses_and_numbers(text: str, told: str) -> None:
    assert redact.message(text) == told


def test_an_unreachable_collector_does_not_hold_up_the_end(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, telemetry={"exporter": "otlp", "endpoint": "http://127.0.0.1:9"})
    started = telemetry.setup("lethe-test", settings)
    with telemetry.span("lost"):
        pass
    started.shutdown()


def test_the_console_shows_spans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    started = telemetry.setup("lethe-test", load_settings(tmp_path, telemetry={"exporter": "console"}))
    with telemetry.span("seen"):
        pass
    started.shutdown()
    assert '"name": "seen"' in stream.getvalue()


def test_fastapis_own_telemetry_is_off(collected: Collected) -> None:
    """Its records of faults hold the request; any provider that a library sets globally would take them."""
    app = FastAPI(telemetry=telemetry.NO_FASTAPI_TELEMETRY)

    @app.get("/tickets/{number}")
    def show(number: int) -> str | None:
        return telemetry.traceparent()

    client = TestClient(app)
    assert client.get("/tickets/7").json() is None
    assert client.get(f"/tickets/{NAME}").status_code == 422
    collected.telemetry.shutdown()
    assert not collected.spans.get_finished_spans()
    made = [path for path in Path("services").rglob("*.py") if " = FastAPI(" in path.read_text()]
    assert len(made) == 3
    assert all("telemetry=telemetry.NO_FASTAPI_TELEMETRY" in path.read_text() for path in made)


def test_requests_are_measured_by_the_template_of_their_route(collected: Collected) -> None:
    app = FastAPI()

    @app.get("/tickets/{ticket_id}")
    def show(ticket_id: str) -> str:
        return ticket_id

    behind = telemetry.MetricsPage(app)
    client = TestClient(telemetry.HttpMetrics(behind, routes=("/v1/models",)))
    for path in ("/tickets/t-1", f"/tickets/{NAME}", f"/people/{EMAIL}", "/v1/models", "/livez"):
        client.get(path)
    client.request(NAME.partition(" ")[0].upper(), "/tickets/t-1")
    page = client.get("/metrics").text
    counted = {
        (labels["http_request_method"], labels["http_route"], labels["http_response_status_code"]): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "http_server_request_duration_seconds_count"
        for labels in [sample.labels]
    }
    assert counted == {
        ("GET", "/tickets/{ticket_id}", "200"): 2,
        ("GET", "other", "404"): 1,
        ("GET", "/v1/models", "404"): 1,
        ("other", "/tickets/{ticket_id}", "405"): 1,
    }
    assert CANARY.in_text(page, "metrics") == []
