"""A place in which something of everything has happened, for tests of pages."""

import json
from datetime import UTC, datetime, timedelta

from policies.lifecycle import TicketEvent
from services import run as runs
from services.reports.collect import report_ticket
from services.store.tables import MatchReview
from services.store.tickets import get_ticket, transition_ticket
from tests.unit.services.place import OFFICER, FakeRunners, Place, Script, measured


def body(place: Place, number: int, **more: object) -> bytes:
    """A request about one of the invented people."""
    person = place.people[number]
    request = {
        "external_id": f"DSR-2026-{1042 + number}",
        "regime": "gdpr",
        "base": "demo",
        "channel": "form",
        "ground": "withdrawn_consent",
        "subject": [{"kind": "name", "value": person.names[0]}, {"kind": "email", "value": person.email}],
        "identity": {
            "method": "email_code",
            "verified": True,
            "evidence_ref": f"vault-{300 + number}",
            "verified_at": datetime.now(UTC).isoformat(),
        },
        **more,
    }
    return json.dumps(request).encode()


def file(place: Place, number: int = 0, **more: object) -> str:
    """A ticket that waits for a person."""
    return place.desk.file(body(place, number, **more), OFFICER)[0]


def verdict_of(place: Place, number: int = 0, outcome: str = "rejected") -> str:
    """A ticket whose run was verified by a fake runner, with the figures of the report's sample."""
    run_id = place.planned(number)
    found = [measured(outcome, start) for start, _ in runs.TRIES]  # what is not accepted is tried again
    script = Script() if outcome == "accepted" else Script({"verify": list(found)})
    workshop = runs.Workshop(place.installation, place.store, FakeRunners(place, script))
    runs.begin(workshop, run_id, 0)
    try:
        for step in runs.STEPS:
            runs.take(workshop, run_id, step, 0)
    except runs.Refused as refusal:
        runs.give_up(workshop, run_id, 0, refusal.code)
    return place.tickets(run_id)[0].ticket_id


def namesakes(place: Place, number: int = 1, **more: object) -> tuple[str, list[str]]:
    """A ticket that waits for its review, with records of the corpus in question; their ids."""
    ticket_id = file(place, number, **more)
    assert place.desk.approve(ticket_id, OFFICER) == "approved"
    records = sorted(place.people[number].records)[:2] + sorted(place.people[number + 1].records)[:2]
    with place.store.write() as session:
        for record in records:
            session.add(MatchReview(ticket_id=ticket_id, record_id=record, reason="name_exact,possible_namesake"))
        session.flush()
        transition_ticket(session, ticket_id, TicketEvent.MATCHES_AMBIGUOUS, actor="system:control")
    return ticket_id, records


def everything(place: Place) -> dict[str, str]:
    """Tickets of many kinds by a word for each; deadlines are spread around today."""
    found = {"rejected": verdict_of(place, 0), "review": namesakes(place, 1)[0]}
    found["approval"] = file(place, 3)
    found["identity"] = file(place, 4, identity=None, regime="ccpa", ground=None)
    found["hold"] = file(place, 5)
    place.desk.hold(found["hold"], OFFICER, reason="A court asked for the records")
    found["denied"] = file(place, 6)
    place.desk.deny(found["denied"], OFFICER, reason="The person could not be identified")
    report_ticket(place.installation, place.store, found["denied"])
    found["restricted"] = file(place, 7, regime="uk_gdpr")
    place.desk.restrict(found["restricted"], OFFICER, reason="Accuracy is contested")
    now = datetime.now(UTC)
    days = {"approval": 2, "identity": -1, "review": 5, "hold": 19, "restricted": 26, "rejected": 11}
    with place.store.write() as session:
        for name, left in days.items():
            get_ticket(session, found[name]).due_at = (now + timedelta(days=left)).replace(
                hour=22, minute=59, second=59
            )
    return found
