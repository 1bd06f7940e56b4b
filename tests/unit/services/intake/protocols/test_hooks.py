"""Webhooks through the whole stack: guard, signature, shape, desk, store."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from sqlalchemy import select

from services.intake.protocols.senders import NewSender, revoke_sender, rotate_sender
from services.request import request_of
from services.store.protocol_tables import Sender, SentTicket
from services.store.tables import AuditEntryRow
from tests.unit.services.intake.protocols.conftest import NOW, Intake, code

EMAIL = "mara.canary@example.org"
MESSAGE = {"external_id": "crm-1", "subject": [{"kind": "email", "value": EMAIL}]}
IDENTITY = {"method": "email_code", "verified": True, "evidence_ref": "ev-1", "verified_at": "2026-03-10T08:00:00Z"}


@pytest.fixture(scope="module")
def crm(intake: Intake) -> NewSender:
    return intake.add("crm", "webhook")


def test_a_signed_message_becomes_a_ticket_once(intake: Intake, crm: NewSender) -> None:
    answer = intake.hook(crm, MESSAGE)
    assert answer.status_code == 201, answer.text
    ticket = intake.ticket(answer.json()["ticket_id"])
    assert (ticket.external_id, ticket.channel, ticket.base, ticket.regime) == ("crm/crm-1", "webhook", "demo", "gdpr")
    assert (ticket.status, ticket.entered_by) == ("awaiting_identity", "sender:crm")
    again = intake.hook(crm, dict(reversed(MESSAGE.items())))
    assert (again.status_code, again.json()["ticket_id"]) == (200, ticket.ticket_id)
    assert code(intake.hook(crm, {**MESSAGE, "notes": ["child"]})) == (409, "ticket.conflict")
    with intake.store.read() as session:
        sent = session.get(SentTicket, ticket.ticket_id)
        assert sent is not None
        assert (sent.sender_id, sent.reference, sent.callback_urls) == ("crm", "crm-1", None)
        assert request_of(session, ticket).subject[0].value == EMAIL


@pytest.mark.parametrize(
    "spoilt",
    [
        {"secret": "whsec_" + "00" * 32},
        {"sent": b'{"external_id": "crm-other"}'},
        {"to": "nobody"},
        {"headers": {"webhook-id": "msg-2"}},
        {"headers": {"webhook-timestamp": "1"}},
        {"headers": {"webhook-timestamp": "now"}},
        {"headers": {"webhook-timestamp": "9" * 400}},
        {"headers": {"webhook-signature": ""}},
        {"headers": {"webhook-signature": "v1,????"}},
        {"headers": {"webhook-signature": "v2," + "A" * 43 + "="}},
    ],
)
def test_whatever_is_wrong_with_a_signature_the_answer_is_the_same(
    intake: Intake, crm: NewSender, spoilt: dict[str, Any]
) -> None:
    answer = intake.hook(crm, {**MESSAGE, "external_id": "spoilt"}, **spoilt)
    assert code(answer) == (401, "protocol.signature")
    assert answer.json()["error"]["message"] == "The signature is missing or does not fit."


@pytest.mark.parametrize("off", [-301, 301, -86400 * 365])
def test_a_message_outside_the_window_is_stale(intake: Intake, crm: NewSender, off: int) -> None:
    message = {**MESSAGE, "external_id": "stale"}
    assert code(intake.hook(crm, message, at=NOW + timedelta(seconds=off))) == (401, "protocol.stale")
    assert intake.hook(crm, message, at=NOW + timedelta(seconds=off // abs(off) * 299)).status_code in {200, 201}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"{", (422, "ticket.unreadable")),
        (b'{"external_id": "x", "external_id": "y"}', (422, "ticket.malformed")),
        ({**MESSAGE, EMAIL: 1}, (422, "ticket.malformed")),
        ({**MESSAGE, "external_id": None}, (422, "ticket.malformed")),
        ({**MESSAGE, "external_id": 7}, (422, "ticket.malformed")),
        ({**MESSAGE, "external_id": EMAIL}, (422, "ticket.malformed")),
        ({**MESSAGE, "external_id": "c", "channel": "form"}, (422, "ticket.malformed")),
        ({**MESSAGE, "external_id": "c", "subject": EMAIL}, (422, "ticket.malformed")),
        ({**MESSAGE, "external_id": "c", "regime": "hammurabi"}, (422, "policy.unknown_regime")),
        ({**MESSAGE, "external_id": "c", "identity": IDENTITY}, (403, "sender.may_not_attest")),
        (b"[" * 60_000, (422, "ticket.unreadable")),
    ],
)
def test_a_bad_message_is_refused_by_code_and_its_values_are_not_repeated(
    intake: Intake, crm: NewSender, message: Any, expected: tuple[int, str]
) -> None:
    answer = intake.hook(crm, message)
    assert code(answer) == expected
    assert EMAIL not in answer.text


def test_only_the_word_of_an_attesting_sender_counts(intake: Intake) -> None:
    bank = intake.add("bank", "webhook", attests=True)
    said = intake.hook(bank, {**MESSAGE, "external_id": "b-1", "identity": IDENTITY})
    assert said.json()["status"] == "awaiting_approval"
    implied = intake.hook(bank, {**MESSAGE, "external_id": "b-2"})
    assert implied.json()["status"] == "awaiting_approval"
    with intake.store.read() as session:
        evidence = request_of(session, intake.ticket(implied.json()["ticket_id"])).identity
    assert evidence is not None
    assert (evidence.method, evidence.evidence_ref, evidence.verified_at) == ("controller_attested", "bank/b-2", NOW)
    intake.clock.now = NOW + timedelta(hours=1)
    assert intake.hook(bank, {**MESSAGE, "external_id": "b-2"}).status_code == 200  # an hour later it is the same still


def test_a_secret_is_sealed_rotated_with_overlap_and_revoked(intake: Intake) -> None:
    first = intake.add("shop", "webhook")
    with intake.store.read() as session:
        row = session.get(Sender, "shop")
        assert row is not None
        assert row.secret is not None
        assert bytes.fromhex(str(first.secret)[6:]) not in row.secret
        assert str(first.secret).encode() not in row.secret
    with intake.store.write() as session:
        second = rotate_sender(session, "shop", actor="t", overlap=timedelta(hours=1), at=NOW)
    for number, secret in enumerate((first.secret, second.secret)):
        assert intake.hook(second, {**MESSAGE, "external_id": f"s-{number}"}, secret=secret).status_code == 201
    intake.clock.now = NOW + timedelta(hours=2)
    assert code(intake.hook(second, MESSAGE, secret=first.secret)) == (401, "protocol.signature")
    assert intake.hook(second, {**MESSAGE, "external_id": "s-3"}).status_code == 201
    with intake.store.write() as session:
        revoke_sender(session, "shop", actor="t")
        revoke_sender(session, "shop", actor="t")
    assert code(intake.hook(second, MESSAGE)) == (401, "protocol.signature")
    with intake.store.read() as session:
        kinds = list(session.scalars(select(AuditEntryRow.kind).where(AuditEntryRow.kind.like("sender.%"))))
        payloads = " ".join(session.scalars(select(AuditEntryRow.payload)))
    assert kinds.count("sender.revoked") == 1
    assert str(second.secret) not in payloads


def test_kertos_sends_one_identifier_and_an_api_key(intake: Intake) -> None:
    sender = intake.add("kertos", "kertos")
    message = {"data_subject_identifier": EMAIL, "operation": "delete", "received_at": "2026-03-09T10:00:00Z"}

    def send(content: Any, key: str | None = sender.secret) -> Any:
        return intake.http.post("/v1/hooks/kertos", json=content, headers={"X-API-KEY": key or ""})

    first = send(message)
    assert first.status_code == 201
    ticket = intake.ticket(first.json()["ticket_id"])
    assert ticket.received_at.isoformat() == "2026-03-09T10:00:00+00:00"
    assert EMAIL not in ticket.external_id
    assert send(message).json()["ticket_id"] == ticket.ticket_id
    assert send({**message, "received_at": "2026-03-09T11:00:00Z"}).json()["ticket_id"] != ticket.ticket_id
    assert code(send({**message, "operation": "read"})) == (422, "protocol.not_erasure")
    assert code(send(message, "")) == (401, "auth.missing")
    assert code(send(message, "lethe_0_0")) == (401, "auth.invalid")
    other = intake.add("kertos2", "kertos")
    assert code(send(message, other.secret)) == (401, "auth.invalid")
    assert code(intake.http.post("/v1/tickets", json=MESSAGE, headers={"X-API-KEY": sender.secret or ""})) == (
        403,
        "auth.forbidden",
    )


def test_onetrust_names_its_fields(intake: Intake) -> None:
    sender = intake.add("onetrust", "onetrust")
    message = {
        "requestQueueRefId": "R-123",
        "requestTypes": ["Data Deletion"],
        "email": EMAIL,
        "firstName": "Mara",
        "lastName": "Canary",
        "regulation": "CCPA",
        "dateCreated": "2026-03-08T10:00:00Z",
    }
    headers = {"Authorization": f"Bearer {sender.secret}"}
    filed = intake.http.post("/v1/hooks/onetrust", json=message, headers=headers)
    assert filed.status_code == 201, filed.text
    ticket = intake.ticket(filed.json()["ticket_id"])
    assert (ticket.external_id, ticket.regime) == ("onetrust/R-123", "ccpa")
    assert ticket.received_at == ticket.submitted_at == datetime(2026, 3, 8, 10, tzinfo=UTC)
    with intake.store.read() as session:
        asked = [(one.kind, one.value) for one in request_of(session, ticket).subject]
    assert asked == [("email", EMAIL), ("name", "Mara Canary")]
    for wrong, expected in (
        ({"requestTypes": ["Access"]}, "protocol.not_erasure"),
        ({"regulation": "PIPEDA"}, "policy.unknown_regime"),
        ({"email": None, "firstName": None}, "ticket.conflict"),
    ):
        answer = intake.http.post("/v1/hooks/onetrust", json={**message, **wrong}, headers=headers)
        assert answer.json()["error"]["code"] == expected


def pem_pair(curve: ec.EllipticCurve) -> tuple[str, str]:
    key = ec.generate_private_key(curve)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def test_transcend_signs_a_token(intake: Intake) -> None:
    private, public = pem_pair(ec.SECP384R1())
    intake.add("transcend", "transcend", public_key=public)
    moment = int(NOW.timestamp())
    flat = {"type": "ERASURE", "coreIdentifier": {"name": "email", "value": EMAIL}, "id": "job-1"}
    nested = {"payload": {"request": {**flat, "id": "job-2", "createdAt": "2026-03-09T17:21:04Z"}}}

    def send(message: Any, claims: dict[str, Any], key: str = private) -> Any:
        token = jwt.encode(claims, key, algorithm="ES384")
        return intake.http.post("/v1/hooks/transcend", json=message, headers={"x-sombra-token": token})

    for message in (flat, nested):
        filed = send(message, {"exp": moment + 60})
        assert filed.status_code == 201, filed.text
    ticket = intake.ticket(filed.json()["ticket_id"])
    assert ticket.received_at == ticket.submitted_at == datetime(2026, 3, 9, 17, 21, 4, tzinfo=UTC)
    assert send(flat, {"iat": moment - 200}).status_code == 200
    for claims in (
        {},
        {"exp": moment},
        {"iat": moment - 400},
        {"exp": "soon"},
        {"iat": moment + 900, "exp": moment + 999},
    ):
        assert code(send(flat, claims)) == (401, "protocol.stale")
    other, _ = pem_pair(ec.SECP384R1())
    assert code(send(flat, {"exp": moment + 60}, other)) == (401, "protocol.signature")
    unsigned = jwt.encode({"exp": moment + 60}, "", algorithm="none")
    confused = jwt.encode({"exp": moment + 60}, "k" * 64, algorithm="HS256")
    for token in ("", "x", unsigned, confused, "x" * 10_000):
        answer = intake.http.post("/v1/hooks/transcend", json=flat, headers={"x-sombra-token": token})
        assert code(answer) == (401, "protocol.signature")
    for kind in ("ACCESS", "PLACE_ON_LEGAL_HOLD", None):
        assert code(send({**flat, "type": kind}, {"exp": moment + 60})) == (422, "protocol.not_erasure")


def test_no_word_of_a_message_reaches_the_audit_log(intake: Intake) -> None:
    with intake.store.read() as session:
        log = json.dumps([row.payload for row in session.scalars(select(AuditEntryRow))])
    assert "canary" not in log.lower()
