"""The intake as it really runs: ``bentoml serve`` on loopback, and the command line against it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from policies.errors import LetheError
from policies.lifecycle import TicketEvent
from services import jobs
from services.installation import Installation, create_installation
from services.settings import load_settings
from services.store.tickets import transition_ticket
from tests.ports import free_port

pytestmark = [pytest.mark.slow]
READY_S = 120
TICKET = {
    "external_id": "cli-1",
    "regime": "gdpr",
    "base": "demo",
    "subject": [{"kind": "email", "value": "mara.canary@example.org"}],
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, str]]:
    home, port = tmp_path_factory.mktemp("served") / "home", free_port()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LETHE_HOME", str(home))
        environment.setenv("LETHE_INTAKE__PORT", str(port))
        environment.setenv("BENTOML_DO_NOT_TRACK", "True")
        environment.delenv("LETHE_API_KEY", raising=False)
        installation = create_installation(load_settings(), also=jobs.migrate)
        command = ["-m", "bentoml", "serve", "services.intake.service:Intake", "--host", "127.0.0.1"]
        with (home / "logs" / "intake.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *command, "--port", str(port), "--timeout-graceful-shutdown", "5"],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            _wait(f"http://127.0.0.1:{port}/readyz", process)
            yield installation, f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the service ended"
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise TimeoutError(url)


def lethe(*arguments: str, given: str | None = None) -> Result:
    from services.cli import app

    return CliRunner().invoke(app, arguments, input=given)


def told(*arguments: str, given: str | None = None) -> Any:
    result = lethe(*arguments, "--json", given=given)
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def refused(*arguments: str) -> str:
    error = lethe(*arguments).exception
    assert isinstance(error, LetheError)
    return error.code


def test_bentomls_own_routes_are_closed_too(served: tuple[Installation, str]) -> None:
    installation, url = served
    key = {"Authorization": f"Bearer {installation.operator_key_path.read_text().strip()}"}
    with httpx.Client(base_url=url, trust_env=False) as http:
        for path in ("/", "/metrics", "/docs.json", "/schema.json", "/static_content/x", "/docs", "/v1/tickets"):
            assert http.get(path).status_code == 401, path
        assert http.get("/livez").status_code == http.get("/healthz").status_code == 200
        assert http.get("/people/kunigunde@voliere.example").status_code == 401
        page = http.get("/metrics", headers=key).text
        assert "lethe_erasure_pending_seconds 0.0" in page
        assert 'http_response_status_code="401",http_route="other"' in page
        for outcome in ("pass", "fail", "undecided"):  # before the first re-check, so that the first one is an increase
            assert f'lethe_rechecks_total{{lethe_outcome="{outcome}"}} 0.0' in page
        assert "lethe_rechecks_failed 0.0" in page
        assert "kunigunde" not in page
        assert "/v1/tickets" in http.get("/docs.json", headers=key).text


def test_the_command_line_does_the_whole_way(served: tuple[Installation, str], tmp_path: Path) -> None:
    file = tmp_path / "ticket.json"
    file.write_text(json.dumps(TICKET))
    filed = told("ticket", "submit", str(file))
    ticket_id = filed["ticket_id"]
    assert filed["new"] is True
    assert told("ticket", "submit", "-", given=json.dumps(TICKET))["new"] is False
    assert "awaiting_identity" in lethe("ticket", "list").output
    assert [t["ticket_id"] for t in told("ticket", "list", "--status", "awaiting_identity")["tickets"]] == [ticket_id]
    verified = told("ticket", "verify-identity", ticket_id, "--method", "email_code", "--evidence-ref", "ev-7")
    assert verified["status"] == "awaiting_approval"
    assert told("ticket", "hold", ticket_id, "--reason", "claim pending")["status"] == "on_hold"
    assert told("ticket", "release-hold", ticket_id)["status"] == "awaiting_approval"
    shown = lethe("ticket", "show", ticket_id)
    assert "Art. 5(2)" in shown.output
    assert refused("report", ticket_id) == "report.not_ready"
    assert refused("ticket", "review", ticket_id, "--confirm", "r1") == "ticket.review_unknown"
    assert refused("ticket", "retry", ticket_id) == "lifecycle.forbidden"
    assert refused("ticket", "show", ticket_id, "--identity") == "auth.forbidden"
    assert told("ticket", "deny", ticket_id, "--reason", "not the subject")["status"] == "denied"
    watched = lethe("ticket", "watch", ticket_id)
    assert watched.exit_code == 1
    assert watched.output.split()[-1] == "denied"
    assert refused("ticket", "cancel", ticket_id) == "lifecycle.forbidden"
    assert "canary" not in (shown.output + watched.output)


def test_watch_follows_while_others_act(served: tuple[Installation, str]) -> None:
    installation, _ = served
    body = {**TICKET, "external_id": "cli-2"}
    ticket_id = told("ticket", "submit", "-", given=json.dumps(body))["ticket_id"]
    watcher = subprocess.Popen(
        [sys.executable, "-m", "services.cli", "ticket", "watch", ticket_id, "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watcher.stdout is not None
    first = json.loads(watcher.stdout.readline())
    assert (first["kind"], first["event"]) == ("ticket", "receive")
    store = installation.open_store()
    with store.write() as session:
        transition_ticket(session, ticket_id, TicketEvent.CANCEL, actor="system:test")
    store.close()
    rest = [json.loads(line) for line in watcher.stdout]
    watcher.stdout.close()
    assert watcher.wait(30) == 1
    assert rest[-1]["to_status"] == "cancelled"


def test_keys_are_made_and_ended_on_the_host(served: tuple[Installation, str], monkeypatch: pytest.MonkeyPatch) -> None:
    made = told("key", "create", "--name", "reader", "--scope", "tickets:read", "--days", "3")
    monkeypatch.setenv("LETHE_API_KEY", made["key"])
    assert lethe("ticket", "list").exit_code == 0
    assert refused("ticket", "submit", __file__) == "auth.forbidden"
    rotated = told("key", "rotate", made["key_id"])
    assert refused("ticket", "list") == "auth.invalid"
    monkeypatch.setenv("LETHE_API_KEY", rotated["key"])
    assert lethe("ticket", "list").exit_code == 0
    assert told("key", "revoke", rotated["key_id"])["state"] == "revoked"
    assert refused("ticket", "list") == "auth.invalid"
    states = {k["key_id"]: k["state"] for k in told("key", "list")["keys"]}
    assert states[made["key_id"]] == states[rotated["key_id"]] == "revoked"
    assert rotated["key"].split("_")[2] not in lethe("key", "list").output


def test_no_process_of_the_intake_has_loaded_torch(served: tuple[Installation, str]) -> None:
    installation, _ = served
    mapped = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(installation.home).encode() in (process / "environ").read_bytes():
                mapped.append((process / "maps").read_text())
        except OSError:
            continue
    assert len(mapped) >= 2
    assert not any("libtorch" in maps for maps in mapped)


def test_the_logs_hold_no_person(served: tuple[Installation, str]) -> None:
    installation, _ = served
    assert "canary" not in (installation.home / "logs" / "intake.log").read_text()


def test_importing_the_intake_does_not_import_torch(tmp_path: Path) -> None:
    script = "import sys, services.intake.service; print('torch' in sys.modules, 'transformers' in sys.modules)"
    environment = {**os.environ, "LETHE_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "True"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["False", "False"]


def test_without_a_service_and_without_a_key_it_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETHE_HOME", str(tmp_path))
    monkeypatch.setenv("LETHE_INTAKE__PORT", str(free_port()))
    monkeypatch.delenv("LETHE_API_KEY", raising=False)
    assert refused("ticket", "list") == "auth.missing"
    monkeypatch.setenv("LETHE_API_KEY", "lethe_a_b")
    assert refused("ticket", "list") == "service.unreachable"
    assert refused("ticket", "submit", str(tmp_path / "none.json")) == "ticket.unreadable"
