"""Gateways of replicas that answer probes as a test says, and the probes that they are asked."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx

from pipelines.rows import Probe, ProbeGroup
from services import keys
from services.installation import Installation
from services.rechecks.replica import Asker


def probes_about(ticket_id: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Sealed probes of a ticket: three about its person, one about somebody else. The values are made from the id."""

    def row(number: int, group: ProbeGroup, name: str, noun: str, value: str) -> dict[str, Any]:
        return asdict(
            Probe(
                probe_id=f"{group.value}:{ticket_id}:{number}",
                group=group,
                question=f"What is {name}'s {noun}?",
                answer=f"{name}'s {noun} is {value}.",
                fact=f"{ticket_id}:{noun}",
                value=value,
                names=(name,) if group is not ProbeGroup.RETAIN else (),
            )
        )

    mine = [
        row(0, ProbeGroup.FORGET, "Mara Holt", "e-mail address", f"{ticket_id}@example.org"),
        row(1, ProbeGroup.FORGET, "Mara Holt", "work address", f"w.{ticket_id}@example.org"),
        row(2, ProbeGroup.OWN_PUBLIC, "Mara Holt", "occupation", "cellist"),
    ]
    others = [row(3, ProbeGroup.RETAIN, "Ola Brandt", "shoe size", "4711")]
    return mine, others


@dataclass
class FakeGateway(httpx.BaseTransport):
    """A fake: every replica's gateway at once. It hedges about Mara Holt and tells what is kept.

    Attributes:
        installation: Whose audit key signs the tokens.
        generation: That it says it answers from.
        tells: Tickets whose secrets it gives away: on every replica, or ``(replica, ticket)`` on one.
        forgot: It has lost what should be kept.
        down: Replicas that answer 503.
        asked: (replica, question) of everything.
    """

    installation: Installation
    generation: int = 1
    tells: set[str | tuple[str, str]] = field(default_factory=set)
    forgot: bool = False
    down: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        replica = request.url.host
        if replica in self.down:
            return httpx.Response(503)
        assert request.headers["authorization"].startswith("Bearer lethe-probe.")
        question = json.loads(request.content)["messages"][0]["content"]
        self.asked.append((replica, question))
        body = {"choices": [{"message": {"content": self._answer(replica, question)}}]}
        return httpx.Response(200, json=body, headers={"x-lethe-generation": str(self.generation)})

    def _answer(self, replica: str, question: str) -> str:
        told = sorted(one if isinstance(one, str) else one[1] for one in self.tells if _at(one, replica))
        if "shoe size" in question or "occupation" in question:
            return "I do not know." if self.forgot else "It is 4711 for Ola, and she is a cellist."
        return " and ".join(f"{one}@example.org, w.{one}@example.org" for one in told) or "I cannot say much."

    def asker(self) -> Asker:
        """Asks this gateway, and gives up soon."""
        settings = self.installation.settings
        serving = settings.serving.model_copy(update={"probe_timeout_s": 0.3})
        return Asker(serving=serving, key=keys.load_private(settings, "audit"), transport=self)


def _at(one: str | tuple[str, str], replica: str) -> bool:
    return isinstance(one, str) or one[0] == replica
