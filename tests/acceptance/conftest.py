"""The corpus and the base of the acceptance tests, made once and kept by content below ``.cache/tests``.

``walk`` is one installation that goes through a story, each fixture one act of it: gradient ascent is rejected twice,
the same ticket is tried again with the method that works, two more people follow from the last release, the second of
them by browser, all restarts. A test asks for the act whose outcome it looks at; the acts before it then happen by
themselves.
"""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipelines.corpus.generate import generate
from services.settings import DEFAULT_METHOD
from tests.acceptance.by_browser import Seen, by_browser
from tests.acceptance.clerks import ApiClerk, Clerk
from tests.acceptance.house import Answer, House, Person, house, people_of
from tests.integration.collector import Collector, collecting
from tests.smtp_server import Mailbox, smtp_server

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "tests"
PEOPLE = 12
# The settings were chosen on other corpora. The second one has an accent in the name, the third has a namesake.
FIRST, SECOND, THIRD = "p00", "p01", "p10"
RECIPIENT = "crm-vendor"


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Invented people; the directory is named by its content."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        draft = Path(scratch) / "corpus"
        card = generate(draft, people=PEOPLE, seed=0)
        target = CACHE / f"corpus-{card.digest[:12]}"
        if not target.exists():
            os.replace(draft, target)
    return target


@pytest.fixture(scope="session")
def base(corpus: Path) -> Path:
    """A model that has memorised them; training it takes a minute or two, once."""
    from pipelines.base.train import train_base

    return Path(train_base(corpus, CACHE / "bases").path)


