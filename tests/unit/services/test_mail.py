"""Mail, through a real server."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from policies.errors import LetheError
from services import mail
from services.settings import MailSettings
from tests.certificates import make_certificate
from tests.smtp_server import smtp_server


def settings(port: int, **more: Any) -> MailSettings:
    fields = {"host": "127.0.0.1", "port": port, "security": "none", "sender": "privacy@lethe.example", **more}
    return MailSettings(**fields)


def send(made: MailSettings, to: str = "mara@example.org") -> bool:
    return mail.send(made, to=to, subject="Your code", text="Grüße\n.\n12345678\n")


def test_a_message_arrives_as_it_was_written() -> None:
    with smtp_server() as box:
        assert send(settings(box.port))
        [message] = box.arrived
    assert (message["From"], message["To"], message["Subject"]) == (
        "privacy@lethe.example",
        "mara@example.org",
        "Your code",
    )
    assert message.get_content().splitlines() == ["Grüße", ".", "12345678"]
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Message-ID"].endswith("@lethe.example>")


@pytest.mark.parametrize(
    "to",
    [
        "",
        "mara",
        "mara@",
        "a@b.example\nBcc: c@d.example",
        "a@b.example, c@d.example",
        "a b@c.example",
        "\udc80@b.example",
    ],
)
def test_what_is_no_address_gets_no_message(to: str) -> None:
    with smtp_server() as box:
        assert not send(settings(box.port), to)
        assert box.arrived == []


def test_a_refused_receiver_is_no_fault_of_the_server() -> None:
    with smtp_server() as box:
        box.refused.add("gone@example.org")
        assert not send(settings(box.port), "gone@example.org")
        assert send(settings(box.port))


def test_starttls_and_login_are_real(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with smtp_server(context, ("lethe", "word")) as box:
        known = {"host": "localhost", "security": "starttls", "ca_path": certificate, "username": "lethe"}
        assert send(settings(box.port, **known, password=SecretStr("word")))
        for wrong in (
            {**known, "password": SecretStr("wrong")},
            {**known, "password": SecretStr("word"), "ca_path": None},  # an authority that nobody trusts
            {**known, "password": SecretStr("word"), "host": "127.0.0.1"},  # another name than the certificate's
            {"security": "none"},
        ):
            with pytest.raises(LetheError, match=r"mail\.unavailable"):
                send(settings(box.port, **wrong))
        assert len(box.arrived) == 1


def test_a_server_that_is_away_not_set_or_spoken_with_openly_elsewhere() -> None:
    with smtp_server() as box:
        port = box.port
    for made, code in (
        (settings(port), "mail.unavailable"),
        (settings(port, host="mail.example.org"), "mail.unavailable"),
        (MailSettings(), "mail.off"),
    ):
        with pytest.raises(LetheError) as caught:
            send(made)
        assert caught.value.code == code
        assert "mara" not in str(caught.value.body())


@pytest.mark.parametrize(("at", "code"), [("data", "mail.unavailable"), ("end", "mail.unsure")])
def test_a_server_that_said_no_and_one_that_fell_silent_are_two_things(at: str, code: str) -> None:
    with smtp_server(breaks=at) as box:
        with pytest.raises(LetheError) as caught:
            send(settings(box.port))
        assert caught.value.code == code
        assert len(box.arrived) == (1 if at == "end" else 0)


def test_a_server_that_is_rude_at_the_end_has_taken_it_all_the_same() -> None:
    with smtp_server(breaks="quit") as box:
        assert send(settings(box.port))
        assert len(box.arrived) == 1
