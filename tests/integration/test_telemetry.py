"""Telemetry over real OTLP, and inside a real BentoML worker."""

import logging
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from services import telemetry
from services.settings import load_settings
from tests.canary import Canary
from tests.integration.collector import collecting
from tests.ports import free_port

NAME, EMAIL = "Kunigunde Vogelsang", "kunigunde@voliere.example"
CANARY = Canary({"name": [NAME], "email": [EMAIL]})

SERVICE = """
import logging
import threading
import bentoml
from fastapi import FastAPI
from services import telemetry
from services.settings import load_settings

app = FastAPI()

@app.get("/tickets/{ticket_id}")
def show(ticket_id: str) -> dict[str, str | None]:
    with telemetry.span("ticket.show", ticket_id=ticket_id):
        logging.getLogger("services.intake").warning("asked for %s", ticket_id)
        return {"traceparent": telemetry.traceparent()}

@bentoml.asgi_app(app)
@bentoml.service(workers=1, tracing=telemetry.BENTOML_TRACING)
class Probe:
    def __init__(self) -> None:
        self.telemetry = None
        threading.Thread(target=self.start).start()  # as our services do, because of DBOS

    def start(self) -> None:
        self.telemetry = telemetry.setup("lethe-probe", load_settings())

    async def __is_ready__(self) -> bool:
        return self.telemetry is not None

    @bentoml.on_shutdown
    def stop(self) -> None:
        self.telemetry.shutdown()
"""


def test_traces_metrics_and_logs_arrive_and_hold_no_person(tmp_path: Path) -> None:
    with collecting() as collector:
        settings = load_settings(tmp_path, telemetry={"exporter": "otlp", "endpoint": collector.endpoint})
        started = telemetry.setup("lethe-test", settings)
        with telemetry.span("ticket.receive", ticket_id="t-1", who=NAME):
            logging.getLogger("services.test").info("mail of %s", EMAIL)
            telemetry.count_ticket("received")
            telemetry.record_step("train", 1.0, outcome="ok")
        started.shutdown()
        assert [span.name for span in collector.spans()] == ["ticket.receive"]
        assert "lethe.run.step.duration" in collector.text("/v1/metrics")
        assert "mail of [redacted]" in collector.text("/v1/logs")
        assert CANARY.in_text(collector.text(), "otlp") == []


@pytest.mark.slow
def test_inside_bentoml_a_request_is_one_trace_and_logs_hold_no_query(tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(SERVICE)
    port = free_port()
    with collecting() as collector, (tmp_path / "log").open("wb") as log:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path), os.getcwd()]),
            "LETHE_HOME": str(tmp_path),
            "LETHE_TELEMETRY__EXPORTER": "otlp",
            "LETHE_TELEMETRY__ENDPOINT": collector.endpoint,
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTOML_HOME": str(tmp_path / "bentoml"),
        }
        command = [sys.executable, "-m", "bentoml", "serve", "probe:Probe", "--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
        try:
            _get(port, "/readyz", "", "1af7651916cd43dd8448eb211c80319c")
            trace_id = "0af7651916cd43dd8448eb211c80319c"
            _get(port, "/tickets/t-1", f"?email={urllib.parse.quote(EMAIL)}", trace_id)
            _get(port, "/people/" + urllib.parse.quote(NAME), "", trace_id, status=404)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=30)
        collector.wait(lambda: "ticket.show" in [span.name for span in collector.spans()])
        mine = next(span for span in collector.spans() if span.name == "ticket.show")
        assert mine.trace_id.hex() == trace_id
        outer = [span for span in collector.spans() if span.trace_id.hex() == trace_id and span is not mine]
        assert mine.parent_span_id in {span.span_id for span in outer}
        assert CANARY.in_text(collector.text(), "otlp") == []
    text = (tmp_path / "log").read_text()
    assert "GET /tickets/t-1 200" in text
    assert "127.0.0.1:" not in "".join(line for line in text.splitlines() if "bentoml.access" in line)
    assert CANARY.in_text(text, "log") == []


def _get(port: int, path: str, query: str, trace_id: str, status: int = 200) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}{query}", headers={"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    )
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                assert response.status == status
            return
        except urllib.error.HTTPError as error:
            if error.code == status:
                return
            if error.code != 503 or time.monotonic() > deadline:
                raise
            time.sleep(0.3)
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.3)
