"""Writes the golden files, and freezes a version's names: ``python -m tests.chart.golden``.

Look at the difference before it is committed: it is what an upgrade does to a cluster.
"""

import json
from pathlib import Path
from typing import Any

import yaml

from charts.reference import CHART
from tests.chart.rendering import Object, case, render

HERE = Path(__file__).parent
GOLDEN, FROZEN = HERE / "golden", HERE / "frozen"
CASES = ("minimal", "vllm", "everything")


def golden(name: str) -> str:
    """What a case renders, in the order of the templates."""
    return yaml.safe_dump_all(render(case(name)), sort_keys=True, width=110, allow_unicode=True)


def version() -> str:
    """Of the chart."""
    return str(yaml.safe_load((CHART / "Chart.yaml").read_text())["version"])


def unchangeable(objects: list[Object]) -> dict[str, Any]:
    """What an upgrade cannot change, or must not: names, selectors, what claims are."""
    found: dict[str, Any] = {}
    for one in objects:
        name, spec = f"{one['kind']}/{one['metadata']['name']}", one.get("spec", {})
        if one["kind"] in {"Deployment", "StatefulSet"}:
            found[name] = {"selector": spec["selector"], "serviceName": spec.get("serviceName")}
        elif one["kind"] == "PersistentVolumeClaim":
            found[name] = {key: spec.get(key) for key in ("accessModes", "storageClassName")}
        elif one["kind"] == "Service":
            found[name] = {"clusterIP": spec.get("clusterIP"), "selector": spec["selector"]}
        elif one["kind"] in {"RoleBinding"}:
            found[name] = {"roleRef": one["roleRef"]}
    return found


def main() -> None:
    """Write the golden files; freeze this version if it is not frozen yet."""
    GOLDEN.mkdir(exist_ok=True)
    for name in CASES:
        (GOLDEN / f"{name}.yaml").write_text(golden(name))
    for name in ("minimal", "everything"):
        place = FROZEN / version() / name
        if not place.exists():
            place.mkdir(parents=True)
            (place / "values.yaml").write_text((CHART / "ci" / f"{name}-values.yaml").read_text())
            (place / "unchangeable.json").write_text(json.dumps(unchangeable(render(case(name))), indent=1) + "\n")


if __name__ == "__main__":
    main()
