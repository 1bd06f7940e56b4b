"""The chart as helm renders it, in this process: no helm binary, no cluster."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import helm_python
import yaml
from helm_python import _native  # render() itself takes neither a Kubernetes version nor API versions

from charts.reference import CHART

RELEASE, NAMESPACE = "erasure", "privacy"
KUBERNETES = ("1.29", "1.33", "1.37")
CASES = tuple(sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml")))

Object = dict[str, Any]
Workload = Object


@dataclass(frozen=True)
class Pod:
    """A pod's template, with the object that it belongs to."""

    owner: Object
    metadata: Object
    spec: Object

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.metadata.get("labels", {}))

    @property
    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]

    @property
    def name(self) -> str:
        return f"{self.owner['kind']}/{self.owner['metadata']['name']}"


@cache
def case(name: str) -> dict[str, Any]:
    """The values of a case; not to be changed."""
    values: dict[str, Any] = yaml.safe_load((CHART / "ci" / f"{name}-values.yaml").read_text())
    return values


def render_text(values: dict[str, Any], *, kubernetes: str = "1.33", chart: Path = CHART) -> dict[str, str]:
    """Templates and what they give.

    Raises:
        helm_python.HelmError: The values do not fit, or a template failed.
    """
    options = {"name": RELEASE, "namespace": NAMESPACE, "kube_version": f"v{kubernetes}.0", "api_versions": []}
    answer = _native.call_string("helm_render", _loaded(chart)._raw(), json.dumps(values), json.dumps(options))
    rendered: dict[str, str] = json.loads(answer) if isinstance(answer, str) else answer
    return rendered


@cache
def _loaded(chart: Path) -> helm_python.Chart:
    return helm_python.Chart.load(chart)


def render(values: dict[str, Any], *, kubernetes: str = "1.33", chart: Path = CHART) -> list[Object]:
    """Every object, in the order of the templates."""
    found: list[Object] = []
    for name, text in sorted(render_text(values, kubernetes=kubernetes, chart=chart).items()):
        if name.endswith((".yaml", ".yml")):
            found += [part for part in yaml.safe_load_all(text) if part]
    return found


def pods(objects: list[Object]) -> list[Pod]:
    """Every pod that these objects make, hooks and tests included."""
    found = []
    for one in objects:
        if one["kind"] == "Pod":
            found.append(Pod(one, one["metadata"], one["spec"]))
        elif one["kind"] == "CronJob":
            template = one["spec"]["jobTemplate"]["spec"]["template"]
            found.append(Pod(one, template["metadata"], template["spec"]))
        elif one["kind"] in {"Deployment", "StatefulSet", "DaemonSet", "Job", "ReplicaSet"}:
            template = one["spec"]["template"]
            found.append(Pod(one, template["metadata"], template["spec"]))
    return found


def one(objects: list[Object], kind: str, suffix: str = "") -> Object:
    """The only object of a kind whose name ends like that."""
    (found,) = [o for o in objects if o["kind"] == kind and o["metadata"]["name"].endswith(suffix)]
    return found
