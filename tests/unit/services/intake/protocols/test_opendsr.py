"""OpenDSR through the whole stack, with a real receiver of callbacks on loopback."""

import base64
import json
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from sqlalchemy import select

from policies.errors import LetheError
from services.callbacks.deliver import deliver
from services.callbacks.signing import signer_of
from services.installation import Installation, create_installation
from services.intake.protocols.senders import NewSender, revoke_sender
from services.request import request_of
from services.settings import ProtocolSettings, load_settings
from services.store.callbacks import callbacks_of, due_callbacks
from services.store.protocol_tables import SentTicket
from services.store.tables import AuditEntryRow
from services.store.tickets import find_ticket
from tests.callback_receiver import Receiver, callback_receiver
from tests.certificates import make_certificate
from tests.unit.services.intake.protocols.conftest import NOW, Intake

DOMAIN = "opendsr.lethe.example"
EMAIL = "mara.canary@example.org"
REQUESTS = "/opendsr/v2/requests"


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    home = tmp_path_factory.mktemp("opendsr")
    certificate, key = make_certificate(home, DOMAIN)
    protocols = {
        "domain": DOMAIN,
        "public_url": f"https://{DOMAIN}",
        "certificate_path": str(certificate),
        "private_key_path": str(key),
        "callbacks_to_loopback": True,
        "callback_attempts": 3,
        "callback_first_s": 30,
    }
    return create_installation(load_settings(home / "home", protocols=protocols))


@pytest.fixture(scope="module")
def controller(intake: Intake) -> NewSender:
    return intake.add("controller", "opendsr", attests=True)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with callback_receiver() as opened:
        yield opened


@pytest.fixture(autouse=True)
def _nothing_arrived(receiver: Receiver) -> None:
    receiver.arrived.clear()
    receiver.answers.clear()


def request(**more: Any) -> dict[str, Any]:
    return {
        "regulation": "gdpr",
        "subject_request_id": str(uuid.uuid4()),
        "subject_request_type": "erasure",
        "submitted_time": "2026-03-09T15:00:00Z",
        "subject_identities": [{"identity_type": "email", "identity_value": EMAIL, "identity_format": "raw"}],
        "api_version": "2.0",
        **more,
    }


def ask(intake: Intake, sender: NewSender, method: str, path: str, message: Any = None) -> Any:
    headers = {"Authorization": f"Bearer {sender.secret}"}
    return intake.http.request(method, path, json=message, headers=headers)


def check_signature(settings: ProtocolSettings, headers: Any, body: bytes, name: str = "OpenDSR") -> None:
    assert headers[f"x-{name.lower()}-processor-domain"] == DOMAIN
    assert settings.certificate_path is not None
    public = x509.load_pem_x509_certificate(settings.certificate_path.read_bytes()).public_key()
    assert isinstance(public, RSAPublicKey)
    public.verify(base64.b64decode(headers[f"x-{name.lower()}-signature"]), body, PKCS1v15(), hashes.SHA256())


def tell(intake: Intake, *, later: float = 0) -> list[str]:
    """Attempts everything that is due, as the control loop does."""
    now = NOW + timedelta(seconds=later)
    with intake.store.read() as session:
        due = due_callbacks(session, now)
    settings = intake.installation.settings.protocols
    return [deliver(intake.store, settings, callback_id, now=now) for callback_id, _ in due]


def test_discovery_and_certificate_are_open_and_signed(intake: Intake) -> None:
    found = intake.http.get("/opendsr/v2/discovery")
    assert found.status_code == 200
    check_signature(intake.installation.settings.protocols, found.headers, found.content)
    said = found.json()
    assert said["supported_subject_request_types"] == ["erasure"]
    assert {"identity_type": "email", "identity_format": "raw"} in said["supported_identities"]
    path = said["processor_certificate"].removeprefix(f"https://{DOMAIN}")
    assert x509.load_pem_x509_certificate(intake.http.get(path).content)


def test_a_sender_whose_clock_is_a_little_ahead_is_heard(intake: Intake, controller: NewSender) -> None:
    message = request(submitted_time=(NOW + timedelta(milliseconds=200)).isoformat())
    answer = ask(intake, controller, "POST", REQUESTS, message)
    assert answer.status_code == 201, answer.text
    with intake.store.read() as session:
        ticket = find_ticket(session, "opendsr", f"controller/{message['subject_request_id']}")
    assert ticket is not None
    assert ticket.received_at == ticket.submitted_at == NOW


