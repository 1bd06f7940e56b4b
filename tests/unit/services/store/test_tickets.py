import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from policies.errors import LetheError
from policies.lifecycle import TicketEvent
from services import sealing
from services.intake import lookup
from services.store import releases, tickets
from services.store.engine import Store
from services.store.holds import same_person
from services.store.tables import AuditEntryRow, LookupHash, MatchReview, Ticket
from tests.unit.services.store.samples import NOW, a_ready_ticket, a_release, a_ticket, step, swap


def kinds(store: Store) -> list[str]:
    with store.read() as session:
        return list(session.scalars(select(AuditEntryRow.kind).order_by(AuditEntryRow.seq)))


def refused(store: Store, ticket: Ticket, event: TicketEvent, **more: Any) -> str:
    with pytest.raises(LetheError) as error, store.write() as session:
        tickets.transition_ticket(session, ticket.ticket_id, event, actor="key:1", **more)
    return error.value.code


def test_a_status_changes_with_its_history_and_its_audit_entry(store: Store) -> None:
    with store.write() as session:
        ticket = a_ready_ticket(session)
    with store.read() as session:
        events = [row.event for row in tickets.history(session, ticket.ticket_id)]
    assert events == ["receive", "verify_identity", "require_approval", "approve", "forget_set_fixed"]
    assert kinds(store)[1:] == [f"ticket.{event}" for event in events]
    assert ticket.version == 5
    assert ticket.approved_at == NOW


