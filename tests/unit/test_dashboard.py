"""The dashboard and the alerts ask for metrics and labels that the code emits; the documentation names them all."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client.parser import text_string_to_metric_families

from services import telemetry
from services.settings import load_settings
from services.telemetry import metrics, prometheus
from services.telemetry.instruments import INSTRUMENTS, MODEL

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "charts/lethe/dashboards/serving.json").read_text())
DOCUMENT = (ROOT / "docs/telemetry.md").read_text()


@pytest.fixture(scope="module")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Every sample that Prometheus could read, with its labels: each metric of ours measured once, read as it reads."""
    started = telemetry.setup("lethe-test", load_settings(tmp_path_factory.mktemp("home")))
    for one in INSTRUMENTS.values():
        attributes = dict.fromkeys(one.attributes, "x")
        if one.kind == "gauge":
            telemetry.observe(one.name, lambda attributes=attributes: [(1.0, attributes)])  # type: ignore[misc]
        elif one.kind == "histogram":
            metrics.record(one.name, 1.0, attributes)
        elif one.kind != "total":  # the only one, suppressed answers, is always there
            metrics.add(one.name, 1, attributes)
    text = prometheus.page()[0].decode()
    started.shutdown()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]


def alerts() -> list[str]:
    (block,) = re.findall(r"```yaml\n(groups:.*?)```", DOCUMENT, re.S)
    return [rule["expr"] for group in yaml.safe_load(block)["groups"] for rule in group["rules"]]


def asked(node: Any) -> Iterator[tuple[str, set[str]]]:
    """Metrics of an expression with the labels that it matches or groups by."""
    name = type(node).__name__
    if name == "VectorSelector":
        yield node.name, {matcher.name for matcher in node.matchers.matchers}
    elif name == "MatrixSelector":
        yield from asked(node.vector_selector)
    elif name == "Call":
        for argument in node.args:
            yield from asked(argument)
    elif name == "AggregateExpr":
        by = set(node.modifier.labels) if node.modifier is not None else set()
        for metric, labels in asked(node.expr):
            yield metric, labels | by
    elif name == "BinaryExpr":
        yield from asked(node.lhs)
        yield from asked(node.rhs)
    elif name == "ParenExpr":
        yield from asked(node.expr)
    else:
        assert name in {"NumberLiteral", "StringLiteral"}, name


@pytest.mark.parametrize("expression", [*expressions(), *alerts()])
def test_every_query_asks_for_what_the_code_emits(expression: str, emitted: dict[str, set[str]]) -> None:
    parsed = promql_parser.parse(expression.replace("$__rate_interval", "5m"))
    found = list(asked(parsed))
    assert found
    for metric, labels in found:
        assert metric in emitted
        assert labels <= emitted[metric]


def test_every_metric_of_the_issue_is_on_the_dashboard_under_the_name_that_the_documents_give() -> None:
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| `(lethe_[a-z_]+)", DOCUMENT, re.M))
    assert set(rows) == {
        "adapter_generation",
        "replicas_behind",
        "swap_seconds",
        "suppressed_total",
        "erasure_pending_seconds",
    }
    asked_for = " ".join(expressions())
    assert [name for name in rows.values() if name not in asked_for] == []


def test_the_documents_name_every_metric_with_its_attributes() -> None:
    for one in INSTRUMENTS.values():
        (row,) = [line for line in DOCUMENT.splitlines() if line.startswith(f"| `{one.name}`")]
        told = set(re.findall(r"`([a-z_.]+)`", row.split("|")[2]))
        assert told | (set(MODEL) if "*model*" in row else set()) == set(one.attributes)


def test_grafanas_own_model_reads_the_dashboard_and_loses_nothing() -> None:
    model = json.loads(JSONEncoder().encode(Dashboard.from_json(DASHBOARD)))
    assert lost(DASHBOARD, model) == []
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def lost(before: Any, after: Any, place: str = "") -> list[str]:
    """What one JSON has and another has not, or not so."""
    if isinstance(before, dict):
        return [
            found
            for key, value in before.items()
            for found in (lost(value, after[key], f"{place}/{key}") if key in after else [f"{place}/{key}"])
        ]
    if isinstance(before, list):
        pairs = zip(before, after, strict=True)
        return [found for i, (left, right) in enumerate(pairs) for found in lost(left, right, f"{place}[{i}]")]
    return [] if before == after else [place]
