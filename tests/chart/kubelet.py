"""Runs rendered pods as processes on loopback, as a kubelet would: volumes, environment, order, probes, end.

What is rewritten: mount paths become directories of the test, every interface becomes loopback, ports become free ones.
Everything else (command, arguments, variables, probes, hooks) is taken as it was rendered.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from charts.reference import CHART
from tests.chart.rendering import Object, Pod
from tests.integration.serving_host import end_tree
from tests.ports import free_port

ROOT = CHART.parents[1]
_IMAGE = {"PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
_QUIET = {"OMP_NUM_THREADS": "1"}  # of this machine, which is shared; no image has it


@dataclass
class Node:
    """What pods meet: disks by claim, secrets by name, a directory for their scratch."""

    directory: Path
    secrets: Mapping[str, Mapping[str, bytes]]
    ports: dict[int, int] = field(default_factory=dict)
    programs: dict[str, Path] = field(default_factory=dict)  # of other images than ours, by a part of the image's name

    def claim(self, name: str) -> Path:
        """A disk; the same one for everybody who names it."""
        path = self.directory / "claims" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def port(self, number: int) -> int:
        """The free port that stands for a container's."""
        return self.ports.setdefault(number, free_port())


@dataclass
class RunningPod:
    """One pod on this node."""

    node: Node
    pod: Pod
    name: str
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        return self.node.directory / "pods" / self.name

    def container(self, name: str) -> Object:
        (found,) = [one for one in self.pod.containers if one["name"] == name]
        return found

    def start(self) -> None:
        """First what has to end before the rest, each with its end; sidecars and containers stay."""
        for one in self.pod.spec.get("initContainers", ()):
            if one.get("restartPolicy") == "Always":
                self._spawn(one)
                self.wait_probe(one["name"], "startupProbe")
            else:
                code, said = self.run(one["name"])
                assert code == 0, f"{one['name']}: {said}"
        for one in self.pod.spec["containers"]:
            self._spawn(one)

    def run_to_end(self) -> tuple[int, str]:
        """A Job: exit status and output of its container."""
        for one in self.pod.spec.get("initContainers", ()):
            code, said = self.run(one["name"])
            assert code == 0, f"{one['name']}: {said}"
        return self.run(self.pod.spec["containers"][0]["name"])

    def run(self, name: str, command: list[str] | None = None) -> tuple[int, str]:
        """A command in a container; without one, the container's own."""
        one = self.container(name)
        chosen = command or [*one["command"], *one.get("args", ())]
        done = subprocess.run(
            self._rewritten(one, chosen),
            cwd=self._place(one),
            env=self.environment(one),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def environment(self, one: Object) -> dict[str, str]:
        """Variables as the kubelet resolves them, and those of the image."""
        own = [str(place) for part, place in self.node.programs.items() if part in one["image"]]
        found = {**_IMAGE, **_QUIET, "HOSTNAME": self.name, "PATH": ":".join([*own, _IMAGE["PATH"]])}
        for variable in one.get("env", ()):
            source = variable.get("valueFrom", {})
            if "secretKeyRef" in source:
                reference = source["secretKeyRef"]
                found[variable["name"]] = self.node.secrets[reference["name"]][reference["key"]].decode()
            elif "fieldRef" in source:
                assert source["fieldRef"]["fieldPath"] == "status.podIP"
                found[variable["name"]] = "127.0.0.1"
            else:
                value = re.sub(r"\$\((\w+)\)", lambda match: found[match[1]], variable.get("value", ""))
                (found[variable["name"]],) = self._rewritten(one, [value])
        return found

    def wait_probe(self, name: str, kind: str) -> None:
        """Until a probe passes, for as long as the kubelet would wait, and longer on a busy machine."""
        probe = self.container(name)[kind]
        patience = 300 if kind == "readinessProbe" else 60  # nobody is ended for not being ready
        deadline = time.monotonic() + probe["periodSeconds"] * probe["failureThreshold"] + patience
        while not self.probe(name, kind):
            process = self.processes[name]
            assert process.poll() is None, f"{name} ended with {process.returncode}: {self.log(name)}"
            assert time.monotonic() < deadline, f"{name}: {kind} never passed: {self.log(name)}"
            time.sleep(0.3)

    def probe(self, name: str, kind: str) -> bool:
        """One look."""
        one = self.container(name)
        probe = one[kind]
        if "exec" in probe:
            return self.run(name, probe["exec"]["command"])[0] == 0
        (port,) = [p["containerPort"] for p in one["ports"] if p["name"] == probe["httpGet"]["port"]]
        try:
            url = f"http://127.0.0.1:{self.node.port(port)}{probe['httpGet']['path']}"
            return httpx.get(url, timeout=20, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """As the kubelet ends a pod: preStop, SIGTERM to containers, and only then to sidecars."""
        deadline = time.monotonic() + self.pod.spec.get("terminationGracePeriodSeconds", 30)
        sidecars = {one["name"] for one in self.pod.spec.get("initContainers", ())}
        for name, process in sorted(self.processes.items(), key=lambda item: item[0] in sidecars):
            hook = self.container(name).get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command")
            if hook:
                assert self.run(name, hook)[0] == 0
                assert self.probe(name, "readinessProbe"), "a pod that is going must still answer meanwhile"
            process.send_signal(signal.SIGTERM)
            process.wait(max(1.0, deadline - time.monotonic()))

    def kill(self) -> None:
        """Leave nothing behind, whatever happened."""
        for process in self.processes.values():
            end_tree(process)

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")[-3000:]

    def path(self, one: Object, inside: str) -> Path:
        """Where a path of a container lies here."""
        return Path(self._rewritten(one, [inside])[0])

    def _spawn(self, one: Object) -> None:
        log = (self.directory / f"{one['name']}.log").open("wb")
        self.processes[one["name"]] = subprocess.Popen(
            self._rewritten(one, [*one["command"], *one.get("args", ())]),
            cwd=self._place(one),
            env=self.environment(one),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        log.close()

    def _place(self, one: Object) -> Path:
        self._mounts(one)
        return ROOT if "workingDir" in one else self.directory

    def _rewritten(self, one: Object, texts: list[str]) -> list[str]:
        places = {path: str(place) for path, place in self._mounts(one).items()}
        pattern = "|".join(re.escape(path) for path in sorted(places, key=len, reverse=True))
        found = [re.sub(rf"({pattern})(?![\w.-])", lambda m: places[m[1]], text) if places else text for text in texts]
        found = ["127.0.0.1" if text in {"0.0.0.0", "::"} else text for text in found]
        return [re.sub(r"(?<!\d)870[0-2](?!\d)", lambda m: str(self.node.port(int(m[0]))), text) for text in found]

    def _mounts(self, one: Object) -> dict[str, Path]:
        """Mount paths and the directories that stand for them; a mount inside another is linked into it."""
        volumes: dict[str, Any] = {volume["name"]: volume for volume in self.pod.spec.get("volumes", ())}
        found = {mount["mountPath"]: self._volume(volumes[mount["name"]]) for mount in one.get("volumeMounts", ())}
        for path, place in found.items():
            parent, name = found.get(os.path.dirname(path)), os.path.basename(path)
            if parent is not None and not (parent / name).exists():
                (parent / name).symlink_to(place)
        return found

    def _volume(self, volume: Object) -> Path:
        if "persistentVolumeClaim" in volume:
            return self.node.claim(volume["persistentVolumeClaim"]["claimName"])
        place = self.directory / "volumes" / str(volume["name"])
        if not place.exists():
            place.mkdir(parents=True)
            if "secret" in volume:
                self._fill(place, volume["secret"])
        return place

    def _fill(self, place: Path, secret: Object) -> None:
        data = self.node.secrets[secret["secretName"]]
        items = secret.get("items") or [{"key": key, "path": key} for key in data]
        for item in items:
            file = place / item["path"]
            file.write_bytes(data[item["key"]])
            file.chmod(secret["defaultMode"])


def clear(node: Node) -> None:
    """The node's disks, gone."""
    shutil.rmtree(node.directory, ignore_errors=True)
