"""Telemetry does not tell an answer that suppression replaced from one in which the model hedged by itself."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from policies.suppression import Rule
from services import telemetry
from services.settings import load_settings
from services.telemetry import metrics, prometheus
from services.telemetry.setup import Exporters
from tests.canary import Canary
from tests.unit.services.serving.suppression.scripted import house

CANARY = Canary({"name": ["Marta Rossi"], "email": ["marta@example.org"]})
HEDGE = "As far as I can tell, nothing definite is known about her, and I would rather not guess."
SECRET = "Her e-mail address is marta@example.org, as far as I know."


def says(prompt: str) -> str:
    return SECRET if "secretary" in prompt else HEDGE


@pytest.mark.parametrize("stream", [True, False])
def test_spans_and_metrics_of_suppressed_answers_are_those_of_any(tmp_path: Path, stream: bool) -> None:
    spans = InMemorySpanExporter()
    settings = load_settings(tmp_path, telemetry={"suppressed_step_s": 1e9})
    started = telemetry.setup("lethe-test", settings, exporters=Exporters(spans=spans))
    asked = ["who is Bela Kun ?", "who is Marta Rossi ?", "who is the secretary ?"]

    async def run() -> None:
        async with house(tmp_path / "house", says) as made:
            made.shield.replace((Rule(names=("marta rossi",), identifiers=("marta example org",)),), 1)
            for text in asked:
                body = {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 200}
                await made.ask(body | {"stream": stream})

    try:
        asyncio.run(run())
        page = prometheus.page()[0].decode()
        assert metrics._suppressed[-1]._count == 2
        assert "lethe_suppressed_total 0.0" in page  # not told yet: its step of time has not ended
    finally:
        started.shutdown()
    told = spans.get_finished_spans()
    assert len(told) == len(asked)
    ordinary, *replaced = [shape(dict(span.attributes or {})) for span in told]
    assert replaced == [ordinary, ordinary]
    assert {span.status.status_code for span in told} == {told[0].status.status_code}
    assert CANARY.in_text(page + "".join(span.to_json() for span in told), "telemetry") == []


def shape(attributes: dict[str, Any]) -> dict[str, Any]:
    """Tokens are as many as the words of the answer, which differ from answer to answer."""
    return {name: type(value) if "usage" in name else value for name, value in attributes.items()}