def test_a_request_is_filed_once_asked_for_and_cancelled(intake: Intake, controller: NewSender) -> None:
    message = request()
    answer = ask(intake, controller, "POST", REQUESTS, message)
    assert answer.status_code == 201, answer.text
    check_signature(intake.installation.settings.protocols, answer.headers, answer.content)
    said = answer.json()
    assert (said["controller_id"], said["subject_request_id"]) == ("controller", message["subject_request_id"])
    assert json.loads(base64.b64decode(said["encoded_request"])) == message
    assert said["expected_completion_time"].startswith("2026-04-09"), "a month from the controller's receipt"
    assert datetime.fromisoformat(said["received_time"]) == NOW
    again = ask(intake, controller, "POST", REQUESTS, message)
    assert (again.status_code, again.json()) == (201, said)
    one = f"{REQUESTS}/{message['subject_request_id']}"
    status = ask(intake, controller, "GET", one)
    check_signature(intake.installation.settings.protocols, status.headers, status.content)
    assert status.json()["request_status"] == "pending"
    own = status.json()["extensions"][DOMAIN]
    assert own["ticket_status"] == "awaiting_approval"
    with intake.store.read() as session:
        asked = request_of(session, intake.ticket(own["ticket_id"]))
    assert (asked.channel, asked.submitted_at is not None) == ("opendsr", True)
    for _ in range(2):
        cancelled = ask(intake, controller, "DELETE", one)
        assert cancelled.status_code == 202
    assert ask(intake, controller, "GET", one).json()["request_status"] == "cancelled"


def test_only_what_is_pending_can_be_cancelled(intake: Intake, controller: NewSender) -> None:
    message = request()
    ask(intake, controller, "POST", REQUESTS, message)
    one = f"{REQUESTS}/{message['subject_request_id']}"
    ticket_id = ask(intake, controller, "GET", one).json()["extensions"][DOMAIN]["ticket_id"]
    intake.http.post(
        f"/v1/tickets/{ticket_id}/approve", json={"ground": "withdrawn_consent"}, headers=intake.officer
    ).raise_for_status()
    refused = ask(intake, controller, "DELETE", one)
    assert (refused.status_code, refused.json()["error"]["errors"][0]["reason"]) == (409, "lifecycle.forbidden")
    assert ask(intake, controller, "GET", one).json()["request_status"] == "in_progress"


def test_a_request_is_its_own_senders(intake: Intake, controller: NewSender) -> None:
    message = request()
    ask(intake, controller, "POST", REQUESTS, message)
    one = f"{REQUESTS}/{message['subject_request_id']}"
    other = intake.add("other_one", "opendsr")
    wrong_kind = intake.add("hook_one", "kertos")
    for method in ("GET", "DELETE"):
        assert ask(intake, other, method, one).status_code == 404
        assert ask(intake, wrong_kind, method, one).status_code == 403
        assert intake.http.request(method, one).status_code == 401
        assert intake.http.request(method, one, headers=intake.officer).status_code == 403


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"subject_request_id": "1"}, "ticket.malformed"),
        ({"subject_request_id": str(uuid.uuid1())}, "ticket.malformed"),
        ({"subject_request_type": "access"}, "protocol.unsupported"),
        ({"subject_request_type": EMAIL}, "ticket.malformed"),
        ({"subject_request_type": [EMAIL]}, "ticket.malformed"),
        ({"regulation": [EMAIL]}, "ticket.malformed"),
        ({"regulation": "pipeda"}, "ticket.malformed"),
        ({"submitted_time": "yesterday"}, "ticket.malformed"),
        ({"submitted_time": "2026-03-09T15:00:00"}, "ticket.malformed"),
        ({"submitted_time": "2027-03-09T15:00:00Z"}, "ticket.malformed"),
        ({"submitted_time": "0001-01-01T00:00:00+00:00"}, "ticket.malformed"),
        ({"submitted_time": "1999-12-31T23:59:59Z"}, "ticket.malformed"),
        ({"subject_identities": []}, "ticket.malformed"),
        ({"subject_identities": EMAIL}, "ticket.malformed"),
        ({"subject_identities": [{"identity_type": "fax", "identity_value": EMAIL}]}, "protocol.unsupported"),
        ({"subject_identities": [{"identity_type": "email", "identity_value": 7}]}, "ticket.malformed"),
        ({"subject_identities": [{"identity_type": [], "identity_value": 7}]}, "protocol.unsupported"),
        ({"extensions": {DOMAIN: {"password": EMAIL}}}, "ticket.malformed"),
        ({"extensions": {DOMAIN: {"base": EMAIL}}}, "ticket.malformed"),
        ({"extensions": [EMAIL]}, "ticket.malformed"),
        ({"status_callback_urls": ["https://evil.example/" + EMAIL]}, "callback.address"),
        ({"status_callback_urls": EMAIL}, "ticket.malformed"),
        ({"status_callback_urls": [f"http://127.0.0.1/{n}" for n in range(6)]}, "ticket.malformed"),
        ({EMAIL: 1}, "ticket.malformed"),
    ],
)
def test_faults_have_the_form_of_the_specification_and_no_values(
    intake: Intake, controller: NewSender, wrong: dict[str, Any], reason: str
) -> None:
    answer = ask(intake, controller, "POST", REQUESTS, request(**wrong))
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["code"], {one["reason"] for one in error["errors"]}) == (400, {reason})
    assert EMAIL not in answer.text
    check_signature(intake.installation.settings.protocols, answer.headers, answer.content)


