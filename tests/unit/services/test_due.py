from datetime import UTC, datetime, timedelta

import pytest

from services import telemetry
from services.due import observe_due, open_by_date
from services.settings import load_settings
from services.store.engine import Store
from services.telemetry import prometheus
from tests.unit.services.store.samples import a_ticket

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("due", "when"),
    [
        (NOW - timedelta(seconds=1), "overdue"),
        (NOW, "soon"),
        (NOW + timedelta(days=7) - timedelta(seconds=1), "soon"),
        (NOW + timedelta(days=7), "later"),
        (None, "undated"),
    ],
)
def test_a_ticket_counts_once_where_its_date_puts_it(store: Store, due: datetime | None, when: str) -> None:
    with store.write() as session:
        a_ticket(session).due_at = due
    with store.read() as session:
        found = open_by_date(session, now=NOW, soon_days=7)
    assert found == {**dict.fromkeys(("overdue", "soon", "later", "undated"), 0), when: 1}


def test_closed_tickets_are_nobodys_worry(store: Store) -> None:
    with store.write() as session:
        ticket = a_ticket(session)
        ticket.due_at, ticket.status = NOW - timedelta(days=1), "completed"
    with store.read() as session:
        assert set(open_by_date(session, now=NOW, soon_days=7).values()) == {0}


def test_prometheus_reads_every_class_whether_or_not_there_is_a_ticket(store: Store, tmp_path: object) -> None:
    settings = load_settings(str(tmp_path))
    started = telemetry.setup("lethe-test", settings)
    try:
        observe_due(store, settings)
        with store.write() as session:
            row = a_ticket(session)
            row.due_at = NOW - timedelta(days=3000)
        page = prometheus.page()[0].decode()
    finally:
        started.shutdown()
    rows = {line for line in page.splitlines() if line.startswith("lethe_tickets_open{")}
    assert {'lethe_tickets_open{lethe_when="overdue"} 1.0', 'lethe_tickets_open{lethe_when="soon"} 0.0'} <= rows
