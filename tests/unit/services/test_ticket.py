"""The way of a ticket to its run: real index over a generated corpus, real seals, real policies."""

import hashlib
import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from policies.deadlines import Extension
from policies.errors import LetheError
from policies.lifecycle import CLOSED_RUN, RunEvent, TicketStatus
from policies.subjects import SubjectMatches, find_subject
from services import planning, ticket
from services.store.releases import add_release, init_desired, report_replica
from services.store.runs import list_runs, transition_run
from services.store.tables import AuditEntryRow, ForgetSet, MatchReview
from services.store.tickets import get_ticket, history
from services.store.types import utc_now
from services.ticket import SubjectSet, subject_set
from tests.unit.services.place import OFFICER, Place, levels

HOUSEHOLD = 9  # Eileen lives with Tullio: what names only their address or phone is ambiguous


def look_up(place: Place, ticket_id: str) -> str:
    return ticket.look_up(place.installation, place.store, ticket_id)


def settled(place: Place, ticket_id: str) -> tuple[ForgetSet, SubjectSet]:
    with place.store.read() as session:
        return session.get_one(ForgetSet, ticket_id), subject_set(session, get_ticket(session, ticket_id))


def events(place: Place, ticket_id: str) -> list[str]:
    with place.store.read() as session:
        return [row.event for row in history(session, ticket_id)]


def test_certain_matches_make_a_sealed_forget_set(place: Place) -> None:
    person = place.people[1]
    ticket_id = place.file(("name", person.names[0]), ("email", person.email))
    assert look_up(place, ticket_id) == TicketStatus.READY
    row, found = settled(place, ticket_id)
    assert levels(row.counts)["certain"] == len(person.records)
    assert set(found.records.forget) | set(found.records.exempt) == person.records
    assert row.counts["records"] == len(found.records.forget) > 100
    assert row.counts["kept:public.*"] == len(found.records.exempt) > 0
    kept = [category for category in person.facts.values() if category.startswith("public.")]
    assert row.counts["facts"] >= len(person.facts) - len(kept)  # prose that belongs to no fact counts for itself
    assert len(row.digest) == 64
    assert row.ciphertext is not None
    assert found.records.forget[0].encode() not in row.ciphertext
    assert found.names[0] == person.names[0]


def test_the_log_of_the_ticket_holds_digest_and_number_only(place: Place) -> None:
    ticket_id = place.ready(1)
    row, _ = settled(place, ticket_id)
    with place.store.read() as session:
        entries = [json.loads(payload) for payload in session.scalars(select(AuditEntryRow.payload))]
    fixed = [entry for entry in entries if entry.get("forget_set")]
    assert [(entry["forget_set"], entry["records"]) for entry in fixed] == [(row.digest, row.counts["records"])]
    assert all(place.people[1].email not in json.dumps(entry) for entry in entries)


def test_doing_it_again_changes_nothing(place: Place) -> None:
    ticket_id = place.ready()
    before, seen = settled(place, ticket_id), events(place, ticket_id)
    assert look_up(place, ticket_id) == TicketStatus.READY
    again = settled(place, ticket_id)
    assert (again[0].digest, again[0].ciphertext, again[1]) == (before[0].digest, before[0].ciphertext, before[1])
    assert events(place, ticket_id) == seen


def test_nothing_found_is_a_finding_that_closes_the_ticket(place: Place) -> None:
    ticket_id = place.file(("email", "nobody.at.all@nowhere.example"))
    assert look_up(place, ticket_id) == TicketStatus.NOTHING_FOUND
    found = place.ticket(ticket_id)
    assert found.reason_code == "forget_set.empty"
    assert found.closed_at is not None
    assert look_up(place, ticket_id) == TicketStatus.NOTHING_FOUND


def test_ambiguous_matches_wait_for_a_person_and_train_only_if_confirmed(place: Place) -> None:
    person = place.people[HOUSEHOLD]
    ticket_id = place.file(("name", person.names[0]), ("email", person.email))
    for _ in range(2):
        assert look_up(place, ticket_id) == TicketStatus.AWAITING_REVIEW
    with place.store.read() as session:
        rows = list(session.scalars(select(MatchReview)))
        assert session.get(ForgetSet, ticket_id) is None
    assert len(rows) == 2
    assert all(row.reason and row.decision is None for row in rows)
    mine, other = rows[0].record_id, rows[1].record_id
    assert place.desk.review(ticket_id, OFFICER, confirm=[mine], deny=[other]) == TicketStatus.APPROVED
    assert look_up(place, ticket_id) == TicketStatus.READY
    _, found = settled(place, ticket_id)
    assert mine in (*found.records.forget, *found.records.exempt)
    assert all(other not in ids for name, ids in found.records.sets().items() if name in {"forget", "pending"})


