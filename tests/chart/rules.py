"""What Kubernetes' schemas let pass and the API server, or nobody at all, refuses: one object at a time.

A rule gives what is wrong, in words; none is a fault. ``cross_rules`` has those that look at several objects.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.chart.rendering import Object, Pod, pods

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")
QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")
_FACTORS = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGTP", 1)},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTP", 1)},
}
_ENUMS = {
    "imagePullPolicy": {"Always", "IfNotPresent", "Never"},
    "restartPolicy": {"Always", "OnFailure", "Never"},
    "concurrencyPolicy": {"Allow", "Forbid", "Replace"},
    "podManagementPolicy": {"Parallel", "OrderedReady"},
    "whenUnsatisfiable": {"DoNotSchedule", "ScheduleAnyway"},
    "pathType": {"Exact", "Prefix", "ImplementationSpecific"},
    "protocol": {"TCP", "UDP", "SCTP"},
    "effect": {"NoSchedule", "PreferNoSchedule", "NoExecute"},
    "fsGroupChangePolicy": {"OnRootMismatch", "Always"},
    "unhealthyPodEvictionPolicy": {"IfHealthyBudget", "AlwaysAllow"},
}
_HANDLERS = ("httpGet", "exec", "tcpSocket", "grpc")


@dataclass(frozen=True)
class World:
    """What was rendered, and the values that it was rendered from."""

    objects: list[Object]
    values: dict[str, Any]

    @property
    def pods(self) -> list[Pod]:
        return pods(self.objects)


Rule = Callable[[World], Iterator[str]]
RULES: dict[str, Rule] = {}


def rule(name: str) -> Callable[[Rule], Rule]:
    """Adds a rule under what the table calls it."""

    def add(function: Rule) -> Rule:
        assert name not in RULES
        RULES[name] = function
        return function

    return add


def faults(world: World) -> dict[str, list[str]]:
    """What each rule finds, of those that find something."""
    found = {name: list(check(world)) for name, check in RULES.items()}
    return {name: faults for name, faults in found.items() if faults}


def walk(part: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, however deep; data of ConfigMaps and settings are no fields."""
    if isinstance(part, dict):
        for key, value in part.items():
            yield key, value
            if key not in {"data", "annotations"}:
                yield from walk(value)
    elif isinstance(part, list):
        for item in part:
            yield from walk(item)


def amount(value: Any) -> Decimal | None:
    """A quantity as a number; None: it is none."""
    match = QUANTITY.fullmatch(str(value))
    return None if match is None else Decimal(match[1]) * _FACTORS[match[2] or ""]


@rule("selector is not among the template's labels")
def _selectors(world: World) -> Iterator[str]:
    for pod in world.pods:
        wanted = pod.owner["spec"].get("selector", {}).get("matchLabels", {})
        if not wanted.items() <= pod.labels.items():
            yield pod.name


@rule("volume mount without its volume")
def _mounts(world: World) -> Iterator[str]:
    for pod in world.pods:
        volumes = {volume["name"] for volume in pod.spec.get("volumes", ())}
        for container in pod.containers:
            for mount in container.get("volumeMounts", ()):
                if mount["name"] not in volumes:
                    yield f"{pod.name}: {mount['name']}"


@rule("quantity that is none")
def _quantities(world: World) -> Iterator[str]:
    for one in world.objects:
        for key, value in walk(one):
            amounts = list(value.values()) if key in {"requests", "limits"} and isinstance(value, dict) else []
            amounts += [value] if key == "sizeLimit" else []
            yield from (f"{one['metadata']['name']}: {given}" for given in amounts if amount(given) is None)


@rule("value that the enumeration has not")
def _enumerations(world: World) -> Iterator[str]:
    for one in world.objects:
        for key, value in walk(one):
            if key in _ENUMS and value not in _ENUMS[key]:
                yield f"{one['metadata']['name']}: {key}: {value}"


@rule("name that is no DNS name")
def _names(world: World) -> Iterator[str]:
    for one in world.objects:
        name = one["metadata"]["name"]
        longest = 52 if one["kind"] == "CronJob" else 63 if one["kind"] in {"Service", "Job", "StatefulSet"} else 253
        if not DNS_NAME.fullmatch(name) or len(name) > longest:
            yield name
    for pod in world.pods:
        for part in (*pod.containers, *pod.spec.get("volumes", ())):
            if not DNS_LABEL.fullmatch(part["name"]):
                yield f"{pod.name}: {part['name']}"


@rule("limit below the request")
def _limits(world: World) -> Iterator[str]:
    for pod in world.pods:
        for container in pod.containers:
            resources = container.get("resources", {})
            for name, asked in resources.get("requests", {}).items():
                least, most = amount(asked), amount(resources.get("limits", {}).get(name, asked))
                if least is not None and most is not None and most < least:
                    yield f"{pod.name}: {name}"


@rule("GPU's limit is not its request")
def _gpus(world: World) -> Iterator[str]:
    for pod in world.pods:
        for container in pod.containers:
            resources = container.get("resources", {})
            asked, most = resources.get("requests", {}), resources.get("limits", {})
            for name in {*asked, *most}:
                if "/" in name and asked.get(name) != most.get(name):
                    yield f"{pod.name}: {name}"


@rule("label value that is none")
def _labels(world: World) -> Iterator[str]:
    for one in world.objects:
        for key, value in walk(one):
            if key in {"labels", "matchLabels", "nodeSelector"} and isinstance(value, dict):
                yield from (f"{one['metadata']['name']}: {v}" for v in value.values() if not LABEL_VALUE.fullmatch(v))


@rule("two containers of one name")
def _twice(world: World) -> Iterator[str]:
    for pod in world.pods:
        for name, times in Counter(container["name"] for container in pod.containers).items():
            if times > 1:
                yield f"{pod.name}: {name}"


@rule("probe without exactly one handler")
def _probes(world: World) -> Iterator[str]:
    for pod in world.pods:
        for container in pod.containers:
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                if kind in container and sum(handler in container[kind] for handler in _HANDLERS) != 1:
                    yield f"{pod.name}: {container['name']}.{kind}"


@rule("port name that is none")
def _ports(world: World) -> Iterator[str]:
    for pod in world.pods:
        for container in pod.containers:
            for port in container.get("ports", ()):
                if not PORT_NAME.fullmatch(port.get("name", "http")):
                    yield f"{pod.name}: {port['name']}"


@rule("replicas below none")
def _replicas(world: World) -> Iterator[str]:
    for one in world.objects:
        if one["kind"] in {"Deployment", "StatefulSet"} and one["spec"].get("replicas", 1) < 0:
            yield str(one["metadata"]["name"])
