"""The door: who comes in, for how long a key is believed without asking, and what a probe token opens."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session
from starlette.types import Receive, Scope, Send

from policies.errors import LetheError
from services import auth, keys
from services.auth import IDENTITY
from services.installation import Installation, create_installation
from services.serving.gateway import door as door_module
from services.serving.gateway.door import PROBE, Door
from services.serving.probe_token import PREFIX, ProbeTokens, issue
from services.settings import load_settings
from services.store.engine import Store

PATH = "/v1/chat/completions"
REPLICA = "serving-0"


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return create_installation(load_settings(tmp_path / "home"))


@pytest.fixture
def store(installation: Installation) -> Iterator[Store]:
    opened = installation.open_store(with_keys=False)
    yield opened
    opened.close()


@pytest.fixture
def at_door(installation: Installation, store: Store) -> "AtDoor":
    return AtDoor(store, ProbeTokens(REPLICA, keys.trust_path(installation.settings)))


class AtDoor:
    """A door with a fake app behind it that says who came in."""

    def __init__(self, store: Store, probes: ProbeTokens | None) -> None:
        self.opened = 0
        self.store = store
        self.inside: list[auth.Identity] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.door = Door(self._app, open_store=self._open, probes=probes)

    def _open(self) -> Store:
        self.opened += 1
        return self.store

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.inside.append(scope[IDENTITY])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    def knock(self, token: str, path: str = PATH, method: str = "POST") -> int:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request"}

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "headers": [(b"authorization", f"Bearer {token}".encode())],
        }
        asyncio.run(self.door(scope, receive, send))
        self.headers = sent[0]["headers"]
        return int(sent[0]["status"])


def make_key(store: Store, *scopes: str) -> auth.NewKey:
    with store.write() as session:
        return auth.create_key(session, name="client", scopes=scopes or ("infer",), actor="system:test")


def probe(installation: Installation, replica: str = REPLICA, *, purpose: Any = "audit", **more: Any) -> str:
    key = keys.load_private(installation.settings, purpose)
    return issue(key, replica, now=more.pop("now", datetime.now(UTC)), **more)


def test_websockets_are_closed_and_not_left_waiting(at_door: AtDoor) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    asyncio.run(at_door.door({"type": "websocket", "path": PATH, "headers": []}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
    assert at_door.inside == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models/lethe", 200),
        ("GET", "/v1/models", 200),
        ("POST", "/v1/models/lethe", 404),
        ("GET", "/v1/modelsx", 404),
        ("POST", "/v1/models", 405),
    ],
)
def test_names_of_models_are_for_the_gateway_to_know(
    at_door: AtDoor, store: Store, method: str, path: str, status: int
) -> None:
    assert at_door.knock(make_key(store).token, path, method) == status


def test_a_key_is_asked_of_the_store_once_in_two_seconds_and_a_revoked_one_is_refused_after_them(
    at_door: AtDoor, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    at_door.door._known = door_module.Known(clock=lambda: now[0])
    asked: list[str] = []

    def counted(session: Session, token: str | None) -> auth.Identity:
        asked.append("")
        return auth.authenticate(session, token)

    monkeypatch.setattr(door_module, "authenticate", counted)
    key = make_key(store)
    assert [at_door.knock(key.token) for _ in range(3)] == [200, 200, 200]
    assert len(asked) == 1
    with store.write() as session:
        auth.revoke_key(session, key.key_id, actor="system:test")
    now[0] += 1.9
    assert at_door.knock(key.token) == 200
    now[0] += 0.2
    assert at_door.knock(key.token) == 401
    assert at_door.knock(key.token) == 401  # a refusal is never remembered
    assert len(asked) == 3


def test_a_remembered_key_opens_no_more_than_its_scopes(at_door: AtDoor, store: Store) -> None:
    key = make_key(store, "infer")
    assert at_door.knock(key.token) == 200
    assert at_door.knock(key.token, "/metrics", "GET") == 403
    assert at_door.knock(key.token, "/v1/elsewhere") == 404
    assert at_door.knock(key.token + "0") == 401
    assert at_door.knock("") == 401


@pytest.mark.parametrize("failure", [LetheError("store.busy", "x"), RuntimeError("connection of Marta Rossi lost")])
def test_a_store_that_is_away_is_an_answer_and_not_a_request_that_hangs(
    at_door: AtDoor, store: Store, failure: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any) -> auth.Identity:
        raise failure

    monkeypatch.setattr(door_module, "authenticate", fails)
    assert at_door.knock(make_key(store).token) == 503
    assert (b"retry-after", b"1") in at_door.headers
    assert "Marta" not in caplog.text


def test_who_is_remembered_is_bounded_and_by_digest_only() -> None:
    known = door_module.Known()
    for number in range(door_module._KNOWN_LIMIT + 5):
        known.put(f"lethe_{number}_secret", door_module.PROBER, asked_at=known.now())
    assert len(known._found) <= door_module._KNOWN_LIMIT
    assert all(isinstance(mark, bytes) and len(mark) == 32 for mark in known._found)


def test_the_intakes_probe_token_opens_this_replica_and_nothing_else(
    at_door: AtDoor, installation: Installation
) -> None:
    token = probe(installation)
    assert at_door.knock(token) == 200
    assert at_door.inside[-1].key_id == PROBE
    assert at_door.inside[-1].scopes == {"infer", PROBE}
    assert at_door.knock(token, "/metrics", "GET") == 403
    assert at_door.opened == 0  # no store is needed: it may be away or behind
    assert at_door.knock(probe(installation, "serving-1")) == 401


@pytest.mark.parametrize(
    "token",
    [
        lambda i: probe(i, now=datetime.now(UTC) - timedelta(seconds=61)),
        lambda i: probe(i, now=datetime.now(UTC) + timedelta(seconds=120)),  # dated into the future: lives too long
        lambda i: probe(i, purpose="verdict"),
        lambda i: probe(i)[:-8],
        lambda i: PREFIX + "e30",
        lambda i: PREFIX + "ä" * 10,
        lambda i: PREFIX + "A" * 5000,
    ],
    ids=["ended", "from tomorrow", "another key", "cut", "no envelope", "no base64", "endless"],
)
def test_a_probe_token_that_is_not_right_is_refused(at_door: AtDoor, installation: Installation, token: Any) -> None:
    assert at_door.knock(token(installation).encode().decode("latin-1")) == 401
    assert not at_door.inside


def test_a_token_signed_before_its_key_was_retired_ends_with_the_key(
    at_door: AtDoor, installation: Installation
) -> None:
    old = probe(installation)
    later = probe(installation, now=datetime.now(UTC) + timedelta(seconds=2))
    keys.rotate(installation.settings, "audit")
    assert at_door.knock(old) == 200  # what it signed before still stands, for its minute
    assert at_door.knock(later) == 401
    assert at_door.knock(probe(installation)) == 200  # trust.json was read again


def test_a_door_without_a_checker_takes_no_probe_token(installation: Installation, store: Store) -> None:
    assert AtDoor(store, None).knock(probe(installation)) == 401
