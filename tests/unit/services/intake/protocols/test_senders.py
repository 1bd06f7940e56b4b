import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner

from policies.errors import LetheError
from services.commands.sender import app
from services.intake.protocols.senders import add_sender, get_sender, list_senders, rotate_sender
from services.store.engine import Store
from tests.unit.services.intake.protocols.conftest import Intake
from tests.unit.services.intake.protocols.test_hooks import pem_pair


@pytest.mark.parametrize("bad", ["", "A", "1a", "a", "a" * 33, "a-b", "mara@example.org", "a b"])
def test_an_id_that_is_none_is_refused(store: Store, bad: str) -> None:
    with store.write() as session, pytest.raises(LetheError, match=r"sender\.invalid"):
        add_sender(session, bad, "webhook", actor="t")


@pytest.mark.parametrize(
    "bad", ["", "https://a.example", "a.example:443", "10.0.0.1", "a", "[::1]", "*.example", "a..example", "-a.example"]
)
def test_a_domain_that_is_none_is_refused(store: Store, bad: str) -> None:
    with store.write() as session, pytest.raises(LetheError, match=r"sender\.invalid"):
        add_sender(session, "crm", "opendsr", actor="t", domains=[bad])


def test_an_id_is_given_out_once(store: Store) -> None:
    with store.write() as session:
        add_sender(session, "crm", "opendsr", actor="t", domains=["Controller.Example."])
        assert get_sender(session, "crm").domains == ["controller.example"]
    with store.write() as session, pytest.raises(LetheError, match=r"sender\.exists"):
        add_sender(session, "crm", "webhook", actor="t")
    with store.read() as session:
        assert [row.sender_id for row in list_senders(session)] == ["crm"]
        with pytest.raises(LetheError, match=r"sender\.not_found"):
            get_sender(session, "nobody")


def test_a_public_key_is_p384_and_only_where_tokens_are_signed(store: Store) -> None:
    _, weak = pem_pair(ec.SECP256R1())
    _, good = pem_pair(ec.SECP384R1())
    for kind, key in (("transcend", weak), ("transcend", "no key"), ("transcend", None), ("webhook", good)):
        with store.write() as session, pytest.raises(LetheError, match=r"sender\.invalid"):
            add_sender(session, "tr", kind, actor="t", public_key=key)  # type: ignore[arg-type]
    with store.write() as session:
        assert add_sender(session, "tr", "transcend", actor="t", public_key=good).secret is None
    with store.write() as session, pytest.raises(LetheError, match=r"sender\.invalid"):
        rotate_sender(session, "tr", actor="t")


def test_the_command_shows_a_secret_once(intake: Intake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LETHE_HOME", str(intake.installation.home))
    run = CliRunner().invoke
    added = run(app, ["add", "cli_crm", "--kind", "opendsr", "--domain", "c.example", "--attests", "--json"])
    made = json.loads(added.stdout)
    assert made["secret"].startswith("lethe_")
    shown = json.loads(run(app, ["list", "--json"]).stdout)["senders"]
    mine = next(one for one in shown if one["sender"] == "cli_crm")
    assert (mine["attests"], mine["domains"], mine["state"]) == (True, ["c.example"], "active")
    assert made["secret"] not in json.dumps(shown)
    assert run(app, ["rotate", "cli_crm", "--overlap-hours", "1"]).stdout.startswith("lethe_")
    assert "cli_crm is revoked" in run(app, ["revoke", "cli_crm"]).stdout
    for words in (
        ["add", "x_1", "--kind", "fax"],
        ["add", "x_2", "--kind", "transcend", "--public-key", str(tmp_path)],
    ):
        assert isinstance(run(app, words).exception, LetheError)