def test_without_the_audit_entry_the_status_does_not_change(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.write() as session:
        ticket = a_ticket(session)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the log is broken")

    monkeypatch.setattr("services.audit.append", fail)
    with pytest.raises(RuntimeError), store.write() as session:
        step(session, ticket, TicketEvent.REQUIRE_IDENTITY)
    with store.read() as session:
        found = tickets.get_ticket(session, ticket.ticket_id)
        assert (found.status, found.version) == ("received", 1)
        assert len(tickets.history(session, ticket.ticket_id)) == 1


def test_what_the_lifecycle_forbids_leaves_nothing_behind(store: Store) -> None:
    with store.write() as session:
        ticket = a_ticket(session)
    assert refused(store, ticket, TicketEvent.SWAP_CONFIRMED) == "lifecycle.forbidden"
    assert refused(store, ticket, TicketEvent.APPROVE) == "lifecycle.guarded"  # identity not verified
    with store.read() as session:
        found = tickets.get_ticket(session, ticket.ticket_id)
        assert (found.approvals, found.version) == ([], 1)
    assert len(kinds(store)) == 2


def test_an_approval_counts_once_for_each_person(store: Store) -> None:
    with store.write() as session:
        ticket = a_ticket(session)
        ticket.approvals_needed = 2
        step(session, ticket, TicketEvent.VERIFY_IDENTITY)
        step(session, ticket, TicketEvent.REQUIRE_APPROVAL)
        step(session, ticket, TicketEvent.RECORD_APPROVAL, actor="key:2")
    with pytest.raises(LetheError) as twice, store.write() as session:
        step(session, ticket, TicketEvent.APPROVE, actor="key:2")
    assert twice.value.code == "lifecycle.guarded"
    with store.write() as session:
        assert step(session, ticket, TicketEvent.APPROVE, actor="key:3").status == "approved"


def test_after_a_hold_everything_is_decided_again(store: Store) -> None:
    with store.write() as session:
        ticket = a_ready_ticket(session)
        held = step(session, ticket, TicketEvent.HOLD, reason="claim pending")
        assert (held.status, held.legal_hold) == ("on_hold", True)
        free = step(session, ticket, TicketEvent.RELEASE_HOLD)
    assert (free.status, free.legal_hold, free.approvals) == ("received", False, [])
    assert free.approved_at == NOW  # suppression does not end with a hold


def test_a_denial_needs_a_reason_and_the_reason_is_sealed(store: Store) -> None:
    with store.write() as session:
        ticket = a_ticket(session)
    assert refused(store, ticket, TicketEvent.DENY) == "lifecycle.guarded"
    with store.write() as session:
        denied = step(session, ticket, TicketEvent.DENY, reason="Mara Holt could not be recognised")
    assert denied.closed_at == NOW
    with store.read() as session:
        row = tickets.history(session, ticket.ticket_id)[-1]
        assert row.reason_sealed is not None
        assert b"Mara" not in row.reason_sealed
        said = sealing.open_sealed(session, ticket.subject_ref, row.reason_sealed, purpose=tickets.REASON)
        payloads = " ".join(session.scalars(select(AuditEntryRow.payload)))
    assert said == b"Mara Holt could not be recognised"
    assert "Mara" not in payloads


def test_a_change_on_an_old_view_is_refused(store: Store) -> None:
    with store.write() as session:
        ticket = a_ticket(session)
        step(session, ticket, TicketEvent.VERIFY_IDENTITY)
    assert refused(store, ticket, TicketEvent.REQUIRE_APPROVAL, expected_version=1) == "ticket.changed"


def test_only_one_of_many_approves_first(store: Store) -> None:
    with store.write() as session:
        ticket = a_ticket(session)
        step(session, ticket, TicketEvent.VERIFY_IDENTITY)
        step(session, ticket, TicketEvent.REQUIRE_APPROVAL)
    outcomes: list[str] = []

    def approve(worker: int) -> None:
        try:
            with store.write() as session:
                step(session, ticket, TicketEvent.APPROVE, actor=f"key:{worker}")
            outcomes.append("done")
        except LetheError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=approve, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["done"] + ["lifecycle.forbidden"] * 5
    assert kinds(store).count("ticket.approve") == 1


def test_ambiguous_matches_and_swaps_are_read_from_the_store_not_from_the_caller(store: Store) -> None:
    with store.write() as session:
        ticket = a_ready_ticket(session)
        session.add(MatchReview(ticket_id=ticket.ticket_id, record_id="rec-1", reason="name_only"))
        session.flush()
        assert tickets.ticket_context(session, ticket).ambiguous_open == 1
        assert not tickets.ticket_context(session, ticket).swap_committed
        releases.init_desired(session, a_release(session, "r0"), actor="t")
        a_release(session, "r1", (ticket.ticket_id,))
        swap(session, "r1")
        context = tickets.ticket_context(session, ticket)
    assert context.swap_committed
    assert context.forget_records == 3


def test_lists_are_paged_in_the_order_of_receipt(store: Store) -> None:
    with store.write() as session:
        for i in range(5):
            a_ticket(session, f"e-{i}", received_at=NOW + timedelta(minutes=i // 2)).due_at = NOW + timedelta(days=i)
    with store.read() as session:
        seen: list[str] = []
        after = None
        while page := tickets.list_tickets(session, after=after, limit=2):
            seen += [ticket.external_id for ticket in page]
            after = (page[-1].received_at, page[-1].ticket_id)
        assert sorted(seen) == [f"e-{i}" for i in range(5)]
        assert len(tickets.list_tickets(session, due_before=NOW + timedelta(days=2))) == 2
        assert tickets.list_tickets(session, statuses=["denied"]) == []
        assert len(tickets.list_tickets(session, base="demo", statuses=["received"])) == 5


def test_an_external_id_is_unique_in_its_channel(store: Store) -> None:
    with store.write() as session:
        a_ticket(session)
        assert tickets.find_ticket(session, "api", "e-1") is not None
        assert tickets.find_ticket(session, "csv", "e-1") is None
    with pytest.raises(IntegrityError), store.write() as session:
        a_ticket(session)
    with store.read() as session:
        assert session.scalar(select(func.count()).select_from(Ticket)) == 1


def test_an_unknown_ticket_has_its_code(store: Store) -> None:
    with pytest.raises(LetheError) as error, store.read() as session:
        tickets.get_ticket(session, "t-none")
    assert error.value.code == "ticket.not_found"


def test_history_goes_on_after_the_subjects_key_is_gone(store: Store) -> None:
    with store.write() as session:
        ticket = a_ticket(session)
        sealing.destroy(session, ticket.subject_ref, at=NOW)
        assert step(session, ticket, TicketEvent.CANCEL, reason="withdrawn").status == "cancelled"
        assert tickets.history(session, ticket.ticket_id)[-1].reason_sealed is None


def test_transactions_over_several_tickets_do_not_deadlock(store: Store) -> None:
    with store.write() as session:
        pair = [a_ticket(session, f"e-{i}") for i in range(2)]
    outcomes: list[str] = []

    def move(order: list[Ticket]) -> None:
        with store.write() as session:
            for ticket in order:
                step(session, ticket, TicketEvent.VERIFY_IDENTITY)
        outcomes.append("done")

    threads = [threading.Thread(target=move, args=(order,)) for order in (pair, pair[::-1]) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == ["done"] * 8


def test_a_hold_on_a_ticket_that_shares_an_identifier_counts_on_every_database(store: Store) -> None:
    with store.write() as session:
        first, ready = a_ticket(session, "e-1"), a_ready_ticket(session, "e-2")
        for one in (first, ready):
            session.add(LookupHash(kind="email", hash="h" * 64, subject_ref=one.subject_ref))
    with store.read() as session:
        assert [one.ticket_id for one in tickets.list_tickets(session, statuses=["ready"], held=False)] == [
            ready.ticket_id
        ]
    with store.write() as session:
        step(session, first, TicketEvent.HOLD)
    with store.write() as session:
        assert tickets.list_tickets(session, statuses=["ready"], held=False) == []
        assert tickets.ticket_context(session, ready).person_held
        assert same_person(session, ready) == [first.ticket_id]
        assert lookup.fill_in(session) == 0
    assert refused(store, ready, TicketEvent.RUN_STARTED) == "lifecycle.guarded"
