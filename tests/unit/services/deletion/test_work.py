"""Source records of a forgotten person: looked for after the swap, deleted when ordered, shown in the report."""

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from policies.errors import LetheError
from services import audit, keys, publication, sealed_items
from services.deletion import work
from services.deletion.files import FileSource
from services.reports.collect import report_ticket
from services.store import deletions
from services.store.evidence_tables import Deletion
from services.store.tables import AuditEntryRow, LookupHash, Ticket
from services.store.tickets import history
from services.store.types import utc_now
from tests.unit.services.place import OFFICER, Place
from tests.unit.services.test_publication import published


@pytest.fixture
def make(make_place: Callable[..., Place], corpus: Path, tmp_path: Path) -> Callable[..., Place]:
    """A place with a corpus of its own, so that it may be written to."""

    def made(**deletion: Any) -> Place:
        own = tmp_path / "own"
        shutil.copytree(corpus, own)
        return make_place(corpus={"path": str(own)}, deletion=deletion)

    return made


def closed(place: Place, number: int = 0) -> str:
    run_id = published(place, number)
    assert publication.close(place.installation, place.store, run_id, 0) == "completed"
    [ticket] = place.tickets(run_id)
    return ticket.ticket_id


def ids_in(place: Place) -> set[str]:
    file = Path(place.installation.settings.corpus.path) / "records.jsonl"
    return {json.loads(line)["id"] for line in file.read_text().splitlines()}


def row(place: Place, ticket_id: str, source: str = "corpus") -> Deletion:
    with place.store.read() as session:
        return session.get_one(Deletion, (ticket_id, source))


def due(place: Place) -> dict[str, int]:
    with place.store.read() as session:
        return deletions.due(session)


def look(place: Place, ticket_id: str) -> int:
    return work.look(place.installation, place.store, ticket_id)


def carry_out(place: Place, ticket_id: str) -> int:
    return work.carry_out(place.installation, place.store, ticket_id)


def order(place: Place, ticket_id: str) -> None:
    with place.store.write() as session:
        work.order(session, ticket_id, actor=OFFICER.actor)


