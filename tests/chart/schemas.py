"""Kubernetes' own schemas, strict; kinds that are not Kubernetes' own are named here, and no others pass."""

import json
from functools import cache

import kubernetes_validate
from kubernetes_validate import SchemaNotFoundError, ValidationError

from tests.chart.rendering import Object

FOREIGN = {
    ("external-secrets.io/v1", "ExternalSecret"),
    ("keda.sh/v1alpha1", "ScaledObject"),
    ("keda.sh/v1alpha1", "TriggerAuthentication"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
    ("monitoring.coreos.com/v1", "ServiceMonitor"),
}
NAME = "Kubernetes' schema"


def schema_faults(objects: list[Object], kubernetes: str) -> list[str]:
    """What the schemas of a version refuse."""
    found = [
        _refusal(json.dumps(one), kubernetes) for one in objects if (one["apiVersion"], one["kind"]) not in FOREIGN
    ]
    return [fault for fault in found if fault]


@cache  # cases share most of their objects
def _refusal(text: str, kubernetes: str) -> str:
    one = json.loads(text)
    try:
        kubernetes_validate.validate(one, kubernetes, strict=True)
    except ValidationError as error:
        return f"{one['kind']} {one['metadata']['name']}: {error.message}"
    except SchemaNotFoundError:
        return f"{one['apiVersion']} {one['kind']}: no such kind in {kubernetes}"
    return ""
