import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, select, update
from sqlalchemy.orm import Session

from policies.errors import LetheError
from services import audit, keys
from services.store.engine import Store
from services.store.tables import AuditEntryRow


def test_the_first_entry_opens_the_log_with_an_origin(store: Store) -> None:
    with store.write() as session:
        entry = audit.append(session, kind="ticket.received", payload={"ticket": "t-1"})
    assert entry.seq == 2
    with store.read() as session:
        rows = session.scalars(select(AuditEntryRow).order_by(AuditEntryRow.seq)).all()
    assert [row.kind for row in rows] == ["log.opened", "ticket.received"]
    assert rows[1].prev_hash == rows[0].hash
    assert json.loads(rows[0].payload)["origin"].startswith("log-")


def test_an_entry_shares_the_fate_of_its_transaction(store: Store) -> None:
    def received_twice() -> None:
        with store.write() as session:
            audit.append(session, kind="ticket.received", payload={})
            raise KeyError("ticket")

    with pytest.raises(KeyError):
        received_twice()
    with store.read() as session:
        assert session.scalars(select(AuditEntryRow)).all() == []


def test_a_subject_appears_as_its_commitment_only(store: Store) -> None:
    def commit(_session: Session, ref: str) -> str:
        return f"committed-{len(ref)}"

    with store.write() as session:
        entry = audit.append(session, kind="ticket.received", payload={}, subject_ref="s-12", commit=commit)
    assert entry.subject == "committed-4"


def test_writers_at_once_make_one_chain(store: Store, tmp_path: Path, key: keys.SigningKey) -> None:
    def work() -> None:
        for number in range(10):
            with store.write() as session:
                audit.append(session, kind="test.counted", payload={"number": number})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    audit.export(store, tmp_path / "log.jsonl", key)
    result = audit.verify(tmp_path / "log.jsonl", keys.trust_bundle(tmp_path))
    assert (result.ok, result.entries) == (True, 41)


def test_append_costs_the_same_in_a_long_log(store: Store) -> None:
    statements: list[str] = []

    @event.listens_for(store.engine, "before_cursor_execute")
    def record(_c: object, _k: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    with store.write() as session:
        audit.append(session, kind="test.opened", payload={})
    with store.write() as session:
        session.connection()
        statements.clear()
        audit.append(session, kind="test.counted", payload={})
        assert len(statements) == 2
        audit.append(session, kind="test.counted", payload={})
        assert len(statements) == 3  # what nobody else can have changed is not read again
        plan = session.connection().exec_driver_sql("EXPLAIN QUERY PLAN " + statements[0], (1, 0)).all()
    assert "TEMP B-TREE" not in str(plan)  # the last row is found by the key, not by sorting


def test_a_checkpoint_is_made_once_for_a_size(store: Store, key: keys.SigningKey) -> None:
    with store.write() as session:
        audit.append(session, kind="test.counted", payload={})
        first = audit.checkpoint(session, key)
        assert audit.checkpoint(session, key) == first
        audit.append(session, kind="test.counted", payload={})
        second = audit.checkpoint(session, key)
    assert [(point.checkpoint.number, point.checkpoint.size) for point in (first, second)] == [(1, 2), (2, 3)]


def test_an_empty_log_has_nothing_to_sign(store: Store, key: keys.SigningKey) -> None:
    with pytest.raises(LetheError, match=r"audit\.empty"), store.write() as session:
        audit.checkpoint(session, key)


def test_rotated_keys_verify_what_each_signed_in_its_time(store: Store, tmp_path: Path, key: keys.SigningKey) -> None:
    with store.write() as session:
        audit.append(session, kind="test.counted", payload={})
        audit.checkpoint(session, key)
    keys.rotate(tmp_path, "audit")
    with store.write() as session:
        audit.append(session, kind="test.counted", payload={})
    file = tmp_path / "log.jsonl"
    audit.export(store, file, keys.load_private(tmp_path, "audit"))
    result = audit.verify(file, keys.trust_bundle(tmp_path))
    assert (result.ok, result.checkpoints) == (True, 2)

    with store.write() as session:  # the retired key goes on signing: somebody kept a copy
        audit.append(session, kind="test.counted", payload={})
        audit.checkpoint(session, key, at=datetime.now(UTC) + timedelta(days=1))
    audit.export(store, file, keys.load_private(tmp_path, "audit"))
    found = audit.verify(file, keys.trust_bundle(tmp_path))
    assert "checkpoint.key_not_valid_then" in {fault.code for fault in found.faults}


@pytest.mark.parametrize("stored", ['{"number":7}', "scribble", "[]", '{"number":NaN}'])
def test_a_row_changed_in_the_database_is_found(
    store: Store, tmp_path: Path, key: keys.SigningKey, stored: str
) -> None:
    with store.write() as session:
        for number in range(3):
            audit.append(session, kind="test.counted", payload={"number": number})
        session.execute(update(AuditEntryRow).where(AuditEntryRow.seq == 3).values(payload=stored))
    audit.export(store, tmp_path / "log.jsonl", key)
    result = audit.verify(tmp_path / "log.jsonl", keys.trust_bundle(tmp_path))
    assert {fault.code for fault in result.faults} >= {"entry.hash", "entry.chain"}