def test_the_old_names_go_on_working(intake: Intake, controller: NewSender) -> None:
    message = request(api_version="1.0")
    del message["regulation"]
    answer = ask(intake, controller, "POST", "/opengdpr/v1/opengdpr_requests", message)
    assert answer.status_code == 201, answer.text
    check_signature(intake.installation.settings.protocols, answer.headers, answer.content, "OpenGDPR")
    assert intake.http.get("/opengdpr/v1/discovery").json()["api_version"] == "1.0"
    assert ask(intake, controller, "POST", REQUESTS, message).status_code == 400  # version 2 wants the regulation


def test_our_extension_names_identities_and_base(intake: Intake, controller: NewSender) -> None:
    identities = [{"identity_type": "name", "identity_value": "Mara Canary"}]
    message = request(subject_identities=[], extensions={DOMAIN: {"identities": identities, "base": "small"}})
    answer = ask(intake, controller, "POST", REQUESTS, message)
    assert answer.status_code == 201, answer.text
    own = ask(intake, controller, "GET", f"{REQUESTS}/{message['subject_request_id']}").json()["extensions"][DOMAIN]
    assert intake.ticket(own["ticket_id"]).base == "small"


def test_every_change_is_told_in_order_signed_and_once(
    intake: Intake, controller: NewSender, receiver: Receiver
) -> None:
    urls = [f"http://127.0.0.1:{receiver.port}/{path}" for path in ("a", "b")]
    message = request(status_callback_urls=[*urls, urls[0]])
    ask(intake, controller, "POST", REQUESTS, message)
    ask(intake, controller, "DELETE", f"{REQUESTS}/{message['subject_request_id']}")
    for _ in range(3):
        assert tell(intake) == ["delivered", "delivered"]
    assert tell(intake) == []
    told: dict[str, list[str]] = {"/a": [], "/b": []}
    for path, headers, body in receiver.arrived:
        check_signature(intake.installation.settings.protocols, headers, body)
        said = json.loads(body)
        assert said["subject_request_id"] == message["subject_request_id"]
        assert said["status_callback_url"] == f"http://127.0.0.1:{receiver.port}{path}"
        told[path].append(f"{said['request_status']}/{said['extensions'][DOMAIN]['ticket_status']}")
        assert EMAIL not in body.decode()
    order = ["pending/received", "pending/awaiting_approval", "cancelled/cancelled"]
    assert told == {"/a": order, "/b": order}
    with intake.store.read() as session:
        sealed = [row.callback_urls for row in session.scalars(select(SentTicket)) if row.callback_urls]
        assert not [one for one in sealed if str(receiver.port).encode() in one]
        kinds = list(session.scalars(select(AuditEntryRow.kind)))
    assert kinds.count("callback.delivered") == 6


def test_a_failed_callback_is_tried_again_with_growing_pauses_and_given_up(
    intake: Intake, controller: NewSender, receiver: Receiver
) -> None:
    message = request(status_callback_urls=[f"http://127.0.0.1:{receiver.port}/cb"])
    ask(intake, controller, "POST", REQUESTS, message)
    receiver.answers += [500, 302, 404, 202]
    assert tell(intake) == ["open"]
    assert tell(intake, later=29) == []
    assert tell(intake, later=30) == ["open"]
    assert tell(intake, later=89) == []
    assert tell(intake, later=91) == ["given_up"]  # the third was the last that the settings allow
    assert [path for path, *_ in receiver.arrived] == ["/cb"] * 3  # the redirect was not followed
    own = ask(intake, controller, "GET", f"{REQUESTS}/{message['subject_request_id']}").json()["extensions"][DOMAIN]
    assert tell(intake, later=91) == ["delivered"]  # what happened next is told all the same
    with intake.store.read() as session:
        rows = callbacks_of(session, own["ticket_id"])
        found = [(row.state, row.attempts, row.answer, row.failed_code) for row in rows]
        assert found == [("given_up", 3, 404, "callback.failed"), ("delivered", 1, 202, None)]
    assert deliver(intake.store, intake.installation.settings.protocols, rows[0].callback_id) == "given_up"
    assert deliver(intake.store, intake.installation.settings.protocols, "c-none") == "given_up"


def test_nothing_is_told_to_a_sender_that_was_revoked(intake: Intake, receiver: Receiver) -> None:
    gone = intake.add("gone", "opendsr")
    ask(intake, gone, "POST", REQUESTS, request(status_callback_urls=[f"http://127.0.0.1:{receiver.port}/cb"]))
    with intake.store.write() as session:
        revoke_sender(session, "gone", actor="t")
    assert tell(intake) == ["given_up"]
    assert tell(intake) == ["given_up"]
    assert receiver.arrived == []


def test_a_key_that_is_not_the_certificates_signs_nothing(tmp_path: Any) -> None:
    certificate, key = make_certificate(tmp_path, DOMAIN)
    _, other = make_certificate(tmp_path, DOMAIN, name="other")
    for wrong in ({"private_key_path": other}, {"private_key_path": tmp_path / "none"}, {"certificate_path": key}):
        paths = {"certificate_path": certificate, "private_key_path": key, **wrong}
        with pytest.raises(LetheError, match=r"callback\.signing_key"):
            signer_of(ProtocolSettings(domain=DOMAIN, **paths))
    with pytest.raises(LetheError, match=r"protocol\.off"):
        signer_of(ProtocolSettings())
