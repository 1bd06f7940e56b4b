"""Registers, access and callbacks over HTTP: by scope, and the same rows as the commands write."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from services import auth
from services.intake.app import create_app
from services.registers.processing import processing
from services.registers.requests import REQUEST_FIELDS, requests
from services.rights import access
from services.store.callbacks import DELIVERED, GIVEN_UP, OPEN, due_callbacks
from services.store.protocol_tables import Callback
from tests.unit.services.place import Place
from tests.unit.services.rights.test_access import Telling, filed


class Door:
    """The intake of a place, with keys by scope."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.http = TestClient(create_app(place.installation.settings, open_store=lambda: place.store))

    def key(self, *scopes: str) -> dict[str, str]:
        with self.place.store.write() as session:
            made = auth.create_key(session, name="k", scopes=scopes, role=None, actor="t")
        return {"Authorization": f"Bearer {made.token}"}

    def get(self, path: str, *scopes: str, **params: Any) -> Any:
        return self.http.get(path, headers=self.key(*scopes), params=params)

    def post(self, path: str, *scopes: str, body: Any = None) -> Any:
        return self.http.post(path, headers=self.key(*scopes), json=body)


@pytest.fixture
def door(place: Place) -> Door:
    return Door(place)


def test_the_registers_are_those_of_the_commands_and_need_their_scope(door: Door) -> None:
    place = door.place
    ticket_id = filed(place, regime="ccpa", ground=None)
    assert door.get("/v1/registers/art30", "tickets:read").status_code == 403
    with place.store.read() as session:
        expected = {
            "art30": list(processing(session, place.installation.settings)),
            "ccpa-7101": list(requests(session, regime="ccpa")),
        }
    for name, rows in expected.items():
        found = door.get(f"/v1/registers/{name}", "audit:read")
        assert found.headers["content-type"].startswith("application/json")
        assert found.json() == json.loads(json.dumps(rows)), name
    [row] = expected["ccpa-7101"]
    assert row["request"] == ticket_id
    table = door.get("/v1/registers/ccpa-7101", "audit:read", form="csv")
    assert table.headers["content-type"].startswith("text/csv")
    assert table.text.splitlines()[0] == ",".join(REQUEST_FIELDS)
    [year] = door.get("/v1/registers/ccpa-7102", "audit:read", year=datetime.now(UTC).year).json()
    assert year["received"] == 1
    assert door.get("/v1/registers/ccpa-7102", "audit:read", year=1066).status_code == 422
    for person in place.people:
        assert person.email not in table.text


def test_access_tells_counts_to_one_and_words_to_another(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    place = door.place
    place.serve()
    ticket_id = filed(place)
    telling = Telling(place, ticket_id).asker()  # a fake replica; the route itself would ask one over HTTP
    monkeypatch.setattr(access, "Asker", lambda **_: telling)
    path = f"/v1/tickets/{ticket_id}/access"
    assert door.get(path, "tickets:identity").status_code == 410  # nothing was asked yet
    made = door.post(path, "tickets:decide", body={"limit": 6})
    assert made.status_code == 200, made.text
    assert made.json()["asked"] == made.json()["told"] == 6
    assert set(made.json()) == {"ticket_id", "asked", "told", "generation"}  # numbers, no words
    assert door.get(path, "tickets:read", "tickets:decide").status_code == 403
    told = door.get(path, "tickets:identity")
    assert told.headers["cache-control"] == "no-store"
    said = told.json()["said"]
    assert len(said) == 6
    assert all(one["question"] and one["answer"] for one in said)


def callback(place: Place, ticket_id: str, number: int, state: str) -> str:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    row = Callback(
        callback_id=f"c-{number}",
        ticket_id=ticket_id,
        number=0,
        sequence=number,
        request_status="pending",
        ticket_status="received",
        state=state,
        attempts=8,
        next_at=at,
        made_at=at,
        ended_at=at,
        failed_code="callback.failed",
    )
    with place.store.write() as session:
        session.add(row)
    return row.callback_id


def test_what_was_given_up_is_sent_again_and_what_was_delivered_stays(door: Door) -> None:
    place = door.place
    one, two = filed(place), filed(place, 1)
    callback(place, one, 1, DELIVERED)
    mine, other = callback(place, one, 2, GIVEN_UP), callback(place, two, 3, GIVEN_UP)
    found = door.get("/v1/callbacks", "tickets:read", state=GIVEN_UP).json()
    assert {row["callback_id"] for row in found} == {mine, other}
    assert door.post("/v1/callbacks/retry", "tickets:read").status_code == 403
    assert door.post("/v1/callbacks/retry", "tickets:decide", body={"ticket_id": one}).json() == {"retried": [mine]}
    assert door.post("/v1/callbacks/retry", "tickets:decide").json() == {"retried": [other]}
    assert door.post("/v1/callbacks/retry", "tickets:decide").json() == {"retried": []}
    states = {row["callback_id"]: row["state"] for row in door.get("/v1/callbacks", "tickets:read").json()}
    assert states == {"c-1": DELIVERED, mine: OPEN, other: OPEN}
    with place.store.read() as session:
        assert [attempts for _, attempts in due_callbacks(session, datetime.now(UTC))] == [0, 0]
