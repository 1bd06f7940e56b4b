import pytest

from policies.lifecycle import TicketEvent, TicketStatus
from services import resume
from services.resume import retry_standing
from services.store.tickets import history, transition_ticket
from tests.unit.services.place import OFFICER, Place


def stand(place: Place, number: int, event: TicketEvent, code: str) -> str:
    """A ticket whose run came to that end."""
    ticket_id = place.ready(number)
    with place.store.write() as session:
        transition_ticket(session, ticket_id, TicketEvent.RUN_STARTED, actor="t")
        transition_ticket(session, ticket_id, event, actor="t", reason_code=code)
    return ticket_id


def retries(place: Place, ticket_id: str) -> int:
    with place.store.read() as session:
        return sum(row.event == "retry" for row in history(session, ticket_id))


def test_all_that_failed_wait_again_and_twice_is_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "_PAGE", 2)  # so that three of them are two pages
    failed = [stand(place, number, TicketEvent.RUN_FAILED, "storage.full") for number in range(3)]
    rejected = stand(place, 3, TicketEvent.RUN_REJECTED, "verdict.rejected")
    assert sorted(retry_standing(place.desk, OFFICER)) == sorted(failed)
    assert retry_standing(place.desk, OFFICER) == []
    assert {place.ticket(one).status for one in failed} == {TicketStatus.READY}
    assert place.ticket(rejected).status == TicketStatus.REJECTED
    assert [retries(place, one) for one in failed] == [1, 1, 1]


def test_only_those_with_a_reason_and_then_rejected_ones_too(place: Place) -> None:
    full = stand(place, 0, TicketEvent.RUN_FAILED, "storage.full")
    died = stand(place, 1, TicketEvent.RUN_FAILED, "runner.died")
    rejected = stand(place, 2, TicketEvent.RUN_REJECTED, "verdict.rejected")
    assert retry_standing(place.desk, OFFICER, reason="storage.full") == [full]
    assert retry_standing(place.desk, OFFICER, reason="verdict.rejected") == [rejected]
    assert place.ticket(died).status == TicketStatus.FAILED


def test_a_ticket_that_somebody_held_meanwhile_is_left_alone(place: Place) -> None:
    failed = stand(place, 0, TicketEvent.RUN_FAILED, "storage.full")
    listed = place.ticket(failed)
    place.desk.hold(failed, OFFICER, reason="a court asked")
    assert not resume._retried(place.desk, OFFICER, failed, listed.version)
    assert retry_standing(place.desk, OFFICER, reason="storage.full") == []
    assert place.ticket(failed).status == TicketStatus.ON_HOLD
