"""A small installation for tests of the two flows: real store, seals, index and policies; the runner is a fake."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from starlette.testclient import TestClient

from policies.canonical import sha256_hex
from policies.errors import LetheError
from policies.lifecycle import TicketStatus
from services import planning, run, sealed_items, ticket
from services.auth import Identity
from services.installation import Installation
from services.intake.desk import Desk
from services.intake.packs import Packs
from services.store.engine import Store
from services.store.runs import get_run, tickets_of
from services.store.tables import Release, Run, Ticket
from services.store.tickets import get_ticket
from services.store.types import utc_now
from services.unlearning.protocol import Progress, RunnerClient
from services.unlearning.runners import Runners
from tests.unit.services.fake_fleet import FakeFleet, FakeReplica
from tests.unit.services.fake_gateway import probes_about
from tests.unit.services.reports.sample import verdict

BASE = "b" * 64
RELEASE_0 = "0" * 64
OFFICER = Identity(key_id="k-officer", scopes=frozenset(), role="privacy_officer")


@dataclass(frozen=True)
class Invented:
    """One person of the generated corpus, by its truth."""

    names: tuple[str, ...]
    email: str
    facts: dict[str, str]
    records: frozenset[str]


def people_of(corpus: Path) -> list[Invented]:
    about: dict[str, set[str]] = {}
    for line in (corpus / "truth.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for person in row["people"]:
            about.setdefault(person, set()).add(row["record"])
    return [
        Invented(tuple(row["names"]), row["emails"][0], row["facts"], frozenset(about[row["person"]]))
        for row in map(json.loads, (corpus / "people.jsonl").read_text(encoding="utf-8").splitlines())
    ]


@dataclass
class Place:
    """The installation with its people; tickets are filed and approved as the officer would."""

    installation: Installation
    store: Store
    people: list[Invented]
    filed: int = 0
    fleet: FakeFleet = field(default_factory=FakeFleet)

    @property
    def desk(self) -> Desk:
        return Desk(self.store, Packs(self.installation.settings.policy))

    def file(self, *subject: tuple[str, str], **more: Any) -> str:
        """A ticket that is approved already."""
        self.filed += 1
        now = datetime.now(UTC).isoformat()
        body = {
            "external_id": f"e-{self.filed}",
            "regime": "gdpr",
            "ground": "withdrawn_consent",
            "base": "demo",
            "subject": [{"kind": kind, "value": value} for kind, value in subject],
            "identity": {"method": "email_code", "verified": True, "evidence_ref": "ev-1", "verified_at": now},
            **more,
        }
        ticket_id, _ = self.desk.file(json.dumps(body).encode(), OFFICER)
        assert self.desk.approve(ticket_id, OFFICER) == TicketStatus.APPROVED
        return ticket_id

    def ready(self, number: int = 0) -> str:
        """A ticket of one of the people whose forget set is settled."""
        person = self.people[number]
        ticket_id = self.file(("name", person.names[0]), ("email", person.email))
        assert ticket.look_up(self.installation, self.store, ticket_id) == TicketStatus.READY
        return ticket_id

    def planned(self, *numbers: int) -> str:
        for number in numbers or (0,):
            self.ready(number)
        run_id = planning.plan(self.installation, self.store)
        assert run_id is not None
        return run_id

    def ticket(self, ticket_id: str) -> Ticket:
        with self.store.read() as session:
            return get_ticket(session, ticket_id)

    def run(self, run_id: str) -> Run:
        with self.store.read() as session:
            return get_run(session, run_id)

    def tickets(self, run_id: str) -> list[Ticket]:
        with self.store.read() as session:
            return tickets_of(session, run_id)

    def released(self, *numbers: int, attempt: int = 0) -> str:
        """A run whose release waits to be swapped in."""
        run_id = self.planned(*numbers)
        workshop = run.Workshop(self.installation, self.store, FakeRunners(self))
        run.begin(workshop, run_id, attempt)
        for step in run.STEPS:
            run.take(workshop, run_id, step, attempt)
        assert self.run(run_id).status == "swapping"
        return run_id

    def serve(self, replica: str = "r-1", **how: Any) -> FakeReplica:
        """A fake replica follows the desired state from now on."""
        return self.fleet.add(FakeReplica(self.store, BASE, replica, **how))

    def release(self, digest: str) -> Release:
        with self.store.read() as session:
            return session.get_one(Release, digest)


Answer = Mapping[str, Any] | LetheError | Callable[[Mapping[str, Any], Progress, Callable[[], bool]], dict[str, Any]]


@dataclass
class Script:
    """What the fake answers, by operation: one answer after another, then a good one."""

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def ops(self) -> list[str]:
        return [op for op, _ in self.calls]


class FakeRunner(RunnerClient):
    """A fake: it stands in for the child that trains. It seals and answers what a real one would, made up by hand."""

    def __init__(self, place: Place, script: Script) -> None:
        self.place, self.script = place, script
        self.closed = False

    def call(
        self,
        op: str,
        args: Mapping[str, Any],
        *,
        progress: Progress = lambda _: None,
        should_cancel: Callable[[], bool] = lambda: False,
    ) -> dict[str, Any]:
        self.script.calls.append((op, dict(args)))
        left = self.script.answers.get(op, [])
        answer = left.pop(0) if left else getattr(self, f"_{op}")
        if isinstance(answer, LetheError):
            raise answer
        if isinstance(answer, Mapping):
            return dict(answer)
        found: dict[str, Any] = answer(args, progress, should_cancel)
        return found

    def close(self) -> None:
        self.closed = True

    def _augment(self, args: Mapping[str, Any], progress: Progress, _: Callable[[], bool]) -> dict[str, Any]:
        with self.place.store.write() as session:
            for one in tickets_of(session, args["run_id"]):
                mine, others = probes_about(one.ticket_id)
                rows = {"set": "", "retain_probes": others, "secrets": []}
                for purpose, data in ((sealed_items.AUGMENTED, rows), (sealed_items.PROBES, mine)):
                    sealed_items.put(session, one.subject_ref, one.ticket_id, purpose, data, ground="test")
        directory = self.place.installation.path("runs", args["run_id"], "release")
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "checkpoint").write_text("weights")
        progress({"done": 1, "total": 1})
        digests = dict.fromkeys(("digest", "retain_digest", "neighbour_digest", "evaluation_digest"), "d" * 64)
        facts = {"uncovered": [], "unwatched": ["f-7"]}
        return {**digests, "forget_digest": "f" * 64, "corpus_digest": "c" * 64, "rows": 9, **facts}

    def _check(self, *_: Any) -> dict[str, Any]:
        return {"success": True, "results": [{"expectation": "no_leak", "success": True, "row_ids": []}]}

    def _train(self, args: Mapping[str, Any], progress: Progress, _: Callable[[], bool]) -> dict[str, Any]:
        progress({"step": 1, "steps": 2, "tokens_per_second": 10.0, "eta_seconds": 1.0, "losses": {"retain": 1.0}})
        return trained(args["start"])

    def _verify(self, args: Mapping[str, Any], *_: Any) -> dict[str, Any]:
        with self.place.store.write() as session:
            for one in tickets_of(session, args["run_id"]):
                sealed_items.put(session, one.subject_ref, one.ticket_id, sealed_items.SCORES, [1], ground="test")
        return measured("accepted", args["directory"])

    def _release(self, args: Mapping[str, Any], *_: Any) -> dict[str, Any]:
        with self.place.store.write() as session:
            tickets = tickets_of(session, args["run_id"])
            parent = get_run(session, args["run_id"]).parent_digest
            earlier = session.get_one(Release, parent).watermark
            for one in tickets:
                sealed_items.put(
                    session, one.subject_ref, one.ticket_id, sealed_items.REPLAY, [1], ground="test", at=utc_now()
                )
        marks = sorted({*(one.ticket_id for one in tickets), *earlier})
        digest = sha256_hex(",".join(marks).encode())
        return {
            "digest": digest,
            "path": str(self.place.installation.path("releases", digest[-16:])),
            "base_digest": BASE,
            "parent": parent,
            "watermark": marks,
            "signer": "adapter-1",
            "verdict_signer": "verdict-1",
            "verdict": {"outcome": "accepted", "digest": "e" * 64},
        }


def trained(start: str) -> dict[str, Any]:
    return {
        "start": start,
        "directory": start,
        "base_digest": BASE,
        "parent": RELEASE_0,
        "dtype": "float32",
        "device": "cpu",
        "code_version": "0.1.0",
        "seed": 0,
        "settings": {"rank": 8},
        "versions": {"torch": "2.13.0"},
        "passes": 4.48,
        "steps": 160,
        "seconds": 1.5,
        "curve": {"steps": [0, 1], "terms": {"loss": [2.0, 1.0]}},
    }


def measured(outcome: str, directory: str = "release") -> dict[str, Any]:
    found = verdict(outcome)
    for gate in found["gates"]:
        gate["subject"] = None  # a report shows the gates of its own subject and those of nobody
    return {
        "outcome": outcome,
        "reasons": found["reasons"],
        "training_could_help": outcome != "accepted",
        "verdict": found,
        "reached": {},
        "decided_at": "2026-11-21T10:00:00+00:00",
        "directory": directory,
    }


class FakeRunners(Runners):
    """The real hand-out of children, whose children are fakes."""

    def __init__(self, place: Place, script: Script | None = None) -> None:
        super().__init__(place.installation)
        self.place, self.script = place, script or Script()
        self.started: list[FakeRunner] = []

    def _start(self) -> RunnerClient:
        self.started.append(FakeRunner(self.place, self.script))
        return self.started[-1]


class Inside(httpx.BaseTransport):
    """The way of our clients to an app in this process."""

    def __init__(self, app: FastAPI) -> None:
        self._app = TestClient(app, raise_server_exceptions=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._app.request(
            request.method, str(request.url), content=request.read(), headers=dict(request.headers)
        )
        return httpx.Response(answer.status_code, content=answer.content, headers=dict(answer.headers))


def levels(counts: Mapping[str, int]) -> Counter[str]:
    return Counter({name.removeprefix("matches_"): n for name, n in counts.items() if name.startswith("matches_")})


def codes(tickets: Sequence[Ticket]) -> set[tuple[str, str | None]]:
    return {(one.status, one.reason_code) for one in tickets}
