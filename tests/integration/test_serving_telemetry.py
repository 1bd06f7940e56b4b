"""Telemetry of the serving service as it runs: one trace from the client to the engine, and no word of a prompt."""

import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.canary import Canary
from tests.integration.collector import Collector, collecting
from tests.integration.serving_host import Host, serving_host

pytestmark = pytest.mark.slow

CHAT = "/v1/chat/completions"
NAME, EMAIL = "Kunigunde Vogelsang", "kunigunde@voliere.example"
CANARY = Canary({"name": [NAME], "email": [EMAIL]})
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@dataclass
class Watched:
    host: Host
    collector: Collector
    page: str
    log: str

    def spans(self, name: str) -> list[dict[str, Any]]:
        return [told(span) for span in self.collector.spans() if span.name == name]


def told(span: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for attribute in span.attributes:
        kind = attribute.value.WhichOneof("value")
        value = getattr(attribute.value, kind)
        values[attribute.key] = [v.string_value for v in value.values] if kind == "array_value" else value
    return values | {"trace": span.trace_id.hex(), "parent": span.parent_span_id.hex()}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with collecting() as collector, serving_host(tmp_path_factory.mktemp("told") / "home") as host:
        host.begin()
        host.start(LETHE_TELEMETRY__EXPORTER="otlp", LETHE_TELEMETRY__ENDPOINT=collector.endpoint)
        host.wait_ready()
        with host.client() as client:
            talk(client)
            page = client.get("/metrics").text
        host.stop()  # sends what waits
        collector.wait(lambda: len(collector.spans()) >= 5)
        yield Watched(host, collector, page, host.log())


def talk(client: httpx.Client) -> None:
    """Requests that hold a person wherever a client can write."""
    person = {
        "traceparent": f"00-{TRACE}-{PARENT}-01",
        "tracestate": "who=" + NAME.replace(" ", "_") + "," + "mail=" + EMAIL,
        "baggage": f"who={EMAIL}",
        "user-agent": NAME,
        "x-request-id": EMAIL,
    }
    asked = {"messages": [{"role": "user", "content": f"who is {NAME} of {EMAIL}"}], "max_tokens": 3, "user": EMAIL}
    usage = {"stream": True, "stream_options": {"include_usage": True}}
    assert client.post(CHAT, json={"model": "lethe", **asked}, headers=person).status_code == 200
    assert client.post(CHAT, json={"model": "lethe", **asked, **usage}, headers=person).status_code == 200
    prompt = {"model": "lethe", "prompt": f"{NAME} is", "max_tokens": 3, "stream": True}
    assert client.post("/v1/completions", json=prompt, headers=person).status_code == 200
    assert client.post(CHAT, json={"model": NAME, **asked}, headers=person).status_code == 404
    assert client.post(CHAT, json={"model": "lethe", **asked, NAME: EMAIL}, headers=person).status_code == 400
    for path in (f"/v1/people/{urllib.parse.quote(NAME)}", f"/v1/models?mail={EMAIL}", f"/{EMAIL}"):
        client.get(path, headers=person)
        client.get(path, headers={**person, "authorization": f"Bearer {EMAIL}"})


def test_each_request_is_one_span_of_the_callers_trace_with_its_generation(watched: Watched) -> None:
    spans = watched.spans("chat lethe")
    assert len(spans) == 2
    for span in spans:
        assert (span["trace"], span["parent"]) == (TRACE, PARENT)
        assert span["lethe.generation"] == 0
        assert len(span["lethe.release"]) == 64
        assert span["gen_ai.response.finish_reasons"] in (["length"], ["stop"])
        assert span["gen_ai.usage.input_tokens"] > 0
        assert 0 < span["gen_ai.usage.output_tokens"] <= 3
    assert len(watched.spans("text_completion lethe")) == 1


def test_refused_requests_are_told_by_their_code(watched: Watched) -> None:
    refused = watched.spans("chat")
    assert sorted(span["error.type"] for span in refused) == ["400", "model_not_found"]
    assert sorted(span["http.response.status_code"] for span in refused) == [400, 404]
    assert all("gen_ai.request.model" not in span and span["lethe.generation"] == 0 for span in refused)


def test_no_span_is_of_a_chunk_or_of_a_path_that_a_caller_made_up(watched: Watched) -> None:
    assert {span.name for span in watched.collector.spans()} <= {"chat", "chat lethe", "text_completion lethe"}


def test_metrics_are_at_the_page_for_prometheus(watched: Watched) -> None:
    page = watched.page
    assert "lethe_adapter_generation{lethe_replica=" in page
    assert 'gen_ai_client_token_usage_count{gen_ai_operation_name="chat"' in page
    assert 'http_route="/v1/chat/completions"' in page
    assert 'http_request_method="GET",http_response_status_code="401",http_route="other"' in page
    assert "lethe_suppressed_total 0.0" in page
    assert "lethe_requests_waiting 0.0" in page
    assert "bentoml" not in page
    assert page.count("\n") < 600


def test_no_trace_of_the_person_is_anywhere(watched: Watched) -> None:
    assert CANARY.in_text(watched.collector.text(), "otlp") == []
    assert CANARY.in_text(watched.page, "metrics") == []
    assert CANARY.in_text(watched.log, "log") == []
    assert CANARY.search(watched.host.home) == []
    assert "chat lethe" in watched.collector.text()
