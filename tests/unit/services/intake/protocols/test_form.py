"""The web form, with a real mail server."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from services import mail
from services.installation import Installation, create_installation
from services.intake.app import create_app
from services.request import request_of
from services.settings import MailSettings, load_settings
from services.store.protocol_tables import FormRequest
from services.store.tables import AuditEntryRow, Ticket
from tests.smtp_server import Mailbox, smtp_server
from tests.unit.services.intake.protocols.conftest import NOW, Intake

EMAIL = "mara.canary@example.org"


@pytest.fixture(scope="module")
def box() -> Iterator[Mailbox]:
    with smtp_server() as opened:
        yield opened


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, box: Mailbox) -> Installation:
    server = {"host": "127.0.0.1", "port": box.port, "security": "none", "sender": "privacy@lethe.example"}
    form = {"base": "demo", "regimes": ("gdpr", "ccpa"), "attempts": 3, "posts_per_minute": 0}
    return create_installation(load_settings(tmp_path_factory.mktemp("form") / "home", mail=server, form=form))


@pytest.fixture(autouse=True)
def _empty_box(intake: Intake, box: Mailbox) -> None:
    box.arrived.clear()
    with intake.store.write() as session:
        for row in session.scalars(select(FormRequest)):
            session.delete(row)


def ask(intake: Intake, email: str = EMAIL, **more: str) -> Any:
    return intake.http.post("/request", data={"email": email, "regime": "gdpr", **more})


def path_of(answer: Any) -> str:
    found = re.search(r'action="(/request/w-[0-9a-f]{20})"', answer.text)
    assert found is not None, answer.text
    return found[1]


def code_of(box: Mailbox) -> str:
    found = re.search(r"Your code: (\d{8})", box.arrived[-1].get_content())
    assert found is not None
    return found[1]


def give(intake: Intake, path: str, code: str) -> Any:
    return intake.http.post(path, data={"code": code})


def tickets(intake: Intake) -> list[Ticket]:
    with intake.store.read() as session:
        return list(session.scalars(select(Ticket)))


def test_a_request_becomes_a_ticket_once_its_code_comes_back(intake: Intake, box: Mailbox) -> None:
    page = intake.http.get("/request")
    assert page.status_code == 200
    assert "script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert intake.http.get("/request/style.css").headers["content-type"].startswith("text/css")
    before = len(tickets(intake))
    asked = ask(intake, name="Mara Canary", customer_id="KX-1")
    assert len(tickets(intake)) == before  # nothing is filed without the code
    assert box.arrived[0]["To"] == EMAIL
    filed = give(intake, path_of(asked), f" {code_of(box)} ")
    assert filed.status_code == 200, filed.text
    assert "10 April 2026" in filed.text
    [ticket] = [one for one in tickets(intake) if one.ticket_id in filed.text]
    assert (ticket.channel, ticket.status, ticket.entered_by) == ("form", "awaiting_approval", "system:form")
    with intake.store.read() as session:
        request = request_of(session, ticket)
        row = session.get_one(FormRequest, ticket.external_id)
        assert row.asked is None
        assert code_of(box) not in row.code_hash
        log = " ".join(session.scalars(select(AuditEntryRow.payload))).lower()
    assert [(one.kind, one.value) for one in request.subject] == [
        ("email", EMAIL),
        ("name", "Mara Canary"),
        ("id", "KX-1"),
    ]
    assert request.notes == ("beside_email_unverified",)
    assert request.identity is not None
    assert (request.identity.method, request.identity.evidence_ref) == ("email_code", ticket.external_id)
    assert "canary" not in log
    again = give(intake, path_of(asked), code_of(box))
    assert ticket.ticket_id in again.text  # twice is once
    assert len(tickets(intake)) == before + 1


def test_the_period_runs_from_the_request_and_not_from_the_code(intake: Intake, box: Mailbox) -> None:
    intake.clock.now = asked_at = NOW.replace(hour=23, minute=55)
    path = path_of(ask(intake))
    intake.clock.now += timedelta(minutes=10)
    filed = give(intake, path, code_of(box))
    assert "10 April 2026" in filed.text
    [ticket] = [one for one in tickets(intake) if one.ticket_id in filed.text]
    assert ticket.received_at == asked_at


def test_the_page_names_the_day_of_the_law(intake: Intake, box: Mailbox) -> None:
    """45 days end on the 24th in Los Angeles, which is the 25th in UTC."""
    asked = ask(intake, regime="ccpa")
    assert "24 April 2026" in give(intake, path_of(asked), code_of(box)).text


def test_wrong_codes_are_counted_and_the_right_one_then_counts_no_more(intake: Intake, box: Mailbox) -> None:
    path = path_of(ask(intake))
    right = code_of(box)
    wrong = f"{(int(right) + 1) % 10**8:08d}"
    for guess in (wrong, "", right + "0"):
        assert give(intake, path, guess).status_code == 422
    refused = give(intake, path, right)
    assert refused.status_code == 422
    assert "does not count" in refused.text
    with intake.store.read() as session:
        [row] = session.scalars(select(FormRequest))
        assert (row.attempts, row.asked, row.ticket_id) == (3, None, None)


def test_a_code_expires_and_belongs_to_its_request(intake: Intake, box: Mailbox) -> None:
    first = path_of(ask(intake))
    first_code = code_of(box)
    second = path_of(ask(intake))
    assert give(intake, second, first_code).status_code == 422
    intake.clock.now = NOW + timedelta(seconds=901)
    assert give(intake, first, first_code).status_code == 422
    for path in ("/request/w-none", "/request/w-" + "0" * 20, '/request/"><b>'):
        answer = give(intake, path, first_code)
        assert answer.status_code == 422
        assert "<b>" not in answer.text


def test_nothing_is_told_about_an_address(intake: Intake, box: Mailbox) -> None:
    """Known, unknown, refused by its server, or asked for too often: the same page but for the request's id."""
    box.refused.add("gone@example.org")
    pages = [ask(intake, email) for email in (EMAIL, EMAIL, EMAIL, EMAIL, "nobody@example.org", "gone@example.org")]
    assert {answer.status_code for answer in pages} == {200}
    assert len({answer.text.replace(path_of(answer), "") for answer in pages}) == 1
    assert [message["To"] for message in box.arrived] == [EMAIL] * 3 + ["nobody@example.org"]
    intake.clock.now = NOW + timedelta(hours=2)
    ask(intake, EMAIL.upper())
    assert box.arrived[-1]["To"].lower() == EMAIL
    with intake.store.read() as session:
        assert len(list(session.scalars(select(FormRequest)))) == 1  # what has lapsed is gone


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"email": ""}, "email"),
        ({"email": "mara"}, "email"),
        ({"email": "a@b.example\r\nBcc: c@d.example"}, "email"),
        ({"email": "a@" + "b" * 300 + ".example"}, "email"),
        ({"name": "x" * 201}, "name"),
        ({"phone": "1\x00"}, "phone"),
        ({"regime": "hammurabi"}, "regime"),
        ({"regime": "<script>"}, "regime"),
    ],
)
def test_fields_at_fault_are_named_and_not_repeated(
    intake: Intake, box: Mailbox, fields: dict[str, str], named: str
) -> None:
    answer = intake.http.post("/request", data={"email": EMAIL, "regime": "gdpr", **fields})
    assert (answer.status_code, f"look again at: {named}." in answer.text) == (422, True)
    assert box.arrived == []
    assert "<script>" not in answer.text


def test_other_bodies_are_no_forms(intake: Intake, box: Mailbox) -> None:
    for content, kind in (
        (b'{"email": "mara@example.org"}', "application/json"),
        (b"\xff\xfe", "application/x-www-form-urlencoded"),
        (b"&".join(b"a=1" for _ in range(100)), "application/x-www-form-urlencoded"),
        (b"--x\r\n\r\n", "multipart/form-data; boundary=x"),
    ):
        answer = intake.http.post("/request", content=content, headers={"Content-Type": kind})
        assert answer.status_code == 422
    assert box.arrived == []


def test_a_mail_server_that_is_away_is_said_without_the_address(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = MailSettings(host="127.0.0.1", port=1, security="none", sender="privacy@lethe.example")
    real = mail.send
    monkeypatch.setattr(mail, "send", lambda _settings, **message: real(gone, **message))
    answer = ask(intake)
    assert answer.status_code == 503
    assert EMAIL not in answer.text


def test_without_a_base_there_is_no_page(tmp_path: Any) -> None:
    made = create_installation(load_settings(tmp_path / "home"))
    store = made.open_store()
    http = TestClient(create_app(made.settings, open_store=lambda: store), raise_server_exceptions=False)
    assert http.get("/request").status_code == 401
    store.close()
