"""What is kept of a person: sealed under the person's own key, replaced by repetition, gone when it is dropped."""

from datetime import timedelta

import pytest

from policies.errors import LetheError
from services import sealed_items, sealing
from services.store.engine import Store
from services.store.tables import SealedItem, Ticket
from tests.unit.services.store.samples import NOW, a_ticket

SECRET = {"question": "Where does Mara live?", "answer": "Lindengasse 7"}


@pytest.fixture
def ticket(store: Store) -> Ticket:
    with store.write() as session:
        return a_ticket(session)


def put(store: Store, ticket: Ticket, purpose: str = sealed_items.PROBES, data: object = SECRET, days: int = 0) -> None:
    with store.write() as session:
        sealed_items.put(
            session,
            ticket.subject_ref,
            ticket.ticket_id,
            purpose,
            data,
            ground="GDPR Art. 5(2)",
            expires_at=NOW + timedelta(days=days),
            at=NOW,
        )


def test_what_was_put_is_got_and_nothing_of_it_can_be_read_beside(store: Store, ticket: Ticket) -> None:
    put(store, ticket)
    with store.read() as session:
        assert sealed_items.get(session, ticket.ticket_id, sealed_items.PROBES) == SECRET
        [item] = sealed_items.items_of(session, ticket.ticket_id)
        assert b"Lindengasse" not in item.ciphertext
        assert (item.ground, item.created_at, item.expires_at) == ("GDPR Art. 5(2)", NOW, NOW)


def test_a_repeated_step_replaces(store: Store, ticket: Ticket) -> None:
    put(store, ticket)
    put(store, ticket, data=[2], days=1)
    with store.read() as session:
        assert sealed_items.get(session, ticket.ticket_id, sealed_items.PROBES) == [2]
        assert [item.expires_at for item in sealed_items.items_of(session, ticket.ticket_id)] == [
            NOW + timedelta(days=1)
        ]


def test_an_item_opens_for_its_own_purpose_only(store: Store, ticket: Ticket) -> None:
    put(store, ticket)
    put(store, ticket, sealed_items.REPLAY, [1])
    with store.write() as session:
        replay = session.get_one(SealedItem, f"{ticket.ticket_id}.replay")
        replay.ciphertext = session.get_one(SealedItem, f"{ticket.ticket_id}.probes").ciphertext
    with store.read() as session, pytest.raises(LetheError) as caught:
        sealed_items.get(session, ticket.ticket_id, sealed_items.REPLAY)
    assert caught.value.code == "seal.corrupt"


def test_dropping_takes_the_named_purposes_only(store: Store, ticket: Ticket) -> None:
    for purpose in (sealed_items.AUGMENTED, sealed_items.PROBES, sealed_items.REPLAY):
        put(store, ticket, purpose)
    with store.write() as session:
        sealed_items.drop(session, ticket.ticket_id, {sealed_items.AUGMENTED, sealed_items.PROBES})
    with store.read() as session:
        assert [item.purpose for item in sealed_items.items_of(session, ticket.ticket_id)] == [sealed_items.REPLAY]
        assert sealed_items.tickets_with(session, sealed_items.REPLAY) == [ticket.ticket_id]
        assert sealed_items.tickets_with(session, sealed_items.PROBES) == []
        with pytest.raises(LetheError) as caught:
            sealed_items.get(session, ticket.ticket_id, sealed_items.PROBES)
    assert caught.value.code == "seal.item_missing"


def test_with_the_key_everything_of_the_person_is_gone(store: Store, ticket: Ticket) -> None:
    put(store, ticket)
    with store.write() as session:
        sealing.destroy(session, ticket.subject_ref)
    with store.read() as session, pytest.raises(LetheError) as caught:
        sealed_items.get(session, ticket.ticket_id, sealed_items.PROBES)
    assert caught.value.code == "seal.item_missing"
