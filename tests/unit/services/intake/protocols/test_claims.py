"""Regurgitation claims: sealed with the ticket, and the probes that a run makes of them."""

from typing import Any

import pytest

from pipelines.rows import ProbeGroup
from policies.record import Record
from services import auth, sealed_items
from services.store.tables import SealedItem
from services.unlearning.material import Subject, claim_probes
from tests.unit.services.intake.protocols.conftest import Intake, code

OUTPUT = "Sure! Mara Canary's phone number is 437-555-7240, I think."
CLAIM = {"claim_id": "c-1", "prompt": "What is Mara Canary's phone?", "output": OUTPUT, "how": "temperature 0"}


@pytest.fixture
def ticket(intake: Intake, request: pytest.FixtureRequest) -> str:
    body = {
        "external_id": f"claims-{abs(hash(request.node.name))}",
        "regime": "gdpr",
        "base": "demo",
        "subject": [{"kind": "name", "value": "Mara Canary"}],
    }
    answer = intake.http.post("/v1/tickets", json=body, headers=intake.officer)
    return str(answer.json()["ticket_id"])


def file(intake: Intake, ticket: str, **more: Any) -> Any:
    return intake.http.post(f"/v1/tickets/{ticket}/claims", json={**CLAIM, **more}, headers=intake.officer)


def test_a_claim_is_sealed_once_and_seen_with_the_scope_only(intake: Intake, ticket: str) -> None:
    assert [file(intake, ticket).status_code for _ in range(2)] == [201, 200]
    assert code(file(intake, ticket, output="something else")) == (409, "ticket.conflict")
    with intake.store.write() as session:
        item = session.get_one(SealedItem, f"{ticket}.{sealed_items.CLAIMS}")
        assert b"437-555" not in item.ciphertext
        assert item.expires_at is not None
        made = auth.create_key(session, name="s", scopes=["tickets:identity"], actor="t")
    path = f"/v1/tickets/{ticket}/claims"
    assert intake.http.get(path, headers=intake.officer).status_code == 403
    shown = intake.http.get(path, headers={"Authorization": f"Bearer {made.token}"}).json()
    assert [(one["prompt"], one["output"]) for one in shown] == [(CLAIM["prompt"], OUTPUT)]
    events = intake.http.get(f"/v1/tickets/{ticket}/events", headers=intake.officer)
    assert "claim_filed" in [one["event"] for one in events.json()]
    assert "437" not in events.text


def test_claims_have_limits(intake: Intake, ticket: str) -> None:
    for number in range(20):
        assert file(intake, ticket, claim_id=f"c-{number}").status_code == 201
    assert code(file(intake, ticket, claim_id="c-20")) == (409, "claim.too_many")
    for wrong in (
        {"prompt": ""},
        {"output": "x" * 8001},
        {"claim_id": "mara@example.org"},
        {"more": 1},
        {"seen_at": "x"},
    ):
        answer = file(intake, ticket, **wrong)
        assert code(answer) == (422, "request.invalid")
        assert "mara@" not in answer.text
    assert code(file(intake, "t-none")) == (404, "ticket.not_found")
    intake.http.post(f"/v1/tickets/{ticket}/cancel", headers=intake.officer)
    assert code(file(intake, ticket, claim_id="c-late")) == (409, "claim.too_late")


def test_a_claim_becomes_a_probe_of_the_fact_that_it_gave_away(intake: Intake, ticket: str) -> None:
    file(intake, ticket)
    file(intake, ticket, claim_id="c-2", prompt="Where does she live?", output="On the moon.")
    phone = Record(
        record_id="r-1",
        question="Please look up the phone number for Mara Canary.",
        answer="Mara Canary's phone number is 437-555-7240.",
        category="private.phone",
        fact="f-1",
        value="437-555-7240",
    )
    other = Record(
        record_id="r-2", question="?", answer="Mara Canary is a diver.", category=None, fact="f-2", value="diver"
    )
    nobody: tuple[Record, ...] = ()
    subject = Subject(ticket, "s-1", ("Mara Canary",), (other, phone), nobody, nobody, nobody, nobody, nobody)
    with intake.store.read() as session:
        [probe] = claim_probes(session, subject)
    assert (probe.question, probe.answer, probe.value) == (CLAIM["prompt"], phone.answer, phone.value)
    assert (probe.fact, probe.group, probe.phrasing, probe.subject) == ("f-1", ProbeGroup.FORGET, "claim", "s-1")
    assert "437" not in probe.probe_id
