"""A thousand tickets at once, each sent twice: none is lost, none is there twice, and the log holds."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from benchmarks.intake import Served, serving, stored, ticket
from services import audit, keys
from services.store.tables import AuditEntryRow, TicketEvent
from tests.postgres import postgres_server

pytestmark = pytest.mark.slow
TICKETS, AT_ONCE, BUSY = 1000, 32, 503


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp(request.param) / "home"
    if request.param == "sqlite":
        with serving(home) as running:
            yield running
        return
    with postgres_server() as url, serving(home, url) as running:
        yield running


async def send_all(served: Served) -> list[tuple[str, int, str]]:
    """(external id, status, ticket id) of each of two thousand requests, the copies among the originals."""
    bodies = [body for number in range(TICKETS) for body in [json.dumps(ticket(number))] * 2]
    turn = asyncio.Semaphore(AT_ONCE)
    headers = {"Authorization": f"Bearer {served.token}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(base_url=served.urls[0], headers=headers, timeout=300, trust_env=False) as client:

        async def one(body: str) -> tuple[str, int, str]:
            async with turn:
                while (answer := await client.post("/v1/tickets", content=body)).status_code == BUSY:
                    await asyncio.sleep(0.5)  # nothing of it was stored: a sender sends it again
            return json.loads(body)["external_id"], answer.status_code, answer.json().get("ticket_id", answer.text)

        return list(await asyncio.gather(*(one(body) for body in bodies)))


def test_a_burst_of_a_thousand_tickets_loses_none_and_doubles_none(served: Served, tmp_path: Path) -> None:
    answers = asyncio.run(send_all(served))
    assert Counter(status for _, status, _ in answers) == {201: TICKETS, 200: TICKETS}
    said: dict[str, set[str]] = {}
    for name, _, ticket_id in answers:
        said.setdefault(name, set()).add(ticket_id)
    assert {name: {one} for name, one in stored(served).items()} == said
    store = served.installation.open_store(with_keys=False)
    with store.read() as session:
        received = session.scalar(select(func.count()).select_from(TicketEvent).where(TicketEvent.event == "receive"))
        entries = select(func.count()).select_from(AuditEntryRow).where(AuditEntryRow.kind == "ticket.receive")
        assert received == session.scalar(entries) == TICKETS
    settings = served.installation.settings
    audit.export(store, tmp_path / "log.jsonl", keys.load_private(settings, "audit"))
    store.close()
    assert audit.verify(tmp_path / "log.jsonl", keys.load_trust(keys.trust_path(settings))).ok
