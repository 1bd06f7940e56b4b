"""Point 11: callbacks that ended are told by the sender's id, never by an address."""

from datetime import timedelta
from pathlib import Path

from services import sealing
from services.reports.notices import notices_of
from services.store import migration
from services.store.engine import open_store
from services.store.protocol_tables import Callback, Sender, SentTicket
from tests.unit.services.store.samples import NOW, RING, a_ticket


def test_callbacks_that_ended_are_told_in_order(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'lethe.sqlite'}"
    migration.migrate(url)
    store = open_store(url, info={sealing.KEY_RING: RING})
    with store.write() as session:
        ticket = a_ticket(session)
        assert notices_of(session, ticket) is None
        session.add(Sender(sender_id="portal", kind="opendsr", attests=True, domains=["x.example"], created_at=NOW))
        session.flush()
        session.add(
            SentTicket(ticket_id=ticket.ticket_id, sender_id="portal", reference="r", callbacks=1, created_at=NOW)
        )
        for sequence, state in enumerate(("delivered", "given_up", "open")):
            ended = None if state == "open" else NOW + timedelta(hours=5 - sequence)
            session.add(
                Callback(
                    callback_id=f"c-{sequence}",
                    ticket_id=ticket.ticket_id,
                    number=0,
                    sequence=sequence,
                    request_status="completed",
                    ticket_status="completed",
                    state=state,
                    attempts=sequence + 1,
                    next_at=NOW,
                    made_at=NOW,
                    ended_at=ended,
                )
            )
        session.flush()
        found = notices_of(session, ticket)
    store.close()
    assert found is not None
    assert [(one.outcome, one.attempts, one.recipient) for one in found] == [
        ("given_up", 2, "portal"),
        ("delivered", 1, "portal"),
    ]
