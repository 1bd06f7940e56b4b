"""Values: generated from the classes, each one used, refused where they cannot work; renderings are reproducible."""

import copy
import json
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

from charts import reference
from charts.values.chart import OWN_SETTINGS
from services.settings import ServingSettings, Settings
from tests.chart.rendering import CASES, case, render_text

SCHEMA = json.loads((reference.CHART / "values.schema.json").read_text())
# Used only where others are on or off: shown with these values in place of the case `everything`.
OTHERWISE: dict[str, dict[str, Any]] = {
    "image.tag": {},
    "intake.replicas": {"intake": {"autoscaling": {"enabled": False}}},
    "unlearning.replicas": {"unlearning": {"keda": {"enabled": False}}},
    "keys.existingSecret": {"keys": {"externalSecret": {"enabled": False}, "existingSecret": "a"}},
    "database.externalSecret": {
        "database": {"existingSecret": "", "externalSecret": {"enabled": True, "store": "a", "remoteKey": "b"}}
    },
    "tryout": {
        "tryout": {"postgresql": {"enabled": True, "existingSecret": "a"}},
        "database": {"existingSecret": ""},
        "networkPolicy": {"databaseTo": []},
        "unlearning": {"keda": {"enabled": False}},
    },
    "storage.bases": {"storage": {"bases": {"existingClaim": ""}}},
}


@pytest.mark.parametrize("path", reference.written(), ids=lambda path: path.name)
def test_generated_files_are_those_of_the_classes(path: Path) -> None:
    assert path.read_text() == reference.written()[path]


def test_the_schema_is_closed_and_says_what_everything_means() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for name, group in {"": SCHEMA, **SCHEMA["$defs"]}.items():
        if name != "Global":  # an umbrella chart has its own there
            assert group["additionalProperties"] is False, name
        for value, about in group.get("properties", {}).items():
            assert len(about["description"]) > 3, f"{name}.{value}"


def test_every_value_is_in_the_schema_and_in_values_yaml() -> None:
    values = yaml.safe_load((reference.CHART / "values.yaml").read_text())
    for path, default, _ in reference.leaves():
        found: Any = values
        schema: Any = SCHEMA
        for part in path.split("."):
            found = found[part]
            schema = schema["properties"][part]
            if "$ref" in schema:
                schema = {**SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], "description": schema["description"]}
        assert found == default, path


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    result = copy.deepcopy(one)
    for key, value in other.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def _set(path: str, value: Any) -> dict[str, Any]:
    for part in reversed(path.split(".")):
        value = {part: value}
    return dict(value)


def _get(values: dict[str, Any], path: str) -> Any:
    found: Any = values
    for part in path.split("."):
        if not isinstance(found, dict) or part not in found:
            return None
        found = found[part]
    return found


_ENUMERATIONS = {
    "pullPolicy": "Always",
    "storeKind": "ClusterSecretStore",
    "schedule": "1 2 3 4 5",
    "url": "s3://other/place",
    "endpoint": "https://other",
}
_LISTS = {"accessModes": ["ReadWriteMany", "ReadWriteOnce"], "imagePullSecrets": ["other"], "paths": ["/other"]}


def other(path: str, now: Any) -> Any:
    """Another value of the same kind."""
    name = path.rpartition(".")[2]
    if name in _ENUMERATIONS:
        return _ENUMERATIONS[name]
    if name in _LISTS:
        return _LISTS[name]
    if name == "digest":
        return "sha256:" + "3" * 64
    if name in {"size", "shmSize"}:
        return "77Gi"
    if name in {"refreshInterval", "interval", "behind"}:
        return "77m"
    if name == "resource":
        return "example.com/other"
    if name == "maxSurge":
        return 2
    if isinstance(now, bool):
        return not now
    if isinstance(now, int):
        return now + 1
    if isinstance(now, str):
        return "/other" if now.startswith("/") else "other"
    if isinstance(now, list):
        return [*now, {"name": "other", "value": "x", "mountPath": "/other", "apiVersion": "v1", "kind": "Other"}]
    if name in {"requests", "limits"}:
        return {**now, "cpu": "7"}
    return {**now, "other": "x"} if name != "config" else {**now, "serving": {**now["serving"], "min_ready": 1}}