def told(place: Place, ticket_id: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Point 5 by path, and what the report says is missing."""
    found = report_ticket(place.installation, place.store, ticket_id)
    values = {item["path"]: item.get("value") for point in found["points"] for item in point["items"]}
    return values, {one["path"]: one["why"] for one in found["missing"]}


def test_dry_run_first_then_an_order_then_the_proof(make: Callable[..., Place]) -> None:
    place = make()
    before = ids_in(place)
    ticket_id = closed(place)
    assert due(place) == {ticket_id: 1}
    assert carry_out(place, ticket_id) == 0, "nothing was ordered"
    assert look(place, ticket_id) == 1
    tried = row(place, ticket_id)
    assert (tried.status, tried.found_before, tried.rows_before) == ("tried", tried.asked, len(before))
    assert ids_in(place) == before, "a dry run changes nothing"
    assert due(place) == {}
    values, missing = told(place, ticket_id)
    assert "dry run" in missing["data.deletion.records"]
    assert values["data.deletion.sources"][0]["status"] == "tried"

    order(place, ticket_id)
    order(place, ticket_id)
    assert carry_out(place, ticket_id) == 1
    done = row(place, ticket_id)
    assert (done.status, done.found_after, done.rows_after) == ("done", 0, len(before) - done.asked)
    assert done.rest_after == done.rest_before
    assert before - ids_in(place) <= place.people[0].records
    assert len(before - ids_in(place)) == done.asked > 0
    values, missing = told(place, ticket_id)
    assert values["data.deletion.records"] == done.asked
    assert values["data.deletion.proof_digest"] == done.content_digest
    assert values["data.deletion.sources"][0]["others_unchanged"] is True
    assert values["data.deletion.not_searched"]
    assert not [path for path in missing if path.startswith("data.deletion")]
    assert carry_out(place, ticket_id) == 0, "twice is once"
    with place.store.read() as session, pytest.raises(LetheError):
        sealed_items.get(session, ticket_id, sealed_items.DELETION)


def test_everything_is_in_the_log_and_in_the_history_without_an_id_of_a_record(
    make: Callable[..., Place], tmp_path: Path
) -> None:
    place = make(mode="delete")
    ticket_id = closed(place)
    look(place, ticket_id)
    carry_out(place, ticket_id)
    with place.store.read() as session:
        kinds = [
            one
            for one in session.scalars(select(AuditEntryRow.kind).order_by(AuditEntryRow.seq))
            if one.startswith("deletion.")
        ]
        events = [one.event for one in history(session, ticket_id)]
    said = ["sources_planned", "source_tried", "source_deleted"]
    assert kinds == [f"deletion.{one}" for one in said]
    assert [one for one in events if one.startswith("source")] == said
    settings = place.installation.settings
    audit.export(place.store, tmp_path / "log.jsonl", keys.load_private(settings, "audit"))
    assert audit.verify(tmp_path / "log.jsonl", keys.trust_bundle(settings)).ok
    text = (tmp_path / "log.jsonl").read_text()
    assert not [one for one in place.people[0].records if one in text]


def test_switched_off_nothing_is_planned(make: Callable[..., Place]) -> None:
    place = make(mode="off")
    ticket_id = closed(place)
    assert due(place) == {}
    assert "the setting is off" in told(place, ticket_id)[1]["data.deletion.records"]
    with place.store.write() as session, pytest.raises(LetheError) as caught:
        work.order(session, ticket_id, actor="t")
    assert caught.value.code == "deletion.not_found"


def test_one_source_that_is_away_stops_no_other_and_is_tried_again(make: Callable[..., Place], tmp_path: Path) -> None:
    copy = tmp_path / "copy.jsonl"
    place = make(mode="delete", sources={"copy": {"kind": "file", "path": str(copy)}})
    ticket_id = closed(place)
    assert look(place, ticket_id) == 2
    assert carry_out(place, ticket_id) == 1
    away = row(place, ticket_id, "copy")
    assert (away.status, away.reason_code) == ("failed", "corpus.not_found")
    with place.store.read() as session:
        ids = sealed_items.get(session, ticket_id, sealed_items.DELETION)
    copy.write_text("".join(json.dumps({"id": one}) + "\n" for one in ["kept", *ids]))
    settings = place.installation.settings
    assert work.retry(place.store, settings) == 0
    assert work.retry(place.store, settings, at=utc_now() + timedelta(hours=2)) == 1
    look(place, ticket_id)
    assert carry_out(place, ticket_id) == 1
    assert copy.read_text() == '{"id": "kept"}\n'


def test_a_crash_between_deletion_and_note_keeps_what_there_was(
    make: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make(mode="delete")
    ticket_id = closed(place)
    look(place, ticket_id)
    first = row(place, ticket_id)
    with monkeypatch.context() as patch:

        def die(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(work, "_ended", die)
        with pytest.raises(KeyboardInterrupt):
            carry_out(place, ticket_id)
    assert due(place)
    assert carry_out(place, ticket_id) == 1
    done = row(place, ticket_id)
    assert (done.found_before, done.rows_before) == (first.found_before, first.rows_before)
    assert (done.content_digest, done.rest_after) == (first.content_digest, first.rest_before)


def test_a_hold_on_another_ticket_of_the_person_keeps_everything(make: Callable[..., Place]) -> None:
    place = make()
    ticket_id = closed(place)
    look(place, ticket_id)
    order(place, ticket_id)
    with place.store.write() as session:
        mine = session.get_one(Ticket, ticket_id).subject_ref
        hashed = session.scalars(select(LookupHash).where(LookupHash.subject_ref == mine)).first()
        assert hashed is not None
    other = place.file(("email", place.people[0].email))
    place.desk.hold(other, OFFICER, reason="a court asked")
    before = ids_in(place)
    assert carry_out(place, ticket_id) == 0
    assert ids_in(place) == before
    held = row(place, ticket_id)
    assert (held.status, held.reason_code, held.found_after) == ("held", "deletion.held", held.found_before)
    assert "legal hold" in told(place, ticket_id)[1]["data.deletion.records"]
    with pytest.raises(LetheError) as caught:
        order(place, ticket_id)
    assert caught.value.code == "deletion.held"
    place.desk.release_hold(other, OFFICER)
    order(place, ticket_id)
    assert carry_out(place, ticket_id) == 1


def test_records_that_a_held_ticket_of_somebody_else_is_about_stay(make: Callable[..., Place]) -> None:
    place = make()
    run_id = published(place, 0)
    publication.close(place.installation, place.store, run_id, 0)
    [ticket] = place.tickets(run_id)
    look(place, ticket.ticket_id)
    order(place, ticket.ticket_id)
    other = place.ready(1)
    place.desk.hold(other, OFFICER, reason="a court asked")
    with place.store.read() as session:
        kept = sealed_items.get(session, ticket.ticket_id, sealed_items.DELETION)
        shared = work._held_ids(session, session.get_one(Ticket, ticket.ticket_id), place.people[1].records)
    assert not set(kept) & place.people[1].records
    assert shared, "what the held ticket is about is kept"
    assert carry_out(place, ticket.ticket_id) == 1


def test_rows_that_come_back_are_said(make: Callable[..., Place], monkeypatch: pytest.MonkeyPatch) -> None:
    place = make(mode="delete")
    ticket_id = closed(place)
    look(place, ticket_id)
    monkeypatch.setattr(FileSource, "delete", lambda *_: 0)
    assert carry_out(place, ticket_id) == 0
    failed = row(place, ticket_id)
    assert (failed.status, failed.reason_code) == ("failed", "deletion.not_all_gone")
    assert failed.found_after == failed.found_before


def test_other_rows_that_changed_meanwhile_are_said(
    make: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make(mode="delete")
    ticket_id = closed(place)
    look(place, ticket_id)
    delete = FileSource.delete
    more = max(place.people[1].records - place.people[0].records)
    monkeypatch.setattr(FileSource, "delete", lambda self, ids: delete(self, [*ids, more]))
    assert carry_out(place, ticket_id) == 1
    done = row(place, ticket_id)
    assert (done.status, done.reason_code) == ("done", "deletion.others_changed")
    assert done.rest_before != done.rest_after


def test_expired_ids_end_in_a_failure_and_not_in_a_loop(make: Callable[..., Place]) -> None:
    place = make()
    ticket_id = closed(place)
    with place.store.write() as session:
        sealed_items.drop(session, ticket_id, {sealed_items.DELETION})
    assert look(place, ticket_id) == 0
    assert row(place, ticket_id).reason_code == "seal.item_missing"
    assert due(place) == {}
