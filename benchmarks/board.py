"""The console's board over many tickets: server time of its pages, each in one request through the whole stack.

``python -m benchmarks.board --tickets 100000`` (``--postgres`` too: a server of the tests' own)
"""

import argparse
import json
import random
import re
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert
from starlette.testclient import TestClient

from policies.lifecycle import CLOSED_TICKET, TicketStatus
from services.auth import create_key
from services.console.app import add_console
from services.console.door import ConsoleDoor
from services.installation import create_installation
from services.intake.app import create_app
from services.settings import Settings, load_settings
from services.store.engine import Store
from services.store.tables import SubjectKey, Ticket
from tests.postgres import postgres_server

_BATCH = 2_000
_SHARE_CLOSED = 0.5
_DAYS = 90  # open deadlines lie within so many days, some of them past


def fill(store: Store, number: int) -> None:
    """Tickets of every status, as the store keeps them; each deadline ends with its day."""
    dice, now = random.Random(1), datetime.now(UTC).replace(hour=23, minute=59, second=59, microsecond=0)
    closed, still = sorted(CLOSED_TICKET), [status for status in TicketStatus if status not in CLOSED_TICKET]
    for start in range(0, number, _BATCH):
        rows = []
        for place in range(start, min(start + _BATCH, number)):
            over = dice.random() < _SHARE_CLOSED
            due = now + timedelta(days=dice.randint(-400, -1) if over else dice.randint(-3, _DAYS))
            rows.append(_ticket(place, str(dice.choice(closed if over else still)), due, closed=over))
        with store.write() as session:
            keys = [{"subject_ref": row["subject_ref"], "kek_id": "k", "created_at": now} for row in rows]
            session.execute(insert(SubjectKey), keys)
            session.execute(insert(Ticket), rows)


def _ticket(place: int, status: str, due: datetime, *, closed: bool) -> dict[str, Any]:
    decision = {"deadlines": {"zone": "UTC"}, "explanation": "x" * 900, "letter_text": "y" * 900}
    return {
        "ticket_id": f"t-{place:020x}",
        "channel": "api",
        "external_id": f"DSR-{place}",
        "body_digest": "0" * 64,
        "regime": ("gdpr", "uk_gdpr", "ccpa")[place % 3],
        "status": status,
        "version": 3,
        "subject_ref": f"s-{place:020x}",
        "base": "demo",
        "received_at": due - timedelta(days=31),
        "due_at": due,
        "closed_at": due if closed else None,
        "identity_verified": True,
        "approvals_needed": 1,
        "approvals": [],
        "entered_by": "key:bench",
        "legal_hold": False,
        "acts": {},
        "decision": decision,  # of the size that it has: reading it is part of what a page costs
    }


def browser(settings: Settings, store: Store) -> TestClient:
    """Somebody who is logged in; every request goes through door, guard, templates and store."""
    app = create_app(settings, open_store=lambda: store)
    add_console(app, settings, open_store=lambda: store)
    door = ConsoleDoor(app, routes=lambda: app.routes, open_store=lambda: store, settings=settings.console)
    client = TestClient(door, base_url="https://testserver")
    with store.write() as session:
        key = create_key(session, name="bench", role="privacy_officer", actor="system:bench").token
    answer = client.post("/console/login", data={"key": key}, headers={"Origin": "https://testserver"})
    answer.raise_for_status()
    return client


def measure(client: TestClient, path: str, times: int) -> dict[str, float]:
    """Milliseconds of one page, asked for again and again; the first time stands alone."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        client.get(path).raise_for_status()
        taken.append(1000 * (time.perf_counter() - start))
    rest = sorted(taken[1:])
    return {
        "first_ms": round(taken[0], 1),
        "median_ms": round(statistics.median(rest), 1),
        "p95_ms": round(rest[int(len(rest) * 0.95) - 1], 1),
    }


def deep(client: TestClient, pages: int) -> str:
    """The address of a page far behind the first."""
    path = "/console/"
    for _ in range(pages):
        found = re.search(r'<a href="([^"]+)" rel="next"', client.get(path).text)
        assert found, "there are fewer pages than that"
        path = found[1].replace("&amp;", "&")
    return path


def run(tickets: int, times: int, *, postgres: bool) -> dict[str, Any]:
    """All figures of one database."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        groups = {"store": {"url": stack.enter_context(postgres_server())}} if postgres else {}
        installation = create_installation(load_settings(home / "home", **groups))
        store = installation.open_store()
        stack.callback(store.close)
        fill(store, tickets)
        client = browser(installation.settings, store)
        pages = {
            "board": "/console/",
            "board, page 40": deep(client, 39),
            "board, needs a person": "/console/?group=person",
            "board, closed": "/console/?group=closed",
            "board, one status and law": "/console/?status=awaiting_review&regime=ccpa",
            "calendar": "/console/calendar",
        }
        return {name: measure(client, path, times) for name, path in pages.items()}


def main() -> None:
    """Prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tickets", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=40)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = run(given.tickets, given.times, postgres=given.postgres)
    if given.json:
        json.dump({"tickets": given.tickets, "postgres": given.postgres, "pages": found}, sys.stdout, indent=1)
        return
    print(f"{given.tickets} tickets, {'PostgreSQL' if given.postgres else 'SQLite'}, server time in ms")
    for name, one in found.items():
        print(f"{name:28} first {one['first_ms']:7} median {one['median_ms']:7} p95 {one['p95_ms']:7}")


if __name__ == "__main__":
    main()
