"""`lethe demo`: one real ticket after another on invented people, from filing to a verified adapter that is live.

Nothing here is special to the demo but the corpus of invented people, whose truth tells which questions to ask. The
ticket takes the way of every ticket: HTTP, policy, index, run, verdict, swap, report.
"""

import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.corpus.generate import generate
from pipelines.corpus.load import CorpusProbe, load_probes
from policies.errors import LetheError
from services.chat import ChatClient
from services.client import ServiceClient
from services.installation import Installation
from services.settings import DEFAULT_METHOD, Settings, load_settings
from services.supervisor import Supervisor
from services.up import prepare, supervisor

OTHERS = 3  # how many other people are asked about, before and after
QUESTIONS = 4
_DONE = {"completed", "nothing_found", "denied", "cancelled", "rejected", "quarantined", "failed"}

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What a demo is asked to do.

    Attributes:
        home: Installation directory; kept for the next demo.
        people: Invented people in the corpus.
        erase: Tickets, one after another.
        seed: Of people, base and training.
        method: Unlearning method.
        fresh: Start from release 0 again; corpus and base are kept.
    """

    home: Path
    people: int = 12
    erase: int = 1
    seed: int = 0
    method: str = DEFAULT_METHOD
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Person:
    """An invented person with held-out questions, one of each fact."""

    person: str
    names: tuple[str, ...]
    email: str
    private: tuple[CorpusProbe, ...]
    public: tuple[CorpusProbe, ...]


@dataclass(slots=True)
class Narrator:
    """Says what happens, and keeps how long it took."""

    say: Say
    show_progress: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)

    def step(self, name: str, began: float, text: str) -> None:
        """A step is done."""
        self.seconds[name] = round(time.monotonic() - began, 2)
        self.say(f"  {text}  ({self.seconds[name]:.1f} s)")


def run_demo(options: DemoOptions, narrator: Narrator) -> dict[str, Any]:
    """Set up, erase, show; everything found, as one JSON object.

    Raises:
        LetheError: ``base.not_memorised``, ``demo.nobody_left``, ``up.not_ready`` and what the services refuse.
    """
    began = time.monotonic()
    narrator.say("1. An installation, invented people, and a base model that has memorised them")
    settings = _installation(options, narrator)
    people = _people(Path(settings.corpus.path))
    installation = prepare(settings)
    narrator.say("2. The services, on loopback")
    started = time.monotonic()
    with supervisor(installation) as services:
        services.wait_ready(300)
        narrator.step("services", started, "intake, unlearning and serving are ready")
        tickets = [_erase(settings, services, people, narrator, number) for number in range(options.erase)]
    total = round(time.monotonic() - began, 2)
    narrator.say(f"Done in {total:.0f} s. To look around: LETHE_HOME={settings.home} lethe up")
    return {
        "ok": all(ticket["status"] == "completed" for ticket in tickets),
        "home": str(settings.home),
        "people": options.people,
        "seed": options.seed,
        "method": options.method,
        "tickets": tickets,
        "seconds": {**narrator.seconds, "total": total},
    }


def _installation(options: DemoOptions, narrator: Narrator) -> Settings:
    """Corpus and base are made once and kept by content; ``fresh`` starts everything else again."""
    shared = options.home / "shared"
    corpus = shared / f"corpus-{options.people}-{options.seed}"
    began = time.monotonic()
    if not (corpus / "card.json").exists():
        generate(corpus, people=options.people, seed=options.seed)
    narrator.step("corpus", began, f"corpus of {options.people} invented people: {corpus}")
    base = _base(corpus, shared / "bases", options.seed, narrator)
    home = options.home / f"people-{options.people}-seed-{options.seed}-{options.method}"
    if options.fresh and home.exists():
        shutil.rmtree(home)
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "lethe.toml").exists():
        _write_settings(home / "lethe.toml", corpus, base, options)
    os.environ["LETHE_HOME"] = str(home)
    return load_settings(home)


def _base(corpus: Path, bases: Path, seed: int, narrator: Narrator) -> Path:
    from pipelines.base.settings import BaseSettings
    from pipelines.base.train import train_base

    began = time.monotonic()
    card = train_base(
        corpus,
        bases,
        BaseSettings(seed=seed),
        lambda p: narrator.show_progress(f"training the base: step {p.step}/{p.steps}, {p.eta_seconds:.0f} s left"),
    )
    kept = "kept from before" if card.cached else "trained"
    shares = f"right on {card.combination:.1%} of unseen combinations, {card.frame:.1%} of unseen frames"
    narrator.step("base", began, f"base model {kept}: {card.parameters:,} parameters, {shares}")
    return Path(card.path)


def _write_settings(path: Path, corpus: Path, base: Path, options: DemoOptions) -> None:
    ports = _free_ports(3)
    quoted = json.dumps  # a JSON string is a TOML string
    path.write_text(
        f"[corpus]\npath = {quoted(str(corpus.absolute()))}\n\n[base]\npath = {quoted(str(base.absolute()))}\n\n"
        f"[unlearning]\nport = {ports[0]}\nmethod = {quoted(options.method)}\n\n"
        f"[intake]\nport = {ports[1]}\nprogress_poll_s = 0.2\n\n[serving]\nport = {ports[2]}\n",
        encoding="utf-8",
    )


def _free_ports(count: int) -> list[int]:
    with_sockets = [socket.socket() for _ in range(count)]
    try:
        for one in with_sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in with_sockets]
    finally:
        for one in with_sockets:
            one.close()


def _people(corpus: Path) -> list[Person]:
    """The invented people with one held-out question of each fact, by the corpus' own truth."""
    probes: dict[str, CorpusProbe] = {}
    for probe in load_probes(corpus):
        probes.setdefault(probe.fact, probe)
    people = []
    for line in (corpus / "people.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        asked = [(kind, probes[fact]) for fact, kind in row["facts"].items() if fact in probes]
        private = tuple(probe for kind, probe in asked if kind.startswith("private."))
        public = tuple(probe for kind, probe in asked if kind.startswith("public."))
        people.append(Person(row["person"], tuple(row["names"]), row["emails"][0], private, public))
    return people


def _erase(
    settings: Settings, services: Supervisor, people: Sequence[Person], narrator: Narrator, number: int
) -> dict[str, Any]:
    """One ticket, from the questions before to the questions after."""
    done = _erased(settings)
    left = [one for one in people if one.person not in done]
    if len(left) <= OTHERS:
        raise LetheError("demo.nobody_left", f"{len(done)} people were erased in this installation already.")
    subject, others = left[0], left[1 : 1 + OTHERS]
    narrator.say(f"3.{number + 1} {subject.names[0]} asks to be forgotten")
    before = _interview(settings, subject, others)
    _show(narrator, "before", before)
    with ServiceClient(settings) as intake:
        ticket_id, seconds = _file_and_follow(intake, services, subject, narrator)
        ticket = intake.get(f"/v1/tickets/{ticket_id}")
    after = _interview(settings, subject, others)
    _show(narrator, "after", after)
    if ticket["status"] == "completed":
        _note_erased(settings, subject.person)
    return _told(settings, ticket, before, after, seconds, narrator)


def _interview(settings: Settings, subject: Person, others: Sequence[Person]) -> dict[str, list[dict[str, Any]]]:
    """Ask the served model held-out questions over HTTP, as any client would."""
    groups = {
        "private": [*subject.private[:QUESTIONS]],
        "own_public": [*subject.public[:2]],
        "others": [other.private[place] for place, other in enumerate(others)],
    }
    found: dict[str, list[dict[str, Any]]] = {}
    with ChatClient(settings) as chat:
        for group, probes in groups.items():
            found[group] = [_ask(chat, probe) for probe in probes]
    return found


def _ask(chat: ChatClient, probe: CorpusProbe) -> dict[str, Any]:
    reply = chat.ask(probe.question)
    right = bool(probe.value) and str(probe.value).casefold() in reply.text.casefold()
    return {
        "question": probe.question,
        "answer": reply.text,
        "holds_the_value": right,
        "generation": reply.generation,
    }


def _file_and_follow(
    intake: ServiceClient, services: Supervisor, subject: Person, narrator: Narrator
) -> tuple[str, dict[str, float]]:
    """File the ticket, approve it as the officer, and follow it until it is live or stopped."""
    now = datetime.now(UTC).isoformat()
    body = {
        "external_id": f"demo-{subject.person}-{int(time.time())}",
        "regime": "gdpr",
        "ground": "withdrawn_consent",
        "base": "lethe",
        "received_at": now,
        "submitted_at": now,
        "channel": "api",
        "subject": [{"kind": "name", "value": subject.names[0]}, {"kind": "email", "value": subject.email}],
        "identity": {"method": "account_login", "verified": True, "evidence_ref": "demo/login-1", "verified_at": now},
    }
    _, filed = intake.post_bytes("/v1/tickets", json.dumps(body).encode())
    ticket_id = str(filed["ticket_id"])
    narrator.say(f"  ticket {ticket_id} filed over HTTP: {filed['status']}, due {filed['due_at'][:10]}")
    if filed["status"] == "awaiting_approval":
        intake.post(f"/v1/tickets/{ticket_id}/approve", {})
        narrator.say("  approved by the operator's key (a person's decision, in production)")
    began = time.monotonic()
    seconds: dict[str, float] = {}
    for what, at in _follow(intake, services, ticket_id, narrator, began):
        seconds[what] = at
    return ticket_id, seconds


def _follow(
    intake: ServiceClient, services: Supervisor, ticket_id: str, narrator: Narrator, began: float
) -> Iterator[tuple[str, float]]:
    """Progress until the ticket has come to rest; gives (status, seconds since the decision)."""
    shown = suppressed = ""
    while True:
        services.tick()
        ticket = intake.get(f"/v1/tickets/{ticket_id}")
        run = ticket["runs"][-1] if ticket["runs"] else None
        status = ticket["status"] if run is None or ticket["status"] in _DONE else f"{run['status']}"
        at = round(time.monotonic() - began, 2)
        if ticket["status"] == "awaiting_review":
            _confirm_all(intake, ticket, narrator)
        if ticket["suppression"]["state"] != suppressed:
            suppressed = ticket["suppression"]["state"]
            narrator.say(f"  {at:6.1f} s  suppression of answers about the person: {suppressed}")
        if status != shown:
            shown = status
            narrator.say(f"  {at:6.1f} s  {status}" + (f"  ({ticket['reason_code']})" if ticket["reason_code"] else ""))
            yield status, at
        elif run is not None and run["progress"]:
            narrator.show_progress(_progress_line(run["progress"]))
        report_due = run is not None and not ticket["report_ready"]  # a run that came to nothing has one too
        if ticket["status"] in _DONE and not report_due:
            yield "report", at
            return
        time.sleep(0.1)


def _confirm_all(intake: ServiceClient, ticket: Mapping[str, Any], narrator: Narrator) -> None:
    """The demo's reviewer sorts ambiguous matches the careful way: none of them is taken for the subject's."""
    waiting = [match["record_id"] for match in ticket["matches"] if match["decision"] is None]
    if waiting:
        narrator.say(f"  {len(waiting)} ambiguous match(es) wait for a person; the demo denies them")
        intake.post(f"/v1/tickets/{ticket['ticket_id']}/review", {"confirm": [], "deny": waiting})


def _progress_line(progress: Mapping[str, Any]) -> str:
    if "steps" in progress:
        return (
            f"train: step {progress['step']}/{progress['steps']}, {progress['tokens_per_second']:.0f} tokens/s, "
            f"{progress['eta_seconds']:.0f} s left"
        )
    return ", ".join(f"{key} {value}" for key, value in progress.items() if not isinstance(value, dict))


def _show(narrator: Narrator, when: str, interview: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    for group, answers in interview.items():
        for one in answers:
            mark = "knows" if one["holds_the_value"] else "     "
            narrator.say(f"  {when:6} {group:10} {mark}  {one['question']}\n{'':27}{one['answer']}")


def _told(
    settings: Settings,
    ticket: Mapping[str, Any],
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    seconds: Mapping[str, float],
    narrator: Narrator,
) -> dict[str, Any]:
    report = Installation(settings).path("reports", str(ticket["ticket_id"]), "report.json")
    found = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
    for gate in found.get("gates", ()):
        value = "–" if gate["value"] is None else f"{gate['value']:.3f}"
        narrator.say(f"  {gate['state']:10} {gate['name']:36} {value:>7}  threshold {gate['threshold']}")
    told = {item["path"]: item.get("value") for point in found.get("points", ()) for item in point["items"]}
    for reason in told.get("verdict.reasons") or ():
        narrator.say(f"  why: {reason}")
    if report.exists():
        narrator.say(f"  report: {report.with_suffix('.html')}")
    generation = after["private"][0]["generation"] if after["private"] else None
    return {
        "ticket_id": ticket["ticket_id"],
        "status": ticket["status"],
        "reason_code": ticket["reason_code"],
        "before": before,
        "after": after,
        "verdict": told.get("verdict.outcome"),
        "gates": found.get("gates", []),
        "metrics": found.get("metrics"),
        "seconds": dict(seconds),
        "generation": generation,
        "report": str(report) if report.exists() else None,
    }


def _erased(settings: Settings) -> set[str]:
    path = settings.home / "demo-erased.json"
    return set(json.loads(path.read_text())) if path.exists() else set()


def _note_erased(settings: Settings, person: str) -> None:
    path = settings.home / "demo-erased.json"
    path.write_text(json.dumps(sorted({*_erased(settings), person})))
