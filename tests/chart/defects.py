"""Seeded defects: each is put into a sound rendering, and exactly the rule that is named has to see it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.chart.rendering import Object, one, pods
from tests.chart.schemas import NAME as SCHEMA

Objects = list[Object]
COPIER = "copier of releases that holds a private key or a database, or can change releases where it only reads"


@dataclass(frozen=True)
class Defect:
    """A defect: what is done to the objects, and who must see it."""

    name: str
    seen_by: str
    seed: Callable[[Objects], Any]


def intake(objects: Objects) -> Object:
    """The intake's container."""
    found: Object = one(objects, "Deployment", "-intake")["spec"]["template"]["spec"]["containers"][0]
    return found


def _spec(objects: Objects, kind: str, suffix: str) -> Object:
    found: Object = one(objects, kind, suffix)["spec"]["template"]["spec"]
    return found


def _gateway(objects: Objects) -> Object:
    found: Object = _spec(objects, "Deployment", "-serving")["containers"][0]
    return found


def _engine(objects: Objects) -> Object:
    inits: list[Object] = _spec(objects, "Deployment", "-serving")["initContainers"]
    (found,) = [container for container in inits if container["name"] == "engine"]
    return found


def _copier(objects: Objects) -> Object:
    found: Object = one(objects, "CronJob", "-push")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return found


def _everywhere(objects: Objects, change: Callable[[Object], Any]) -> None:
    for pod in pods(objects):
        change(pod.spec)


SCHEMA_DEFECTS = (
    Defect("unknown field", SCHEMA, lambda o: intake(o).update(imagePullPolize="Always")),
    Defect("port as text", SCHEMA, lambda o: intake(o)["ports"][0].update(containerPort="8700")),
    Defect("no selector", SCHEMA, lambda o: one(o, "Deployment", "-intake")["spec"].pop("selector")),
    Defect("variable as a number", SCHEMA, lambda o: intake(o)["env"].append({"name": "X", "value": 1})),
    Defect("runAsNonRoot as text", SCHEMA, lambda o: intake(o)["securityContext"].update(runAsNonRoot="true")),
    Defect(
        "API version that is gone", SCHEMA, lambda o: one(o, "CronJob", "-audit").update(apiVersion="batch/v1beta1")
    ),
)

OBJECT_DEFECTS = (
    Defect(
        "selector != template labels",
        "selector is not among the template's labels",
        lambda o: one(o, "StatefulSet")["spec"]["selector"]["matchLabels"].update(tier="x"),
    ),
    Defect(
        "mount without volume",
        "volume mount without its volume",
        lambda o: intake(o)["volumeMounts"].append({"name": "cache", "mountPath": "/cache"}),
    ),
    Defect(
        "memory: 12GiBi",
        "quantity that is none",
        lambda o: intake(o)["resources"]["limits"].update(memory="12GiBi"),
    ),
    Defect(
        "imagePullPolicy: Sometimes",
        "value that the enumeration has not",
        lambda o: intake(o).update(imagePullPolicy="Sometimes"),
    ),
    Defect(
        "upper case and underscore in a name",
        "name that is no DNS name",
        lambda o: one(o, "ConfigMap", "-dashboard")["metadata"].update(name="Forget_dashboard"),
    ),
    Defect("limit < request", "limit below the request", lambda o: intake(o)["resources"]["limits"].update(cpu="10m")),
    Defect(
        "GPU limit != request",
        "GPU's limit is not its request",
        lambda o: _engine(o)["resources"]["limits"].update({"nvidia.com/gpu": 2}),
    ),
    Defect(
        "label of 64 characters",
        "label value that is none",
        lambda o: one(o, "Role")["metadata"]["labels"].update(long="x" * 64),
    ),
    Defect(
        "two containers of one name",
        "two containers of one name",
        lambda o: _spec(o, "StatefulSet", "")["initContainers"][0].update(name="unlearning"),
    ),
    Defect(
        "probe with two handlers",
        "probe without exactly one handler",
        lambda o: intake(o)["livenessProbe"].update(tcpSocket={"port": 8700}),
    ),
    Defect(
        "port name of 16 characters",
        "port name that is none",
        lambda o: intake(o)["ports"].append({"name": "x" * 16, "containerPort": 9}),
    ),
    Defect(
        "replicas: -1",
        "replicas below none",
        lambda o: one(o, "Deployment", "-serving")["spec"].update(replicas=-1),
    ),
)