@pytest.mark.parametrize("path", [path for path, _, _ in reference.leaves()])
def test_a_value_changes_what_is_rendered(path: str) -> None:
    """Every value is used: the case with everything on renders otherwise when it is another one."""
    base = case("everything")
    for start, more in OTHERWISE.items():
        if path.startswith(start):
            base = merged(base, more)
    default = {path: value for path, value, _ in reference.leaves()}[path]
    now = _get(base, path)
    changed = merged(base, _set(path, other(path, default if now is None else now)))
    assert _rendered(changed) != _rendered(base)


def _rendered(values: dict[str, Any]) -> object:
    """What is rendered, or why it is refused: then the value was looked at too."""
    try:
        return render_text(values)
    except helm_python.HelmRenderError as refusal:
        return str(refusal)


@pytest.mark.parametrize("name", CASES)
def test_the_same_values_render_the_same(name: str) -> None:
    assert render_text(case(name)) == render_text(case(name))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a typo": ({"intake": {"replica": 2}}, "additional properties"),
    "a setting with a typo": ({"config": {"serving": {"min_redy": 1}}}, "additional properties"),
    "a setting that the chart makes": ({"config": {"serving": {"address": "http://x"}}}, "additional properties"),
    "a secret in the settings": ({"config": {"augmenter": {"api_key": "x"}}}, "additional properties"),
    "latest": ({"image": {"tag": "latest"}}, "not"),
    "a text for a number": ({"serving": {"replicas": "2"}}, "integer"),
    "no image": ({"image": {"repository": ""}}, "image.repository is empty"),
    "no database": ({"database": {"existingSecret": ""}}, "database: set either"),
    "two secrets": ({"keys": {"externalSecret": {"enabled": True}}}, "keys: set either"),
    "no store": (
        {"keys": {"existingSecret": "", "externalSecret": {"enabled": True}}},
        "keys.externalSecret: set store",
    ),
    "no base": ({"config": {"base": {"path": ""}}}, "config.base.path"),
    "a dtype that differs": ({"config": {"base": {"dtype": "auto"}}}, "config.base.dtype"),
    "no corpus": ({"config": {"corpus": {"path": ""}}}, "config.corpus.path"),
    "more ready than there are": ({"config": {"serving": {"min_ready": 2}}}, "config.serving.min_ready"),
    "vllm without a GPU": (
        {"config": {"serving": {"engine": "vllm"}}, "serving": {"engine": {"gpu": {"count": 0}}}},
        "vLLM needs a GPU",
    ),
    "a GPU that no process has": (
        {"unlearning": {"gpu": {"count": 2}}},
        "unlearning.gpu.count is not config.unlearning",
    ),
    "no way to the database": ({"networkPolicy": {"databaseTo": []}}, "networkPolicy.databaseTo"),
    "no names": ({"networkPolicy": {"dnsTo": []}}, "networkPolicy.dnsTo"),
    "no way to the writer": ({"config": {"augmenter": {"kind": "llm"}}}, "networkPolicy.augmenterTo"),
    "no way to the mail server": ({"config": {"mail": {"host": "mail.internal"}}}, "networkPolicy.intakeTo is empty"),
    "a password in the settings": ({"config": {"mail": {"password": "x"}}}, "additional properties"),
    "no way to the collector": ({"config": {"telemetry": {"exporter": "otlp"}}}, "networkPolicy.telemetryTo"),
    "a monitor without a key": ({"metrics": {"serviceMonitor": {"enabled": True}}}, "metrics.tokenSecret"),
    "a monitor that reaches nobody": (
        {"metrics": {"serviceMonitor": {"enabled": True}, "tokenSecret": "x"}},
        "networkPolicy.metricsFrom is empty",
    ),
    "no way to OpenDSR's senders": (
        {"config": {"protocols": {"domain": "dsr.example"}}},
        "networkPolicy.intakeTo is empty: config.protocols.domain",
    ),
    "a cluster that no image knows": ({"config": {"ray": {"address": "ray:6379"}}}, "additional properties"),
    "a rollout that cannot begin": ({"serving": {"maxSurge": 0}}, "serving.maxSurge is 0"),
    "a rollout that cannot begin, in percent": ({"serving": {"maxSurge": "0%"}}, "serving.maxSurge is 0"),
    "upside down": ({"intake": {"autoscaling": {"enabled": True, "minReplicas": 9}}}, "minReplicas is more"),
    "no host": ({"intake": {"ingress": {"enabled": True}}}, "intake.ingress.host"),
    "no controller": ({"serving": {"ingress": {"enabled": True, "host": "x.example"}}}, "networkPolicy.servingFrom"),
    "a disk of one node": (
        {"serving": {"replicas": 2}, "storage": {"releases": {"accessModes": ["ReadWriteOnce"]}}},
        "storage.releases.accessModes",
    ),
    "two databases": (
        {"tryout": {"postgresql": {"enabled": True, "existingSecret": "x"}}},
        "another database is named",
    ),
    "a try-out without a password": (
        {"tryout": {"postgresql": {"enabled": True}}},
        "tryout.postgresql.existingSecret is empty",
    ),
    "a try-out that KEDA cannot ask": (
        {"tryout": {"postgresql": {"enabled": True}}, "unlearning": {"keda": {"enabled": True}}},
        "unlearning.keda needs a database of yours",
    ),
    "nothing to fetch from": ({"objectStore": {"fetch": {"enabled": True}}}, "objectStore.url is empty"),
    "no way to the object store": ({"objectStore": {"url": "s3://bucket/x"}}, "networkPolicy.objectStoreTo"),
    "a password in an address": ({"objectStore": {"url": "s3://key:secret@bucket/x"}}, "does not match pattern"),
    "answers cut off": (
        {"config": {"serving": {"request_timeout_s": 600}}},
        "serving.drainSeconds is less",
    ),
    "answers of the default length cut off": ({"serving": {"drainSeconds": 60}}, "serving.drainSeconds is less"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_values_that_cannot_work_are_refused_with_the_mend(name: str) -> None:
    change, said = REFUSED[name]
    with pytest.raises(helm_python.HelmError, match=said):
        render_text(merged(case("minimal"), change))


def test_the_page_counts_the_refusals() -> None:
    page = (reference.CHART.parents[1] / "docs/kubernetes.md").read_text(encoding="utf-8")
    assert f"| {len(REFUSED)} refusals" in page


def test_the_default_that_a_refusal_knows_is_that_of_the_settings() -> None:
    text = (reference.CHART / "templates/validations.yaml").read_text()
    assert re.findall(r'"request_timeout_s" (\d+) ', text) == [f"{ServingSettings().request_timeout_s:.0f}"]


def test_settings_that_are_tables_become_json_and_are_not_walked() -> None:
    """A group at the identity provider would become part of a variable's name."""
    (listed,) = re.findall(r"\$tables := list (.+) -", (reference.CHART / "templates/_environment.tpl").read_text())
    tables = {
        f"{group}.{name}"
        for group, field in Settings.model_fields.items()
        for name, inner in getattr(field.annotation, "model_fields", {}).items()
        if typing.get_origin(inner.annotation) is dict and f"{group}.{name}" not in OWN_SETTINGS
    }
    assert set(re.findall(r'"([^"]+)"', listed)) == tables


def test_no_secret_of_lethe_is_a_value() -> None:
    """Secrets come from Secrets: what the settings hide, the schema of `config` does not have."""

    def hidden(groups: dict[str, Any], name: str, group: dict[str, Any]) -> Iterator[str]:
        for key, value in group["properties"].items():
            for inner in re.findall(r"#/\$defs/(\w+)", json.dumps(value)):
                yield from hidden(groups, inner, groups[inner])
            if value.get("format") == "password":
                yield f"{name}.{key}"

    whole = Settings.model_json_schema()
    assert {name.rpartition(".")[2] for name in hidden(whole["$defs"], "", whole)} >= {"password", "api_key", "url"}
    assert list(hidden(SCHEMA["$defs"], "config", SCHEMA["properties"]["config"])) == []


def test_every_setting_of_lethe_can_be_given_but_those_that_the_chart_makes() -> None:
    def paths(group: Any, prefix: str = "") -> Iterator[str]:
        for name, field in group.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and hasattr(inner, "model_fields"):
                yield from paths(inner, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}"

    def given(group: dict[str, Any], prefix: str = "") -> Iterator[str]:
        for name, value in group["properties"].items():
            if "$ref" in value:
                yield from given(SCHEMA["$defs"][value["$ref"].rpartition("/")[2]], f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}"

    wanted = {p for p in paths(Settings) if not any(p == own or p.startswith(f"{own}.") for own in OWN_SETTINGS)}
    assert set(given(SCHEMA["properties"]["config"])) == wanted
