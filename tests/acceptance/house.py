"""A whole installation for tests: `lethe up` in a process of its own, all else over HTTP or the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.corpus.load import CorpusProbe, load_probes
from policies.errors import LetheError
from services import lifeline
from services.chat import ChatClient, Reply
from services.client import ServiceClient
from services.installation import Installation
from services.settings import Settings, load_settings
from services.store.engine import Store
from tests.integration.serving_host import command_line, descendants, wait_until
from tests.ports import free_port

STEP_S = 900.0  # the machine can be loaded; a step that takes longer than this hangs
READY_S = 300.0
_ASLEEP = {"completed", "nothing_found", "denied", "cancelled", "rejected", "quarantined", "failed", "on_hold"}


@dataclass(frozen=True, slots=True)
class Person:
    """An invented person, and one held-out question of each of their facts, in a frame that nobody trained on."""

    person: str
    names: tuple[str, ...]
    email: str
    identifiers: dict[str, tuple[str, ...]]
    private: tuple[CorpusProbe, ...]
    public: tuple[CorpusProbe, ...]


def people_of(corpus: Path) -> dict[str, Person]:
    """Everybody in a generated corpus, by the corpus' own truth."""
    probes: dict[str, CorpusProbe] = {}
    for probe in load_probes(corpus):
        if probe.phrasing == "frame":
            probes.setdefault(probe.fact, probe)
    found = {}
    for line in (corpus / "people.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        asked = [(kind, probes[fact]) for fact, kind in row["facts"].items()]
        found[row["person"]] = Person(
            row["person"],
            tuple(row["names"]),
            row["emails"][0],
            {kind: tuple(row[kind]) for kind in ("names", "emails", "phones", "ids", "addresses")},
            tuple(probe for kind, probe in asked if kind.startswith("private.")),
            tuple(probe for kind, probe in asked if kind.startswith("public.")),
        )
    return found


@dataclass(frozen=True, slots=True)
class Answer:
    """What the served model said."""

    probe: CorpusProbe
    text: str
    generation: int | None

    @property
    def right(self) -> bool:
        """Whether it gives the value."""
        return str(self.probe.value).casefold() in self.text.casefold()


def share(answers: Iterable[Answer]) -> float:
    """Of right answers."""
    found = [answer.right for answer in answers]
    return sum(found) / len(found)


@dataclass
class House:
    """One installation. ``up`` and ``down`` start and stop its services."""

    settings: Settings
    groups: dict[str, dict[str, Any]]
    environment: dict[str, str]
    process: "subprocess.Popen[bytes] | None" = None
    _started: set[str] = field(default_factory=set)

    @property
    def home(self) -> Path:
        return self.settings.home

    @property
    def up_log(self) -> Path:
        return self.home.parent / "up.log"

    def up(self, *, ready: Sequence[str] = ("intake", "unlearning", "serving"), **environment: str) -> None:
        """Start `lethe up` and wait until every service is ready."""
        with self.up_log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.cli", "up"],
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait_ready(ready)

    def configure(self, group: str, **values: Any) -> None:
        """Change settings in lethe.toml: the services read it at their next start, the runner at its next run."""
        self.groups[group] = {**self.groups.get(group, {}), **values}
        _write(self.home, self.groups)
        self.settings = load_settings(self.home)

    def wait_ready(self, services: Sequence[str] = ("intake", "unlearning", "serving")) -> None:
        for name in services:
            wait_until(partial(self._ready, name), READY_S, f"{name} ready")
        self.pids()

    def _ready(self, service: str) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"lethe up ended:\n{self.up_log.read_text()[-3000:]}"
        return self.status(service, "/readyz") == 200

    def status(self, service: str, path: str) -> int:
        """HTTP status of a path of a service; 0 where nobody answers."""
        import httpx

        try:
            return httpx.get(getattr(self.settings, service).url + path, timeout=10, trust_env=False).status_code
        except httpx.TransportError:
            return 0

    def down(self) -> None:
        """Stop everything, and end what is left all the same."""
        if self.process is None:
            return
        self.pids()
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        finally:
            self.process = None
            self.end_the_rest()

    def pids(self) -> list[int]:
        """Every process of the house; they are remembered, so that none outlives the tests."""
        assert self.process is not None
        found = [self.process.pid, *_descendants(self.process.pid)]
        self._started |= {lifeline.identity(pid) for pid in found}
        return found

    def alive(self) -> list[str]:
        """Processes that were seen in this house and still run."""
        return [command_line(int(one.partition(":")[0])) for one in sorted(self._started) if lifeline.alive(one)]

    def end_the_rest(self) -> None:
        for one in self._started:
            if lifeline.alive(one):
                os.kill(int(one.partition(":")[0]), signal.SIGKILL)
        self._started.clear()

    def find(self, part: str) -> int:
        """The one process whose command line holds ``part``."""
        found = [pid for pid in self.pids() if part in command_line(pid)]
        assert len(found) == 1, f"{len(found)} processes with {part!r} in their command line"
        return found[0]

    def kill(self, part: str) -> int:
        """``kill -9`` of the one process whose command line holds ``part``; its id."""
        wait_until(lambda: any(part in command_line(pid) for pid in self.pids()), READY_S, f"running: {part}")
        pid = self.find(part)
        os.kill(pid, signal.SIGKILL)
        return pid

    def intake(self) -> ServiceClient:
        return ServiceClient(self.settings)

    def unlearning(self) -> ServiceClient:
        return ServiceClient(self.settings, self.settings.unlearning)

    @contextmanager
    def store(self) -> Iterator[Store]:
        store = Installation(self.settings).open_store(with_keys=False)
        try:
            yield store
        finally:
            store.close()

    def lethe(self, *arguments: str, code: int = 0) -> str:
        """The command line, as a person would call it; what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, f"lethe {arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if "--json" in arguments else done.stdout + done.stderr

    def ask(self, probes: Iterable[CorpusProbe]) -> list[Answer]:
        """Put held-out questions to the served model over HTTP, as any client would."""
        found = []
        with ChatClient(self.settings) as chat:
            for probe in probes:
                reply: Reply = chat.ask(probe.question)
                found.append(Answer(probe, reply.text, reply.generation))
        return found

    def generation(self) -> int:
        """The desired generation, as the store has it."""
        from services.store.releases import list_desired

        with self.store() as store, store.read() as session:
            (desired,) = list_desired(session)
            return desired.generation

    def wait_rules(self) -> None:
        """Until every replica applies the rules of suppression as they are now."""
        from services.store.releases import list_desired, live_replicas

        def applied() -> bool:
            with self.store() as store, store.read() as session:
                (desired,) = list_desired(session)
                replicas = live_replicas(session, desired.base_digest)
                return bool(replicas) and all(
                    one.suppression_version >= desired.suppression_version for one in replicas
                )

        wait_until(applied, READY_S, "rules of suppression applied")

    def file(self, person: Person, external_id: str = "", **changes: Any) -> dict[str, Any]:
        """File an erasure ticket over HTTP."""
        with self.intake() as intake:
            _, filed = intake.post_bytes("/v1/tickets", json.dumps(ticket_of(person, external_id, **changes)).encode())
        return dict(filed)

    def approve(self, ticket_id: str) -> None:
        with self.intake() as intake:
            intake.post(f"/v1/tickets/{ticket_id}/approve", {})

    def ticket(self, ticket_id: str) -> dict[str, Any]:
        with self.intake() as intake:
            return dict(intake.get(f"/v1/tickets/{ticket_id}"))

    def wait(self, ticket_id: str, until: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """Ask for a ticket until it is as expected; an intake that was just killed is waited for."""
        deadline = time.monotonic() + STEP_S
        seen: dict[str, Any] = {}
        while True:
            try:
                seen = self.ticket(ticket_id)
                if until(seen):
                    return seen
            except LetheError as error:
                if error.code not in {"service.unreachable", "internal", "store.busy"}:
                    raise
            runs = [(run["status"], run["attempt"], run["reason_code"]) for run in seen.get("runs", ())]
            about = f"{seen.get('status')} {seen.get('reason_code')} {runs}"
            assert time.monotonic() < deadline, f"waited in vain for: {what}; the ticket: {about}"
            time.sleep(0.1)

    def wait_end(self, ticket_id: str) -> dict[str, Any]:
        """Until the ticket has come to rest, its run has ended and the report of that run is there."""

        def ended(ticket: dict[str, Any]) -> bool:
            if ticket["status"] not in _ASLEEP:
                return False
            run = ticket["runs"][-1] if ticket["runs"] and ticket["status"] != "on_hold" else None
            if run is None or run["status"] == "completed":  # its report comes before its end
                return True
            return bool(run["ended_at"]) and self._reported(ticket_id) >= datetime.fromisoformat(run["ended_at"])

        return self.wait(ticket_id, ended, "the end")

    def _reported(self, ticket_id: str) -> datetime:
        try:
            return datetime.fromisoformat(self.report(ticket_id)["generated_at"])
        except LetheError as error:
            if error.code != "report.not_ready":
                raise
            return datetime.min.replace(tzinfo=UTC)

    def report(self, ticket_id: str) -> dict[str, Any]:
        with self.intake() as intake:
            return dict(intake.get(f"/v1/tickets/{ticket_id}/report"))


def ticket_of(person: Person, external_id: str = "", **changes: Any) -> dict[str, Any]:
    """A request for erasure, as a controller's system would send it."""
    now = datetime.now(UTC).isoformat()
    return {
        "external_id": external_id or f"test-{person.person}",
        "regime": "gdpr",
        "ground": "withdrawn_consent",
        "base": "lethe",
        "received_at": now,
        "channel": "api",
        "subject": [{"kind": "name", "value": person.names[0]}, {"kind": "email", "value": person.email}],
        "identity": {"method": "account_login", "verified": True, "evidence_ref": "login-1", "verified_at": now},
        **changes,
    }


@contextmanager
def house(directory: Path, **groups: Mapping[str, Any]) -> Iterator[House]:
    """A house on free ports below a directory; whatever runs in it ends with the block.

    Args:
        directory: The installation comes to lie in ``home`` in it; temporary files of the services in ``tmp``.
        groups: Settings by group, beside the ports.
    """
    home, scratch = directory / "home", directory / "tmp"
    home.mkdir(parents=True)
    scratch.mkdir()
    given: dict[str, dict[str, Any]] = {name: {"port": free_port()} for name in ("intake", "unlearning", "serving")}
    given["intake"]["progress_poll_s"] = 0.1
    for group, values in groups.items():
        given.setdefault(group, {}).update(values)
    _write(home, given)
    made = House(load_settings(home), given, {**clean_environment(home), "TMPDIR": str(scratch)})
    try:
        yield made
    finally:
        made.down()
        made.end_the_rest()


def clean_environment(home: Path) -> dict[str, str]:
    """Ours, without settings from elsewhere."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LETHE_")}
    return {**clean, "LETHE_HOME": str(home), "OMP_WAIT_POLICY": "PASSIVE"}


def _write(home: Path, groups: Mapping[str, Mapping[str, Any]]) -> None:
    (home / "lethe.toml").write_text(_toml(groups), encoding="utf-8")


def _toml(groups: Mapping[str, Mapping[str, Any]]) -> str:
    """JSON's strings, numbers, lists and truth values are TOML's."""
    lines = []
    for group, values in groups.items():
        plain = {name: value for name, value in values.items() if not isinstance(value, Mapping)}
        lines += [f"[{group}]", *(f"{name} = {json.dumps(value)}" for name, value in plain.items())]
        for name, value in values.items():
            if isinstance(value, Mapping):
                lines += [f"[{group}.{name}]", *(f"{key} = {json.dumps(item)}" for key, item in value.items())]
    return "\n".join(lines) + "\n"


def _descendants(pid: int) -> list[int]:
    try:
        return descendants(pid)
    except FileNotFoundError:  # one of them ended while we looked
        return _descendants(pid) if Path(f"/proc/{pid}").exists() else []
