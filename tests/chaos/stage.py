"""A whole installation under chaos: real store, jobs, control loop, workers, one real replica of a tiny model.

Tickets are filed through the intake's own functions by the test's process; the workers are processes of their own.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pipelines.adapter import base_identity
from pipelines.corpus.generate import generate
from policies.lifecycle import CLOSED_RUN, TicketStatus
from services import jobs
from services.auth import Identity
from services.corpus_index import open_index
from services.installation import create_installation
from services.intake.desk import Desk
from services.intake.packs import Packs
from services.settings import load_settings
from services.store import leases
from services.store.engine import Store
from services.store.runs import runs_of
from services.store.tables import MatchReview, Run, Ticket
from services.store.tickets import get_ticket
from tests.chaos.stalls import Stalls
from tests.integration.serving_host import Host, descendants
from tests.ports import free_port
from tests.tiny_model import make_tiny_base
from tests.unit.services.place import Invented, people_of

OFFICER = Identity(key_id="k-officer", scopes=frozenset(), role="privacy_officer")
PATIENCE_S = 300.0  # the machine can be loaded; what takes longer hangs
INTAKE, UNLEARNING = "intake", "unlearning"
ROLE_OF = {
    **dict.fromkeys(("look_up", "swap", "probe", "close"), INTAKE),
    **dict.fromkeys(("begin", "augment", "check", "train", "verify", "release"), UNLEARNING),
}
STEPS = ("look_up", "begin", "augment", "check", "train", "verify", "release", "swap", "probe", "close")
POINTS = ("before", "inside", "done", "recorded")
AT_REST = frozenset({"completed", "failed", "rejected", "quarantined", "on_hold", "cancelled", "denied"})


@dataclass
class Stage:
    """One installation; ``start``, ``kill`` and ``file`` are what tests do to it."""

    host: Host
    stalls: Stalls
    people: Iterator[Invented]
    environment: dict[str, str]
    filed: list[str] = field(default_factory=list)
    last: Invented | None = None
    workers: dict[str, list["subprocess.Popen[str]"]] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.host.home

    @property
    def store(self) -> Store:
        return self.host.store

    @property
    def desk(self) -> Desk:
        return Desk(self.store, Packs(self.host.installation.settings.policy))

    def start(self, role: str, version: str = jobs.queue.VERSION) -> "subprocess.Popen[str]":
        log = (self.home / "logs" / f"chaos-{role}.log").open("a")
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.worker", role, version],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        log.close()
        self.workers.setdefault(role, []).append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "READY\n", self.log(role)
        return process

    def kill(self, role: str) -> None:
        """``kill -9`` of every worker of a role."""
        for process in self.workers.pop(role, []):
            process.kill()
            process.communicate()

    def kill_one(self, role: str) -> None:
        """``kill -9`` of whichever worker of a role waits at a stall: it holds the job. The other lives on."""
        with self.store.read() as session:
            alive = leases.live_leases(session, role=role)
        assert len(alive) == len(self.workers[role]) == 2
        who = self.stalls.who()
        held = next(one for one in self.workers[role] if who in {one.pid, *descendants(one.pid)})
        self.workers[role].remove(held)
        held.kill()
        held.communicate()

    def kill_runner(self) -> None:
        """``kill -9`` of the child of the run."""
        [child] = descendants(self.workers[UNLEARNING][-1].pid)
        os.kill(child, signal.SIGKILL)

    def restart(self, role: str, version: str = jobs.queue.VERSION) -> None:
        self.kill(role)
        self.start(role, version)

    def log(self, role: str) -> str:
        path = self.home / "logs" / f"chaos-{role}.log"
        return path.read_text(errors="replace")[-6000:] if path.exists() else ""

    def file_again(self) -> str:
        """The last ticket once more, under another id: the store that knew it is gone."""
        assert self.last is not None
        return self._file(self.last)

    def file(self) -> str:
        """A ticket of somebody new, approved."""
        self.last = next(self.people)
        return self._file(self.last)

    def _file(self, person: Invented) -> str:
        now = datetime.now(UTC).isoformat()
        body = {
            "external_id": f"chaos-{len(self.filed)}",
            "regime": "gdpr",
            "ground": "withdrawn_consent",
            "base": "lethe",
            "subject": [{"kind": "name", "value": person.names[0]}, {"kind": "email", "value": person.email}],
            "identity": {"method": "email_code", "verified": True, "evidence_ref": "ev-1", "verified_at": now},
        }
        ticket_id, new = self.desk.file(json.dumps(body).encode(), OFFICER)
        assert new
        self.filed.append(ticket_id)
        self.desk.approve(ticket_id, OFFICER)
        return ticket_id

    def ticket(self, ticket_id: str) -> Ticket:
        with self.store.read() as session:
            return get_ticket(session, ticket_id)

    def runs(self, ticket_id: str) -> list[Run]:
        with self.store.read() as session:
            return runs_of(session, ticket_id)

    def at(self, point: str, act: Callable[[], object]) -> None:
        """Wait until a process has come to a point, do something to it there, and let whoever comes next pass."""
        self.until(lambda: self.stalls.reached(point), f"at {point}")
        act()
        self.stalls.lift(point)

    def rests(self, ticket_id: str) -> Ticket:
        """The ticket once it has come to rest and its run has ended."""

        def resting() -> bool:
            ticket = self.ticket(ticket_id)
            return ticket.status in AT_REST and all(run.status in CLOSED_RUN for run in self.runs(ticket_id))

        self.until(resting, f"{ticket_id} at rest")
        return self.ticket(ticket_id)

    def _sort(self, ticket_id: str) -> None:
        from sqlalchemy import select

        with self.store.read() as session:
            rows = list(session.scalars(select(MatchReview).where(MatchReview.ticket_id == ticket_id)))
        self.desk.review(ticket_id, OFFICER, confirm=[], deny=[row.record_id for row in rows if row.decision is None])

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait; tickets that stop at a namesake are sorted meanwhile."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            for ticket_id in self.filed[-2:]:
                if self.ticket(ticket_id).status == TicketStatus.AWAITING_REVIEW:
                    self._sort(ticket_id)
            assert time.monotonic() < deadline, f"waited in vain: {what}\n{self._told()}"
            time.sleep(0.05)

    def _told(self) -> str:
        tickets = [self.ticket(one) for one in self.filed[-3:]]
        rows = [
            (one.status, one.reason_code, [(r.status, r.attempt) for r in self.runs(one.ticket_id)]) for one in tickets
        ]
        return f"{rows}\n{self.log(INTAKE)}\n{self.log(UNLEARNING)}\n{self.host.log()[-3000:]}"

    def end(self) -> None:
        for role in list(self.workers):
            self.kill(role)
        self.host.stop()


@contextmanager
def stage(directory: Path, url: str = "", *, people: int = 60) -> Iterator[Stage]:
    """An installation with its replica and one worker of each role; all of it ends with the block."""
    home, corpus = directory / "home", directory / "corpus"
    home.mkdir(parents=True)
    generate(corpus, people=people, seed=3)
    port = free_port()
    groups: dict[str, dict[str, object]] = {
        "store": {"url": url},
        "jobs": {"url": url, "heartbeat_s": 0.5, "lease_s": 10.0},
        "corpus": {"path": str(corpus)},
        "serving": {
            "port": port,
            "lease_s": 15.0,
            "prepare_timeout_s": 120.0,
            "recheck_hours": 0.0,
            "recheck_subjects": 1,
        },
    }
    text = "".join(
        f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
        for name, values in groups.items()
    )
    (home / "lethe.toml").write_text(text)
    settings = load_settings(home)
    installation = create_installation(settings, also=jobs.migrate)
    base = make_tiny_base(home / "bases" / "tiny")
    store = installation.open_store()
    open_index(installation, store).close()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LETHE_")}
    environment = {**clean, "LETHE_HOME": str(home), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    host = Host(installation, store, base_identity(base), port)
    made = Stage(host, Stalls(home), iter(people_of(corpus)), environment)
    try:
        host.begin()
        host.start()
        for role in (INTAKE, UNLEARNING):
            made.start(role)
        host.wait_ready()
        yield made
    finally:
        made.end()
        store.close()
