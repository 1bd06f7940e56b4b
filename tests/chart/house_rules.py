"""Rules of this product: who may reach whom, what is secret, what the settings are."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from policies.errors import LetheError
from services.settings import ENV_PREFIX, load_settings
from tests.chart.rendering import Object, Pod
from tests.chart.rules import World, rule

_SOCKETS = "/run/lethe/sockets"
_NOT_OURS = {"base", "engine", "installation", "guard", "test", "postgresql"}  # they read no settings


@rule("pod without default-deny, or with an opening to everybody")
def _denied(world: World) -> Iterator[str]:
    policies = [one for one in world.objects if one["kind"] == "NetworkPolicy"]
    for pod in world.pods:
        chosen = [p for p in policies if p["spec"]["podSelector"]["matchLabels"].items() <= pod.labels.items()]
        directions = {direction for policy in chosen for direction in policy["spec"]["policyTypes"]}
        if directions != {"Ingress", "Egress"}:
            yield pod.name
    for policy in policies:
        for direction, peers in (("ingress", "from"), ("egress", "to")):
            for opening in policy["spec"].get(direction, ()):
                named = opening.get(peers)
                if not named or not opening.get("ports") or {} in named or {"podSelector": {}} in named:
                    yield str(policy["metadata"]["name"])


@rule("engine that others than its gateway can reach")
def _engine(world: World) -> Iterator[str]:
    for pod in world.pods:
        sockets = {m["name"] for c in pod.containers for m in c.get("volumeMounts", ()) if m["mountPath"] == _SOCKETS}
        users = [c["name"] for c in pod.containers for m in c.get("volumeMounts", ()) if m["name"] in sockets]
        if sockets and sorted(users) != ["engine", "gateway"]:
            yield f"{pod.name}: {users}"
        for container in pod.containers:
            said = " ".join((*container.get("command", ()), *container.get("args", ())))
            if container["name"] == "engine" and (container.get("ports") or "--port" in said or "--host" in said):
                yield f"{pod.name}: the engine has a port"
            if container["name"] == "engine" and any("secretKeyRef" in str(v) for v in container.get("env", ())):
                yield f"{pod.name}: the engine has a secret"


@rule("serving that can write releases, or hold a private key")
def _serving(world: World) -> Iterator[str]:
    for pod in world.pods:
        if pod.labels.get("app.kubernetes.io/component") != "serving":
            continue
        for container in pod.containers:
            for mount in container.get("volumeMounts", ()):
                if mount["name"] in {"bases", "releases", "public-keys"} and not mount.get("readOnly"):
                    yield f"{pod.name}: {container['name']} may write {mount['name']}"
        for volume in pod.spec["volumes"]:
            items = {item["key"] for item in volume.get("secret", {}).get("items", ())}
            if "secret" in volume and items != {"trust.json", "suppression"}:
                yield f"{pod.name}: {volume['name']}"


@rule("copier of releases that holds a private key or a database, or can change releases where it only reads")
def _copier(world: World) -> Iterator[str]:
    for pod in world.pods:
        if pod.labels.get("app.kubernetes.io/component") != "objectstore":
            continue
        (container,) = pod.containers
        if {"LETHE_STORE__URL", "LETHE_JOBS__URL"} & {variable["name"] for variable in container["env"]}:
            yield f"{pod.name}: a database"
        for volume in pod.spec["volumes"]:
            items = {item["key"] for item in volume.get("secret", {}).get("items", ())}
            if "secret" in volume and items != {"trust.json"}:
                yield f"{pod.name}: {volume['name']}"
        if container["name"] == "push" and not all(
            mount.get("readOnly") for mount in container["volumeMounts"] if mount["name"] == "releases"
        ):
            yield f"{pod.name}: may write releases"


@rule("secret made by the chart, or written into it")
def _secrets(world: World) -> Iterator[str]:
    for one in world.objects:
        if one["kind"] == "Secret":
            yield str(one["metadata"]["name"])
    for pod in world.pods:
        for container in pod.containers:
            for variable in container.get("env", ()):
                name, value = variable["name"], re.sub(r":\$\(\w+\)@", "", variable.get("value", ""))
                if value and (
                    name.endswith(("URL", "API_KEY", "PASSWORD", "TOKEN")) and ("@" in value or "KEY" in name)
                ):
                    yield f"{pod.name}: {name}"


@rule("token of the API, or a Role that is not named to the object")
def _roles(world: World) -> Iterator[str]:
    for pod in world.pods:
        if pod.spec.get("automountServiceAccountToken") is not False:
            yield pod.name
    for one in world.objects:
        if one["kind"] in {"ClusterRole", "ClusterRoleBinding"}:
            yield str(one["metadata"]["name"])
        for line in one.get("rules", ()) if one["kind"] == "Role" else ():
            if not line.get("resourceNames") or "*" in (*line["verbs"], *line["resources"], *line["apiGroups"]):
                yield str(one["metadata"]["name"])


def environment(pod: Pod, container: Object) -> dict[str, str]:
    """Variables as the container sees them; what comes from elsewhere has a stand-in."""
    found: dict[str, str] = {}
    for variable in container.get("env", ()):
        reference = variable.get("valueFrom", {})
        stand_in = "127.0.0.1" if "fieldRef" in reference else "postgresql+psycopg://stand-in/x"
        stand_in = {"POSTGRES_PASSWORD": "stand-in", "LETHE_DELETION__SOURCES": "{}"}.get(variable["name"], stand_in)
        value = stand_in if reference else variable.get("value", "")
        for name, known in found.items():
            value = value.replace(f"$({name})", known)
        found[variable["name"]] = value
    return found


@rule("variable LETHE_… that Lethe refuses")
def _settings(world: World) -> Iterator[str]:
    for pod in world.pods:
        for container in pod.containers:
            given = environment(pod, container)
            if container["name"] in _NOT_OURS:
                continue
            ours = {name: value for name, value in given.items() if name.startswith(ENV_PREFIX)}
            others = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
            with mock.patch.dict(os.environ, {**others, **ours}, clear=True):
                try:
                    settings = load_settings()
                except LetheError as error:
                    yield f"{pod.name}: {'; '.join(error.details)}"
                    continue
            if settings.home != Path("/var/lib/lethe"):
                yield f"{pod.name}: home is {settings.home}"


@rule("rollout that stops serving, or ends answers under way")
def _rollout(world: World) -> Iterator[str]:
    for one in world.objects:
        if one["kind"] != "Deployment":
            continue
        if one["spec"]["strategy"].get("rollingUpdate", {}).get("maxUnavailable") != 0:
            yield str(one["metadata"]["name"])
    for pod in world.pods:
        for container in pod.containers:
            command = container.get("command", [])
            if "--timeout-graceful-shutdown" not in command:
                continue
            drain = int(command[command.index("--timeout-graceful-shutdown") + 1])
            stop = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
            if pod.spec["terminationGracePeriodSeconds"] < drain + int(stop[-1]) + 10:
                yield f"{pod.name}: the grace period is shorter than the drain"
