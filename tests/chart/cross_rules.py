"""What no schema and no server looks at: whether objects fit together."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.chart.rendering import Object, Pod
from tests.chart.rules import World, rule

_WORKLOADS = {"Deployment", "StatefulSet"}


def _covers(selector: dict[str, Any] | None, pod: Pod) -> bool:
    wanted = (selector or {}).get("matchLabels", {})
    return bool(wanted.items() <= pod.labels.items())


def _of(world: World, *kinds: str) -> list[Object]:
    return [one for one in world.objects if one["kind"] in kinds]


def _names(world: World, *kinds: str) -> set[str]:
    return {one["metadata"]["name"] for one in _of(world, *kinds)}


@rule("Service without pods, or to a port that they have not")
def _services(world: World) -> Iterator[str]:
    for service in _of(world, "Service"):
        chosen = [pod for pod in world.pods if _covers({"matchLabels": service["spec"]["selector"]}, pod)]
        if not chosen:
            yield f"{service['metadata']['name']} selects nothing"
        for pod in chosen:
            named = {port.get("name") for container in pod.containers for port in container.get("ports", ())}
            yield from (
                f"{service['metadata']['name']}: {port['targetPort']}"
                for port in service["spec"]["ports"]
                if port["targetPort"] not in named
            )


@rule("selector of a policy, budget or monitor that matches nothing")
def _selectors(world: World) -> Iterator[str]:
    for one in _of(world, "NetworkPolicy", "PodDisruptionBudget"):
        selector = one["spec"].get("podSelector", one["spec"].get("selector"))
        if not any(_covers(selector, pod) for pod in world.pods):
            yield f"{one['kind']} {one['metadata']['name']}"
    for one in _of(world, "ServiceMonitor"):
        wanted, ports = one["spec"]["selector"]["matchLabels"], {e["port"] for e in one["spec"]["endpoints"]}
        chosen = [s for s in _of(world, "Service") if wanted.items() <= s["metadata"]["labels"].items()]
        if not chosen or any(not ports <= {p["name"] for p in s["spec"]["ports"]} for s in chosen):
            yield f"ServiceMonitor {one['metadata']['name']}"


@rule("scaler of a workload that is not there, or that counts its replicas itself")
def _scalers(world: World) -> Iterator[str]:
    targets = [
        (o["spec"]["scaleTargetRef"].get("kind", "Deployment"), o["spec"]["scaleTargetRef"]["name"])
        for o in _of(world, "HorizontalPodAutoscaler", "ScaledObject")
    ]
    workloads = {(o["kind"], o["metadata"]["name"]): o for o in _of(world, *_WORKLOADS)}
    for target, times in Counter(targets).items():
        if target not in workloads or times > 1 or "replicas" in workloads[target]["spec"]:
            yield f"{target[0]} {target[1]}"


def _secrets(pod: Pod) -> Iterator[str]:
    for container in pod.containers:
        for variable in container.get("env", ()):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference:
                yield reference["name"]
    for volume in pod.spec.get("volumes", ()):
        if "secret" in volume:
            yield volume["secret"]["secretName"]
    yield from (one["name"] for one in pod.spec.get("imagePullSecrets", ()))


def _told(part: Any) -> set[str]:
    """Every text in the values: what an installation says is there."""
    if isinstance(part, dict):
        return {text for value in part.values() for text in _told(value)}
    if isinstance(part, list):
        return {text for value in part for text in _told(value)}
    return {part} if isinstance(part, str) else set()


@rule("Secret, claim or account that nobody makes and no value names")
def _references(world: World) -> Iterator[str]:
    told = _told(world.values)
    made = {one["spec"]["target"]["name"] for one in _of(world, "ExternalSecret")}
    claims, accounts = _names(world, "PersistentVolumeClaim"), _names(world, "ServiceAccount")
    for pod in world.pods:
        yield from (f"{pod.name}: secret {name}" for name in _secrets(pod) if name not in told | made)
        for volume in pod.spec.get("volumes", ()):
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim and claim not in told | claims:
                yield f"{pod.name}: claim {claim}"
        if pod.spec.get("serviceAccountName") not in accounts:
            yield f"{pod.name}: account {pod.spec.get('serviceAccountName')}"


@rule("pod that PodSecurity `restricted` refuses")
def _restricted(world: World) -> Iterator[str]:
    for pod in world.pods:
        own = pod.spec.get("securityContext", {})
        if own.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
            yield f"{pod.name}: seccompProfile"
        if any(pod.spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{pod.name}: host namespaces"
        if any("hostPath" in volume for volume in pod.spec.get("volumes", ())):
            yield f"{pod.name}: hostPath"
        for container in pod.containers:
            context = container.get("securityContext", {})
            wrong = (
                context.get("allowPrivilegeEscalation") is not False
                or context.get("privileged", False)
                or context.get("capabilities", {}).get("drop") != ["ALL"]
                or context.get("capabilities", {}).get("add", [])
                or context.get("runAsNonRoot", own.get("runAsNonRoot")) is not True
                or context.get("runAsUser", own.get("runAsUser")) == 0
                or context.get("readOnlyRootFilesystem") is not True  # ours, beyond the profile
            )
            if wrong:
                yield f"{pod.name}: {container['name']}"


@rule("image without a fixed version")
def _images(world: World) -> Iterator[str]:
    for pod in world.pods:
        for container in pod.containers:
            name, _, digest = container["image"].partition("@")
            tag = name.rpartition("/")[2].partition(":")[2]
            if not digest and tag in {"", "latest"}:
                yield f"{pod.name}: {container['image']}"


@rule("budget that blocks every drain")
def _budgets(world: World) -> Iterator[str]:
    replicas = {
        o["spec"]["scaleTargetRef"]["name"]: o["spec"]["minReplicas"] for o in _of(world, "HorizontalPodAutoscaler")
    }
    for budget in _of(world, "PodDisruptionBudget"):
        spec = budget["spec"]
        for workload in _of(world, *_WORKLOADS):
            (pod,) = [p for p in world.pods if p.owner is workload]
            if not _covers(spec["selector"], pod):
                continue
            count = replicas.get(workload["metadata"]["name"], workload["spec"].get("replicas", 1))
            if spec.get("maxUnavailable", 1) == 0 or spec.get("minAvailable", 0) >= count or count < 2:
                yield str(budget["metadata"]["name"])


@rule("Ingress to a Service or port that is not there")
def _ingresses(world: World) -> Iterator[str]:
    services = {s["metadata"]["name"]: {p["name"] for p in s["spec"]["ports"]} for s in _of(world, "Service")}
    for one in _of(world, "Ingress"):
        for line in one["spec"]["rules"]:
            for path in line["http"]["paths"]:
                backend = path["backend"]["service"]
                if backend["port"]["name"] not in services.get(backend["name"], set()):
                    yield f"{one['metadata']['name']}: {backend['name']}"


@rule("two objects of one kind and name, or a variable given twice")
def _doubles(world: World) -> Iterator[str]:
    for (kind, name), times in Counter((o["kind"], o["metadata"]["name"]) for o in world.objects).items():
        if times > 1:
            yield f"{kind} {name}"
    for pod in world.pods:
        for container in pod.containers:
            for name, times in Counter(v["name"] for v in container.get("env", ())).items():
                if times > 1:
                    yield f"{pod.name}: {name}"


@rule("workload without resources or a limit of memory")
def _resources(world: World) -> Iterator[str]:
    for pod in world.pods:
        for container in pod.containers:
            resources = container.get("resources", {})
            if "memory" not in resources.get("limits", {}) or "cpu" not in resources.get("requests", {}):
                yield f"{pod.name}: {container['name']}"
