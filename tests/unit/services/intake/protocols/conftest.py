"""An intake with its whole stack in one process, and senders that know how to sign."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from services import auth
from services.installation import Installation, create_installation
from services.intake.app import create_app
from services.intake.protocols.senders import NewSender, add_sender
from services.settings import load_settings
from services.store.engine import Store
from services.store.tables import Ticket
from services.store.tickets import get_ticket

NOW = datetime(2026, 3, 10, 9, tzinfo=UTC)


class Clock:
    """The moment, moved by hand."""

    now = NOW

    def __call__(self) -> datetime:
        return self.now


class Intake:
    """The app, its store, an officer, and senders by name."""

    def __init__(self, installation: Installation, store: Store) -> None:
        self.installation, self.store, self.clock = installation, store, Clock()
        self.changes: list[tuple[str, str]] = []
        self.app = create_app(
            installation.settings,
            open_store=lambda: store,
            on_change=lambda *change: self.changes.append(change),
            clock=self.clock,
        )
        self.http = TestClient(self.app, raise_server_exceptions=False)
        with store.write() as session:
            made = auth.create_key(session, name="o", scopes=auth.OPERATOR_SCOPES, role="admin", actor="t")
        self.officer = {"Authorization": f"Bearer {made.token}"}

    def add(self, sender_id: str, kind: Any, **more: Any) -> NewSender:
        with self.store.write() as session:
            fields = {"base": "demo", "regime": "gdpr", **more}
            return add_sender(session, sender_id, kind, actor="t", at=NOW, **fields)

    def ticket(self, ticket_id: str) -> Ticket:
        with self.store.read() as session:
            return get_ticket(session, ticket_id)

    def hook(self, sender: NewSender, message: Any, **changed: Any) -> Any:
        """A message signed as its sender would sign it; ``changed`` spoils one part of that."""
        body = changed.get("body", message if isinstance(message, bytes) else json.dumps(message).encode())
        headers = signed(str(changed.get("secret", sender.secret)), body, changed.get("at", self.clock.now))
        sent = changed.get("sent", body)
        to = changed.get("to", sender.sender_id)
        return self.http.post(f"/v1/hooks/{to}", content=sent, headers={**headers, **changed.get("headers", {})})


def signed(secret: str, body: bytes, at: datetime, message_id: str = "msg-1") -> dict[str, str]:
    """The convention's headers, made here from its description and not by the code that checks them."""
    stamp = str(int(at.timestamp()))
    mac = hmac.new(bytes.fromhex(secret[6:]), f"{message_id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return create_installation(load_settings(tmp_path_factory.mktemp("intake") / "home"))


@pytest.fixture(scope="module")
def intake(installation: Installation) -> Iterator[Intake]:
    store = installation.open_store()
    yield Intake(installation, store)
    store.close()


@pytest.fixture(autouse=True)
def _at_the_same_moment(intake: Intake) -> None:
    intake.clock.now = NOW
    intake.changes.clear()
