"""Rows of suppression, on every database that the store runs on."""

from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from services.store import suppressions
from services.store.engine import Store
from services.store.tables import Suppression
from tests.unit.services.store.samples import BASE, NOW, a_ticket

OTHER = "c" * 64


@pytest.fixture
def rows(store: Store) -> dict[str, str]:
    """Two tickets: one suppressed for two reasons, one on another base."""
    with store.write() as session:
        one, other = a_ticket(session), a_ticket(session, "e-2")
        _row(session, "x-1", one.ticket_id, one.subject_ref, version=1)
        _row(session, "x-2", one.ticket_id, one.subject_ref, version=3, reason="restriction", after=1)
        _row(session, "x-3", other.ticket_id, other.subject_ref, version=1, base=OTHER, after=2)
        return {"one": one.ticket_id, "other": other.ticket_id}


def _row(
    session: Session,
    row_id: str,
    ticket_id: str,
    subject_ref: str,
    *,
    version: int,
    reason: str = "approved",
    base: str = BASE,
    after: int = 0,
) -> None:
    session.add(
        Suppression(
            suppression_id=row_id,
            ticket_id=ticket_id,
            subject_ref=subject_ref,
            base_digest=base,
            reason=reason,
            version=version,
            ciphertext=row_id.encode(),
            since=NOW + timedelta(seconds=after),
        )
    )
    session.flush()


def ids(rows: list[Suppression]) -> list[str]:
    return [row.suppression_id for row in rows]


def test_what_is_in_force_by_base_and_by_ticket(store: Store, rows: dict[str, str]) -> None:
    with store.read() as session:
        assert ids(suppressions.active(session)) == ["x-1", "x-2", "x-3"]
        assert ids(suppressions.active(session, base_digest=OTHER)) == ["x-3"]
        assert ids(suppressions.active(session, ticket_id=rows["one"])) == ["x-1", "x-2"]
        assert ids(suppressions.unconfirmed(session)) == ["x-1", "x-2", "x-3"]
        assert not suppressions.lifted_since(session, NOW)


def test_only_what_came_or_changed_is_read_but_all_that_stands_is_named(store: Store, rows: dict[str, str]) -> None:
    with store.read() as session:
        assert sorted(suppressions.sealed_rules(session, BASE, after=-1)) == [("x-1", 1, b"x-1"), ("x-2", 3, b"x-2")]
        assert sorted(suppressions.sealed_rules(session, BASE, after=1)) == [("x-1", 1, None), ("x-2", 3, b"x-2")]
        assert sorted(suppressions.sealed_rules(session, BASE, after=3)) == [("x-1", 1, None), ("x-2", 3, None)]


def test_what_has_ended_stays_as_a_row_without_its_rule(store: Store, rows: dict[str, str]) -> None:
    with store.write() as session:
        suppressions.end(suppressions.active(session, ticket_id=rows["one"]), at=NOW)
    with store.read() as session:
        assert ids(suppressions.active(session)) == ["x-3"]
        assert ids(suppressions.listed(session)) == ["x-3"]
        assert ids(suppressions.listed(session, ended=True)) == ["x-1", "x-2", "x-3"]
        kept = suppressions.of_ticket(session, rows["one"])
        assert [(row.ciphertext, row.lifted_at) for row in kept] == [(None, NOW), (None, NOW)]
        assert suppressions.sealed_rules(session, BASE, after=-1) == []
        assert suppressions.lifted_since(session, NOW - timedelta(seconds=1))
        assert not suppressions.lifted_since(session, NOW)
