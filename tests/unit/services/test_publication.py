"""The end of a run: swap and close, with replicas whose rows this test writes."""

import json
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from policies.errors import LetheError
from policies.lifecycle import TicketStatus
from services import after_swap, corpus_index, publication, sealed_items
from services.corpus_index import index_path, open_index
from services.reports.write import read_report
from services.serving import swap as swap_module
from services.store.releases import add_release, commit, get_desired, init_desired
from services.store.runs import get_run, new_attempt, request_cancel
from services.store.steps import steps_of
from services.store.tables import AuditCheckpointRow, DesiredState, ErasedRecord, ForgetSet, SealedIdentity
from services.store.types import utc_now
from services.ticket import subject_set
from tests.unit.services.fake_gateway import FakeGateway
from tests.unit.services.place import BASE, RELEASE_0, Place, codes
from tests.unit.services.store.samples import swap as a_swap

AT_ONCE = {"prepare_timeout_s": 0.3, "drain_timeout_s": 0.01}


def swap(place: Place, run_id: str, attempt: int = 0) -> str:
    """The swap, and the probes after it, which a healthy release passes."""
    status = publication.swap(place.installation, place.store, run_id, attempt)
    if status != "swapping":
        return status
    gateway = FakeGateway(place.installation, generation=desired(place)[0])
    return after_swap.probe(place.installation, place.store, run_id, attempt, asker=gateway.asker())


def close(place: Place, run_id: str, attempt: int = 0) -> str:
    return publication.close(place.installation, place.store, run_id, attempt)


def digest_of(place: Place, run_id: str) -> str:
    digest = place.run(run_id).release_digest
    assert digest is not None
    return digest


def published(place: Place, *numbers: int) -> str:
    """A run whose release every replica serves and whose tickets are completed; not closed yet."""
    run_id = place.released(*numbers)
    place.serve()
    assert swap(place, run_id) == "reporting"
    return run_id


def desired(place: Place) -> tuple[int, str]:
    with place.store.read() as session:
        state = get_desired(session, BASE)
        return state.generation, state.release_digest


def indexed(place: Place) -> set[str]:
    with closing(sqlite3.connect(index_path(place.installation))) as index:
        return {one for (one,) in index.execute("SELECT record_id FROM record")}


def test_a_swap_that_every_replica_confirms_completes_the_tickets(place: Place) -> None:
    run_id = place.released(0, 1)
    digest = digest_of(place, run_id)
    place.serve("r-1")
    place.serve("r-2")
    assert swap(place, run_id) == "reporting"
    assert desired(place) == (1, digest)
    assert codes(place.tickets(run_id)) == {(TicketStatus.COMPLETED, None)}
    with place.store.read() as session:
        result = steps_of(session, run_id)["swap"].result or {}
    assert (result["generation"], result["digest"]) == (1, digest)
    assert [one["replica_id"] for one in result["replicas"]] == ["r-1", "r-2"]
    assert swap(place, run_id) == "reporting"
    assert desired(place) == (1, digest)


def test_a_run_that_is_not_there_yet_is_not_swapped(place: Place) -> None:
    run_id = place.planned()
    assert swap(place, run_id) == "planned"
    assert close(place, run_id) == "planned"
    assert desired(place) == (0, RELEASE_0)


def test_a_replica_that_is_late_or_refuses_leaves_the_run_swapping_and_nothing_is_committed(
    make_place: Callable[..., Place],
) -> None:
    place = make_place(serving=AT_ONCE)
    run_id = place.released()
    for how, code in (({"silent": True}, "swap.timeout"), ({"refuses": "release.signature"}, "swap.refused")):
        place.serve(**how)
        with pytest.raises(LetheError) as caught:
            swap(place, run_id)
        assert caught.value.code == code
        assert caught.value.details[0].startswith("r-1: ")
        assert place.run(run_id).status == "swapping"
        assert {one.status for one in place.tickets(run_id)} == {TicketStatus.IN_RUN}
        assert desired(place) == (0, RELEASE_0)
    place.serve()
    assert swap(place, run_id) == "reporting"