CROSS_DEFECTS = (
    Defect(
        "Service to a port that is not there",
        "Service without pods, or to a port that they have not",
        lambda o: one(o, "Service", "-intake")["spec"]["ports"][0].update(targetPort="api"),
    ),
    Defect(
        "Service that selects nothing",
        "Service without pods, or to a port that they have not",
        lambda o: one(o, "Service", "-serving")["spec"]["selector"].update({"app.kubernetes.io/component": "served"}),
    ),
    Defect(
        "budget for nobody",
        "selector of a policy, budget or monitor that matches nothing",
        lambda o: one(o, "PodDisruptionBudget", "-serving")["spec"]["selector"]["matchLabels"].update(x="y"),
    ),
    Defect(
        "monitor for nobody",
        "selector of a policy, budget or monitor that matches nothing",
        lambda o: one(o, "ServiceMonitor")["spec"]["selector"]["matchLabels"].update(x="y"),
    ),
    Defect(
        "scaler of another name",
        "scaler of a workload that is not there, or that counts its replicas itself",
        lambda o: one(o, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"].update(name="forget"),
    ),
    Defect(
        "replicas beside KEDA",
        "scaler of a workload that is not there, or that counts its replicas itself",
        lambda o: one(o, "StatefulSet")["spec"].update(replicas=1),
    ),
    Defect(
        "secret that nobody makes",
        "Secret, claim or account that nobody makes and no value names",
        lambda o: intake(o)["env"].append(
            {"name": "OTHER", "valueFrom": {"secretKeyRef": {"name": "unknown", "key": "x"}}}
        ),
    ),
    Defect(
        "privileged hook",
        "pod that PodSecurity `restricted` refuses",
        lambda o: _spec(o, "Job", "-migrations")["containers"][0].update(securityContext={}),
    ),
    Defect(
        "test pod without seccomp",
        "pod that PodSecurity `restricted` refuses",
        lambda o: one(o, "Pod")["spec"]["securityContext"].pop("seccompProfile"),
    ),
    Defect("image: latest", "image without a fixed version", lambda o: intake(o).update(image="registry:5000/lethe")),
    Defect(
        "budget that blocks drains",
        "budget that blocks every drain",
        lambda o: one(o, "PodDisruptionBudget", "-serving")["spec"].update(maxUnavailable=0),
    ),
    Defect(
        "Ingress to another Service",
        "Ingress to a Service or port that is not there",
        lambda o: one(o, "Ingress", "-serving")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"].update(
            name="serving"
        ),
    ),
    Defect(
        "variable given twice",
        "two objects of one kind and name, or a variable given twice",
        lambda o: intake(o)["env"].append({"name": "HOME", "value": "/"}),
    ),
    Defect(
        "container without limits",
        "workload without resources or a limit of memory",
        lambda o: one(o, "Pod")["spec"]["containers"][0].pop("resources"),
    ),
)

HOUSE_DEFECTS = (
    Defect(
        "opening to everybody",
        "pod without default-deny, or with an opening to everybody",
        lambda o: one(o, "NetworkPolicy", "-intake")["spec"]["ingress"][0].pop("from"),
    ),
    Defect(
        "pod beyond every policy",
        "pod without default-deny, or with an opening to everybody",
        lambda o: one(o, "CronJob", "-audit")["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"].pop(
            "app.kubernetes.io/instance"
        ),
    ),
    Defect(
        "engine with a port",
        "engine that others than its gateway can reach",
        lambda o: _engine(o).update(ports=[{"containerPort": 8000}]),
    ),
    Defect(
        "socket shared with another container",
        "engine that others than its gateway can reach",
        lambda o: _spec(o, "Deployment", "-serving")["initContainers"][0]["volumeMounts"].append(
            {"name": "sockets", "mountPath": "/run/lethe/sockets"}
        ),
    ),
    Defect(
        "serving may write releases",
        "serving that can write releases, or hold a private key",
        lambda o: [m.pop("readOnly", None) for m in _gateway(o)["volumeMounts"] if m["name"] == "releases"],
    ),
    Defect(
        "serving holds every key",
        "serving that can write releases, or hold a private key",
        lambda o: [v["secret"].pop("items") for v in _spec(o, "Deployment", "-serving")["volumes"] if "secret" in v],
    ),
    Defect(
        "copier with every key",
        COPIER,
        lambda o: [v["secret"].pop("items") for v in _copier(o)["volumes"] if "secret" in v],
    ),
    Defect(
        "copier with the database",
        COPIER,
        lambda o: _copier(o)["containers"][0]["env"].append({"name": "LETHE_STORE__URL", "value": "sqlite:////x"}),
    ),
    Defect(
        "copier that may change what it copies",
        COPIER,
        lambda o: [m.pop("readOnly", None) for m in _copier(o)["containers"][0]["volumeMounts"]],
    ),
    Defect(
        "Secret made by the chart",
        "secret made by the chart, or written into it",
        lambda o: o.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "stringData": {"a": "b"}}),
    ),
    Defect(
        "password in a variable",
        "secret made by the chart, or written into it",
        lambda o: intake(o)["env"].append({"name": "OTHER_URL", "value": "postgresql://lethe:secret@db/lethe"}),
    ),
    Defect(
        "Role without names",
        "token of the API, or a Role that is not named to the object",
        lambda o: one(o, "Role")["rules"][0].pop("resourceNames"),
    ),
    Defect(
        "token of the API in a pod",
        "token of the API, or a Role that is not named to the object",
        lambda o: _everywhere(o, lambda spec: spec.pop("automountServiceAccountToken")),
    ),
    Defect(
        "setting with a typo",
        "variable LETHE_… that Lethe refuses",
        lambda o: intake(o)["env"].append({"name": "LETHE_INTAKE__MAX_BODY", "value": "1"}),
    ),
    Defect(
        "maxUnavailable: 1",
        "rollout that stops serving, or ends answers under way",
        lambda o: one(o, "Deployment", "-serving")["spec"]["strategy"]["rollingUpdate"].update(maxUnavailable=1),
    ),
    Defect(
        "grace period shorter than the drain",
        "rollout that stops serving, or ends answers under way",
        lambda o: _spec(o, "Deployment", "-serving").update(terminationGracePeriodSeconds=30),
    ),
)

DEFECTS = (*SCHEMA_DEFECTS, *OBJECT_DEFECTS, *CROSS_DEFECTS, *HOUSE_DEFECTS)
