"""Registers from a store: exactly the fields that the rules name, and no person in them."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services import sealing
from services.registers.processing import PROCESSING_FIELDS, processing
from services.registers.requests import REQUEST_FIELDS, counts, requests
from services.registers.write import as_csv, as_json
from services.settings import load_settings
from services.store import migration
from services.store.engine import Store, open_store
from services.store.tables import Ticket
from tests.unit.services.store.samples import RING, a_ticket

_CATEGORIES = [{"article": "Cal. Civ. Code § 1798.105(d)(1)"}]
_RECORDS = [{"record_id": "r-1", "exemption": "legal_obligation", "article": "Cal. Civ. Code § 1798.105(d)(8)"}]
START = datetime(2026, 2, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Requests of 2026 with every end, and one of 2025."""
    url = f"sqlite:///{tmp_path_factory.mktemp('registers') / 'lethe.sqlite'}"
    migration.migrate(url)
    opened = open_store(url, info={sealing.KEY_RING: RING})
    ends: list[tuple[str, int | None, dict[str, object] | None, str | None]] = [
        ("completed", 10, {"partial": False}, None),
        ("completed", 20, {"partial": True, "kept_categories": _CATEGORIES, "kept_records": _RECORDS}, None),
        ("nothing_found", 3, {}, None),
        ("denied", 40, {"outcome": "deny", "article": "11 CCR § 7060"}, "identity_failed"),
        ("denied", 41, {"outcome": "approve", "article": "x"}, None),
        ("cancelled", 1, {}, None),
        ("cancelled", 2, {}, "duplicate"),
        ("awaiting_identity", None, None, None),
    ]
    with opened.write() as session:
        for number, (status, days, decision, code) in enumerate(ends):
            ticket = a_ticket(session, f"e-{number}", received_at=START + timedelta(hours=number))
            _end(ticket, status, days, decision, code)
        _end(a_ticket(session, "e-old", received_at=START - timedelta(days=365)), "completed", 5, {}, None)
        a_ticket(session, "e-eu", received_at=START).regime = "gdpr"
    yield opened
    opened.close()


def _end(ticket: Ticket, status: str, days: int | None, decision: dict[str, object] | None, code: str | None) -> None:
    ticket.regime, ticket.status, ticket.decision, ticket.reason_code = "ccpa", status, decision, code
    ticket.closed_at = None if days is None else ticket.received_at + timedelta(days=days)


def test_every_request_with_exactly_the_fields_of_the_rule(store: Store) -> None:
    with store.read() as session:
        rows = list(requests(session, regime="ccpa", year=2026))
    assert [set(row) for row in rows] == [set(REQUEST_FIELDS)] * 8
    assert [row["nature_of_response"] for row in rows] == [
        "complied",
        "complied_in_part",
        "nothing_found",
        "denied",
        "denied",
        "withdrawn",
        "duplicate",
        "open",
    ]
    assert rows[1]["basis_of_denial"] == "Cal. Civ. Code § 1798.105(d)(1); Cal. Civ. Code § 1798.105(d)(8)"
    assert [row["basis_of_denial"] for row in rows[3:5]] == ["11 CCR § 7060", "decided_by_person"]
    assert {row["nature_of_request"] for row in rows} == {"erasure"}
    assert rows[0]["date_of_request"] == "2026-02-01"
    assert rows[-1]["date_of_response"] is None


def test_the_year_in_numbers(store: Store) -> None:
    with store.read() as session:
        [found] = counts(session, 2026)
        [none] = counts(session, 2020)
        [every] = counts(session, 2026, regime=None)
    assert found == {
        "year": 2026,
        "regime": "ccpa",
        "requests": "to_delete",
        "received": 8,
        "complied_in_whole": 2,
        "complied_in_part": 1,
        "denied": 2,
        "withdrawn": 1,
        "duplicates": 1,
        "open": 1,
        "median_days": 20,
        "mean_days": 22.8,
    }
    assert (none["received"], none["median_days"]) == (0, None)
    assert every["received"] == 9


def test_days_and_years_are_those_of_the_ticket_s_own_law(store: Store) -> None:
    new_year = datetime(2031, 1, 1, 3, tzinfo=UTC)
    with store.read() as session:
        ticket = a_ticket(session, "e-la", received_at=new_year)
        _end(ticket, "completed", 1, {"deadlines": {"zone": "America/Los_Angeles"}}, None)
        session.flush()
        [row] = requests(session, year=2030)
        assert list(requests(session, year=2031)) == []
        [found] = counts(session, 2030)
        session.rollback()
    assert (row["date_of_request"], row["date_of_response"]) == ("2030-12-31", "2031-01-01")
    assert found["received"] == 1


def test_the_records_of_processing_tell_what_is_held_and_what_is_missing(store: Store, tmp_path: Path) -> None:
    with store.read() as session:
        rows = processing(session, load_settings(tmp_path))
        named = processing(session, load_settings(tmp_path, registers={"controller": "Example SpA", "contact": "dpo"}))
    assert [set(row) for row in rows] == [set(PROCESSING_FIELDS)] * len(rows)
    assert all("missing" in row["controller"] for row in rows)
    assert {row["controller"] for row in named} == {"Example SpA"}
    held = {row["activity"]: row["held_now"] for row in rows}
    assert held["requests"] == 10
    assert "36 months" in rows[0]["erasure"]


def test_csv_reads_back_and_holds_no_formula(store: Store) -> None:
    with store.read() as session:
        rows = list(requests(session))
    rows[0]["manner_of_request"] = "=HYPERLINK(1)"
    read = list(csv.DictReader(io.StringIO(as_csv(rows, REQUEST_FIELDS))))
    assert len(read) == len(rows)
    assert read[0]["manner_of_request"] == "'=HYPERLINK(1)"
    assert read[1]["basis_of_denial"] == (rows[1]["basis_of_denial"] or "")
    assert json.loads(as_json(rows)) == rows