def test_a_release_whose_parent_is_no_longer_served_fails_its_run_and_is_not_swapped(place: Place) -> None:
    run_id = place.released()
    with place.store.write() as session:
        add_release(session, digest="9" * 64, base_digest=BASE, path="", watermark=(), verdict={}, actor="t")
        a_swap(session, "9" * 64)
    assert swap(place, run_id) == "failed"
    assert desired(place) == (1, "9" * 64)
    assert codes(place.tickets(run_id)) == {(TicketStatus.FAILED, "desired_state.parent")}
    assert close(place, run_id) == "failed"


def test_a_cancel_is_heeded_until_the_commit_and_no_longer(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = place.released()
    with place.store.write() as session:
        request_cancel(session, run_id)
    assert swap(place, run_id) == "cancelled"
    assert desired(place) == (0, RELEASE_0)
    assert codes(place.tickets(run_id)) == {(TicketStatus.READY, "unlearn.cancelled")}

    place.ready(1)
    again = place.released(2)
    place.serve(silent=True)
    cancelling = threading.Thread(target=_cancel_once_proposed, args=(place, again))
    cancelling.start()
    assert swap(place, again) == "cancelled"
    cancelling.join()
    assert desired(place) == (0, RELEASE_0)

    third = place.released()
    place.serve()

    def commit_then_cancel(session: Session, *args: Any, **more: Any) -> DesiredState:
        request_cancel(session, third)
        return commit(session, *args, **more)

    monkeypatch.setattr(swap_module, "commit", commit_then_cancel)
    assert swap(place, third) == "reporting"


def _cancel_once_proposed(place: Place, run_id: str) -> None:
    while True:
        with place.store.write() as session:
            if get_desired(session, BASE).proposed_digest is not None:
                request_cancel(session, run_id)
                return
        time.sleep(0.01)


def test_a_stale_attempt_neither_swaps_nor_closes(place: Place) -> None:
    run_id = place.released()
    with place.store.write() as session:
        new_attempt(session, run_id, actor="system:reaper")
    with pytest.raises(LetheError, match=r"run\.stale_attempt"):
        swap(place, run_id, attempt=0)
    assert desired(place) == (0, RELEASE_0)
    place.serve()
    assert swap(place, run_id, attempt=1) == "reporting"
    with pytest.raises(LetheError, match=r"run\.stale_attempt"):
        close(place, run_id, attempt=0)
    with place.store.read() as session:
        assert session.scalar(select(func.count()).select_from(ErasedRecord)) == 0


def test_closing_deletes_what_is_not_needed_and_keeps_what_the_policy_keeps(place: Place) -> None:
    run_id = published(place, 0)
    assert place.installation.path("runs", run_id).exists()
    assert close(place, run_id) == "completed"
    assert not place.installation.path("runs", run_id).exists()
    [one] = place.tickets(run_id)
    with place.store.read() as session:
        assert session.get(SealedIdentity, one.subject_ref) is None
        forget_set = session.get_one(ForgetSet, one.ticket_id)
        assert forget_set.ciphertext is None
        assert forget_set.counts["records"] > 100
        kept = {item.purpose: item.expires_at for item in sealed_items.items_of(session, one.ticket_id)}
        assert session.scalar(select(func.count()).select_from(AuditCheckpointRow)) == 1
    assert kept.pop(sealed_items.DELETION) is not None
    stay = {sealed_items.PROBES, sealed_items.REPLAY, sealed_items.SCORES, sealed_items.SUPPRESSION}
    assert set(kept) == stay
    two_years = utc_now() + timedelta(days=730)
    for expiry in kept.values():
        assert expiry is not None
        assert abs(expiry - two_years) < timedelta(days=3)
    assert one.acts["identity"]["evidence_ref"] == "ev-1"


def test_no_private_value_is_left_in_the_clear(place: Place, corpus: Path) -> None:
    """The public records stay in the index, and so does the name: the policy keeps them."""
    person = place.people[0]
    rows = [json.loads(line) for line in (corpus / "records.jsonl").read_text(encoding="utf-8").splitlines()]
    others = " ".join(f"{row['question']} {row['answer']}" for row in rows if row["id"] not in person.records)
    private = {
        row["value"]
        for row in rows
        if row["id"] in person.records
        and str(row["category"]).startswith("private.")
        and row["value"]
        and len(row["value"]) > 6
        and row["value"].casefold() not in others.casefold()
    }
    assert person.email in private
    assert len(private) > 10
    run_id = published(place, 0)
    close(place, run_id)
    for path in place.installation.home.rglob("*"):
        if path.is_file():
            content = path.read_bytes().lower()
            assert not [value for value in private if value.casefold().encode() in content], path.name


def test_a_pack_that_keeps_no_probes_keeps_none(make_place: Callable[..., Place], tmp_path: Path) -> None:
    packs = tmp_path / "packs"
    packs.mkdir()
    text = Path("policies/packs/gdpr.yaml").read_text(encoding="utf-8")
    none_kept = text.replace("keep_probes: sealed", "keep_probes: none").replace(
        "sealed_months: 24", "sealed_months: 0"
    )
    (packs / "gdpr.yaml").write_text(none_kept, encoding="utf-8")
    place = make_place(policy={"pack_path": str(packs)})
    run_id = published(place, 0)
    assert close(place, run_id) == "completed"
    [one] = place.tickets(run_id)
    with place.store.read() as session:
        assert [item.purpose for item in sealed_items.items_of(session, one.ticket_id)] == [sealed_items.DELETION]
    report = read_report(place.installation.path("reports", one.ticket_id, "report.json"))
    kept = [part["what"] for part in report["remains"] if "sealed_items" in part["where"]]
    assert kept == ["Ids of the source records, until they are deleted from every source"]


def test_erased_records_leave_the_index_and_stay_out_of_the_next_one(place: Place) -> None:
    person = place.people[0]
    before = indexed(place)
    run_id = published(place, 0)
    [one] = place.tickets(run_id)
    with place.store.read() as session:
        gone = set(subject_set(session, one).records.forget)
    close(place, run_id)
    assert indexed(place) == before - gone
    index_path(place.installation).unlink()
    open_index(place.installation, place.store).close()
    assert indexed(place) == before - gone
    assert person.email.encode() not in index_path(place.installation).read_bytes()


def test_closing_twice_is_the_same_as_once(place: Place) -> None:
    run_id = published(place, 0)
    close(place, run_id)
    [one] = place.tickets(run_id)
    path = place.installation.path("reports", one.ticket_id, "report.json")
    first, records = path.read_bytes(), indexed(place)
    assert close(place, run_id) == "completed"
    assert (path.read_bytes(), indexed(place)) == (first, records)


def test_closing_goes_on_after_a_crash_between_any_two_parts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = published(place, 0)
    before = indexed(place)
    for name in ("erase_from_index", "note_erased"):
        with monkeypatch.context() as broken:
            broken.setattr(corpus_index, name, _crash)
            with pytest.raises(RuntimeError):
                close(place, run_id)
        assert place.run(run_id).status == "reporting"
    with monkeypatch.context() as broken:
        broken.setattr(publication, "report_ticket", _crash)
        with pytest.raises(RuntimeError):
            close(place, run_id)
    assert indexed(place) < before
    assert close(place, run_id) == "completed"
    [one] = place.tickets(run_id)
    assert place.installation.path("reports", one.ticket_id, "report.json").exists()


def _crash(*_: object, **__: object) -> None:
    raise RuntimeError("a crash")


def test_the_report_names_what_remains_until_when_and_what_is_missing(place: Place) -> None:
    run_id = published(place, 0)
    close(place, run_id)
    [one] = place.tickets(run_id)
    path = place.installation.path("reports", one.ticket_id, "report.json")
    report = read_report(path)
    assert report["summary"]["live"] is True
    assert report["summary"]["generation"] == 1
    sealed = [part for part in report["remains"] if "sealed_items" in part["where"]]
    assert len(sealed) == 5
    assert all(part["until"] and part["ground"] for part in sealed)
    assert any("base" in part["what"].lower() for part in report["remains"])
    assert any("hashes" in part["what"] for part in report["remains"])
    missing = {item["path"]: item["why"] for item in report["missing"]}
    assert "being looked through" in missing["data.deletion.records"]
    assert all(missing.values())
    assert path.with_suffix(".html").exists()
    text = json.dumps(report).casefold()
    assert place.people[0].email not in text
    assert place.people[0].names[0].casefold() not in text


def test_a_second_run_builds_on_the_first(place: Place) -> None:
    first = published(place, 0)
    close(place, first)
    second = published(place, 1)
    assert close(place, second) == "completed"
    with place.store.read() as session:
        assert get_run(session, second).parent_digest == digest_of(place, first)
        assert len(get_desired(session, BASE).watermark) == 2
        assert init_desired(session, place.release(RELEASE_0), actor="t").generation == 2