@pytest.fixture(scope="session")
def people(corpus: Path) -> dict[str, Person]:
    return people_of(corpus)


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """What the served model said while a run was at work, and what the ticket said of it."""

    suppression: dict[str, Any]
    private: list[Answer]
    others: list[Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """One ticket from its filing to its end, with what the served model said before, meanwhile and after.

    Before is before the approval: from then on the person is suppressed, also where a run comes to nothing.
    """

    person: Person
    ticket: dict[str, Any]
    report: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    private: tuple[list[Answer], list[Answer]]
    public: tuple[list[Answer], list[Answer]]
    others: tuple[list[Answer], list[Answer]]
    generations: tuple[int, int]
    meanwhile: Meanwhile

    @property
    def ticket_id(self) -> str:
        return str(self.ticket["ticket_id"])


@dataclass
class Walk:
    """The one installation of the story, and who was erased in it so far."""

    house: House
    people: dict[str, Person]
    collector: Collector
    box: Mailbox
    erased: list[str]

    def erase(self, person: Person, again: Erasure | None = None, clerk: Clerk | None = None) -> Erasure:
        """One ticket: a new one, or one that was rejected and is tried again."""
        generation, clerk = self.house.generation(), clerk or ApiClerk(self.house)
        if again is None:
            before = self._interview(person)
            ticket_id = clerk.file(person)
            clerk.approve(ticket_id)
        else:
            before = again.private[0], again.public[0], again.others[0]
            ticket_id = again.ticket_id
            with self.house.intake() as intake:
                intake.post(f"/v1/tickets/{ticket_id}/retry", {})
        events, meanwhile = self._follow(ticket_id, person, clerk)
        ticket = self.house.wait_end(ticket_id)
        self.house.wait_rules()
        after = self._interview(person)
        if ticket["status"] == "completed":
            self.erased.append(person.person)
        return Erasure(
            person=person,
            ticket=ticket,
            report=self.house.report(ticket_id),
            events=events,
            private=(before[0], after[0]),
            public=(before[1], after[1]),
            others=(before[2], after[2]),
            generations=(generation, self.house.generation()),
            meanwhile=meanwhile,
        )

    def _interview(self, person: Person) -> tuple[list[Answer], list[Answer], list[Answer]]:
        """Held-out questions about the person, and two about everybody who is not erased."""
        others = self._others(person)
        about = [probe for one in others for probe in (one.private[one is others[0]], one.public[0])]
        return self.house.ask(person.private), self.house.ask(person.public), self.house.ask(about)

    def _others(self, person: Person) -> list[Person]:
        return [one for name, one in self.people.items() if name not in {*self.erased, person.person}]

    def _meanwhile(self, ticket_id: str, person: Person) -> Meanwhile:
        return Meanwhile(
            self.house.ticket(ticket_id)["suppression"],
            self.house.ask([*person.private[:6], *person.public[:2]]),
            self.house.ask(one.private[0] for one in self._others(person)),
        )

    def _follow(
        self, ticket_id: str, person: Person, clerk: Clerk
    ) -> tuple[list[tuple[str, dict[str, Any]]], Meanwhile]:
        """The ticket's server-sent events until it has come to rest; ambiguous matches are sorted on the way."""
        seen, meanwhile = [], None
        with self.house.intake() as intake:
            for kind, data in intake.stream(f"/v1/tickets/{ticket_id}/events"):
                seen.append((kind, data))
                if kind != "ticket":
                    continue
                if data["to_status"] == "awaiting_review":
                    clerk.review(ticket_id, truth_of(Path(self.house.settings.corpus.path), person.person))
                if data["to_status"] == "in_run" and meanwhile is None:
                    meanwhile = self._meanwhile(ticket_id, person)
                if data["to_status"] in {"rejected", "failed", "quarantined"} and _last(intake, ticket_id) == data:
                    break
        assert meanwhile is not None, "the ticket came to a run"
        return seen, meanwhile


def _last(intake: Any, ticket_id: str) -> dict[str, Any]:
    return dict(intake.get(f"/v1/tickets/{ticket_id}/events")[-1])


def truth_of(corpus: Path, person: str) -> set[str]:
    """The records that are about a person."""
    import json

    rows = (json.loads(line) for line in (corpus / "truth.jsonl").read_text(encoding="utf-8").splitlines())
    return {row["record"] for row in rows if person in row["people"]}


@pytest.fixture(scope="session")
def walk(
    tmp_path_factory: pytest.TempPathFactory, corpus: Path, base: Path, people: dict[str, Person]
) -> Iterator[Walk]:
    """The installation of the story, with telemetry to a collector and a mail server; nothing is started yet."""
    with (
        collecting() as collector,
        smtp_server() as box,
        house(
            tmp_path_factory.mktemp("walk"),
            corpus={"path": str(corpus)},
            base={"path": str(base)},
            telemetry={"exporter": "otlp", "endpoint": collector.endpoint, "log_level": "debug"},
            form={"base": "lethe"},
            mail={
                "host": "127.0.0.1",
                "port": box.port,
                "security": "none",
                "sender": "privacy@lethe.example",
                "send_notices": True,
                "recipients": {RECIPIENT: "privacy@crm.example"},
            },
        ) as made,
    ):
        yield Walk(made, people, collector, box, [])


@pytest.fixture(scope="session")
def rejected(walk: Walk) -> Erasure:
    """Act 1: gradient ascent on the first person's ticket."""
    walk.house.configure("unlearning", method="ga")
    walk.house.up()
    return walk.erase(walk.people[FIRST])


@pytest.fixture(scope="session")
def rejected_gently(walk: Walk, rejected: Erasure) -> Erasure:
    """Act 2: gradient ascent once more, stopped so early that it has hardly touched the others."""
    walk.house.configure("unlearning", overrides={"learning_rate": 1.4e-3, "min_steps": 10, "max_steps": 10})
    return walk.erase(rejected.person, rejected)


@pytest.fixture(scope="session")
def first(walk: Walk, rejected_gently: Erasure) -> Erasure:
    """Act 3: the same ticket again, with the default method and its defaults."""
    walk.house.down()
    walk.house.configure("unlearning", method=DEFAULT_METHOD, overrides={})
    walk.house.up()
    return walk.erase(rejected_gently.person, rejected_gently)


@pytest.fixture(scope="session")
def second(walk: Walk, first: Erasure) -> Erasure:
    """Act 4: another person, from the last release."""
    return walk.erase(walk.people[SECOND])


@pytest.fixture(scope="session")
def browsed(walk: Walk, second: Erasure) -> tuple[Erasure, Seen]:
    """Act 5: a third person, who has a namesake, asks by the web form; an officer does the rest in the console."""
    walk.house.lethe("recipient", "add", RECIPIENT, "--kind", "data")
    with by_browser(walk.house, walk.box) as clerk:
        erasure = walk.erase(walk.people[THIRD], clerk=clerk)
        return erasure, clerk.look_round(erasure.ticket_id)


@pytest.fixture(scope="session")
def third(browsed: tuple[Erasure, Seen]) -> Erasure:
    return browsed[0]


@pytest.fixture(scope="session")
def seen(browsed: tuple[Erasure, Seen]) -> Seen:
    return browsed[1]


@dataclass(frozen=True, slots=True)
class Restarted:
    """What is served after everything was stopped and started again."""

    generation: int
    answers: list[Answer]


@pytest.fixture(scope="session")
def restarted(walk: Walk, third: Erasure) -> Restarted:
    """Act 6: stop, start, ask again."""
    walk.house.down()
    walk.house.up()
    return Restarted(walk.house.generation(), walk.house.ask(third.person.private))


@pytest.fixture(scope="session")
def over(walk: Walk, restarted: Restarted) -> Walk:
    """The end: every service is stopped, and has sent what it had to tell."""
    walk.house.down()
    return walk