def test_what_changed_during_the_search_is_searched_for_anew(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exemption in the middle of a look-up: approved again, the old look-up's forget set would hold what is kept."""
    person = place.people[1]
    ticket_id = place.file(("name", person.names[0]), ("email", person.email))
    private = next(category for category in person.facts.values() if category.startswith("private."))
    later = utc_now() + timedelta(days=90)

    def meanwhile(*args: Any) -> SubjectMatches:
        monkeypatch.undo()
        place.desk.exempt(ticket_id, OFFICER, code="legal_claims", category=private, review_by=later, reason="a claim")
        assert place.desk.approve(ticket_id, OFFICER) == TicketStatus.APPROVED
        return find_subject(*args)

    monkeypatch.setattr(ticket, "find_subject", meanwhile)
    assert look_up(place, ticket_id) == TicketStatus.APPROVED
    with place.store.read() as session:
        assert session.get(ForgetSet, ticket_id) is None
    assert look_up(place, ticket_id) == TicketStatus.READY
    row, _ = settled(place, ticket_id)
    assert row.counts[f"kept:{private}"] > 0


@pytest.mark.parametrize("number", [HOUSEHOLD, None], ids=["ambiguous", "nothing found"])
def test_what_a_look_up_found_for_an_older_decision_is_dropped(
    place: Place, monkeypatch: pytest.MonkeyPatch, number: int | None
) -> None:
    person = None if number is None else place.people[number]
    known = [("name", person.names[0]), ("email", person.email)] if person else [("email", "nobody@nowhere.example")]
    ticket_id = place.file(*known)

    def meanwhile(*args: Any) -> SubjectMatches:
        monkeypatch.undo()
        extension = Extension(reason="complexity", notice_sent_at=utc_now(), decided_by=OFFICER.actor)
        assert place.desk.extend(ticket_id, extension, OFFICER) == TicketStatus.APPROVED
        return find_subject(*args)

    monkeypatch.setattr(ticket, "find_subject", meanwhile)
    assert look_up(place, ticket_id) == TicketStatus.APPROVED
    with place.store.read() as session:
        assert list(session.scalars(select(MatchReview))) == []
    assert look_up(place, ticket_id) == (TicketStatus.AWAITING_REVIEW if person else TicketStatus.NOTHING_FOUND)


def test_an_address_alone_finds_the_name_as_the_records_spell_it(place: Place) -> None:
    person = place.people[1]
    ticket_id = place.file(("email", person.email.upper()))
    assert look_up(place, ticket_id) == TicketStatus.READY
    row, found = settled(place, ticket_id)
    assert found.names[0] == person.names[0]
    assert levels(row.counts)["certain"] == len(person.records)


def test_a_corpus_about_nobody_else_is_refused_and_the_ticket_says_so(
    make_place: Callable[..., Place], corpus: Path, tmp_path: Path
) -> None:
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    person = make_place().people[0]
    rows = (corpus / "records.jsonl").read_text(encoding="utf-8").splitlines()
    mine = [row for row in rows if person.names[0] in row]
    (lonely / "records.jsonl").write_text("\n".join(mine) + "\n", encoding="utf-8")
    shutil.copy(corpus / "truth.jsonl", lonely)
    shutil.copy(corpus / "people.jsonl", lonely)
    shutil.rmtree(tmp_path / "home")
    place = make_place(corpus={"path": str(lonely)})
    ticket_id = place.file(("name", person.names[0]))
    for _ in range(2):
        with pytest.raises(LetheError) as caught:
            look_up(place, ticket_id)
        assert caught.value.code == "forget_set.whole_corpus"
        found = place.ticket(ticket_id)
        assert (found.status, found.reason_code) == (TicketStatus.APPROVED, "forget_set.whole_corpus")


def test_a_subject_set_that_was_deleted_is_named_as_missing(place: Place) -> None:
    ticket_id = place.ready()
    with place.store.write() as session:
        session.get_one(ForgetSet, ticket_id).ciphertext = None
    with pytest.raises(LetheError) as caught:
        settled(place, ticket_id)
    assert caught.value.code == "seal.item_missing"


def test_tickets_that_are_ready_together_share_a_run_and_runs_are_serial(place: Place) -> None:
    first, second = place.ready(0), place.ready(1)
    run_id = planning.plan(place.installation, place.store)
    assert run_id is not None
    assert {one.ticket_id for one in place.tickets(run_id)} == {first, second}
    assert {one.status for one in place.tickets(run_id)} == {TicketStatus.IN_RUN}
    assert place.run(run_id).parent_digest == "0" * 64
    place.ready(2)
    assert planning.plan(place.installation, place.store) is None
    with place.store.write() as session:
        transition_run(session, run_id, RunEvent.FAIL, actor="system:test")
        assert all(run.status in CLOSED_RUN for run in list_runs(session))
    assert planning.plan(place.installation, place.store) is not None
    assert planning.plan(place.installation, place.store) is None


def test_a_ticket_whose_run_came_to_nothing_goes_alone_and_with_another_seed(place: Place) -> None:
    """One bad ticket rejects all that share its run: tried again, none of them can be rejected for another."""
    first, second = place.ready(0), place.ready(1)

    def ended(event: RunEvent) -> tuple[set[str], int]:
        run_id = planning.plan(place.installation, place.store)
        assert run_id is not None
        tickets = {one.ticket_id for one in place.tickets(run_id)}
        with place.store.write() as session:
            transition_run(session, run_id, event, actor="system:test")
            for one in tickets:
                status = get_ticket(session, one).status
                assert status == TicketStatus.IN_RUN
                get_ticket(session, one).status = TicketStatus.READY  # failed, and retried by a person
        return tickets, place.run(run_id).seed

    assert ended(RunEvent.CANCEL) == ({first, second}, 0)  # a held neighbour is nobody's fault
    assert ended(RunEvent.FAIL) == ({first, second}, 0)
    assert ended(RunEvent.FAIL) == ({first}, 1)
    third = place.ready(2)
    assert ended(RunEvent.FAIL) == ({first}, 2), "whoever was approved first is served first"
    with place.store.write() as session:
        get_ticket(session, first).status = TicketStatus.REJECTED
    assert ended(RunEvent.FAIL) == ({second}, 1)
    with place.store.write() as session:
        get_ticket(session, second).status = TicketStatus.REJECTED
    assert ended(RunEvent.CANCEL) == ({third}, 0)


def test_without_tickets_or_without_a_release_there_is_no_run(place: Place) -> None:
    assert planning.plan(place.installation, place.store) is None


def test_a_run_is_of_the_base_that_is_served_and_not_of_another_lineage(place: Place) -> None:
    for base, digest in (("z" * 64, "1" * 64), ("a" * 64, "2" * 64)):
        with place.store.write() as session:
            release = add_release(
                session, digest=digest, base_digest=base, path="", watermark=(), verdict={}, actor="system:test"
            )
            init_desired(session, release, actor="system:test")
    with place.store.write() as session:
        said: dict[str, Any] = {"state": "serving", "generation": 0, "release_digest": "1" * 64, "lease_s": 60}
        report_replica(session, "r-1", base_digest="z" * 64, **said)
    assert place.run(place.planned()).base_digest == "z" * 64


def test_approved_tickets_wait_for_others_for_the_batch_window(make_place: Callable[..., Place]) -> None:
    place = make_place(intake={"batch_window_s": 600})
    # Received long ago; what counts is since when it could have been worked on.
    person = place.people[0]
    received = (utc_now() - timedelta(days=9)).isoformat()
    ticket_id = place.file(("name", person.names[0]), received_at=received)
    assert look_up(place, ticket_id) == TicketStatus.READY
    assert planning.plan(place.installation, place.store) is None
    with place.store.write() as session:
        get_ticket(session, ticket_id).approved_at = utc_now() - timedelta(seconds=601)
    assert planning.plan(place.installation, place.store) is not None


def test_a_digest_is_looked_up_like_what_it_is_of(place: Place) -> None:
    person = place.people[1]
    value = hashlib.sha256(person.email.lower().encode()).hexdigest()
    plain, hashed = (
        place.file(("email", person.email)),
        place.file(subject=[{"kind": "email", "value": value, "form": "sha256"}]),
    )
    assert {look_up(place, one) for one in (plain, hashed)} == {TicketStatus.READY}
    assert settled(place, hashed)[1].records.forget == settled(place, plain)[1].records.forget
    nobody = place.file(subject=[{"kind": "email", "value": "0" * 64, "form": "sha256"}])
    assert look_up(place, nobody) == TicketStatus.NOTHING_FOUND


def test_an_answer_about_a_record_that_is_gone_does_not_stand_in_the_way(place: Place) -> None:
    """A ticket is held, somebody of the household is erased meanwhile, the ticket comes back."""
    ticket_id = place.file(("name", place.people[0].names[0]))
    other = place.file(("name", place.people[1].names[0]))
    with place.store.write() as session:
        for record_id, answer in (("r-gone", "deny"), ("r-gone-too", "confirm")):
            session.add(MatchReview(ticket_id=ticket_id, record_id=record_id, reason="shared_phone", decision=answer))
    assert ticket.look_up(place.installation, place.store, ticket_id) == TicketStatus.READY
    with place.store.write() as session:  # what is there and was confirmed is never left out without a word
        theirs = ticket.subject_set(session, get_ticket(session, ticket_id)).records.forget[0]
        session.add(MatchReview(ticket_id=other, record_id=theirs, reason="shared_phone", decision="confirm"))
    with pytest.raises(LetheError, match=r"forget_set\.unknown_record"):
        ticket.look_up(place.installation, place.store, other)
