import errno
import json
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from fastapi import APIRouter, FastAPI, Request
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from policies.errors import LetheError
from policies.roles import SCOPES
from services import auth, guard
from services.auth import open_to_all, requires
from services.store.engine import Store
from services.store.tables import ApiKey
from services.web import add_credential, protect
from tests.unit.services.store.samples import NOW


@pytest.fixture
def client(store: Store) -> Iterator[TestClient]:
    app = FastAPI()
    router = APIRouter(prefix="/sub")

    @app.get("/declared")
    @requires("ops:read")
    def declared() -> dict[str, bool]:
        return {"ok": True}

    @app.get("/forgotten")
    def forgotten() -> dict[str, bool]:
        return {"ok": True}

    @router.post("/thing/{name}")
    @requires("ops:run")
    def nested(name: str) -> dict[str, str]:
        return {"name": name}

    @app.get("/livez")
    def livez() -> dict[str, bool]:
        return {"ok": True}

    @app.get("/broken")
    @requires("ops:read")
    def broken() -> None:
        raise RuntimeError("holds mara@example.org")

    @app.get("/full")
    @requires("ops:read")
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    @app.post("/body")
    @requires("ops:run")
    async def body(request: Request) -> dict[str, int]:
        return {"read": len(await request.body())}

    app.include_router(router)
    protect(app, open_store=lambda: store, max_body_bytes=2000)
    with TestClient(app, raise_server_exceptions=False) as opened:
        yield opened


def key(store: Store, *scopes: str, **more: object) -> auth.NewKey:
    with store.write() as session:
        return auth.create_key(session, name="test", scopes=scopes, actor="t", at=NOW, **more)  # type: ignore[arg-type]


def bearer(made: auth.NewKey) -> dict[str, str]:
    return {"Authorization": f"Bearer {made.token}"}


def test_a_route_answers_its_scope_and_nothing_else(client: TestClient, store: Store) -> None:
    reader, runner = key(store, "ops:read"), key(store, "ops:run")
    assert client.get("/declared").status_code == 401
    assert client.get("/declared", headers=bearer(runner)).json()["error"]["code"] == "auth.forbidden"
    assert client.get("/declared", headers=bearer(reader)).json() == {"ok": True}
    assert client.get("/declared", headers={"X-API-Key": reader.token}).status_code == 200
    assert client.post("/sub/thing/a", headers=bearer(runner)).json() == {"name": "a"}
    assert client.post("/sub/thing/a", headers=bearer(reader)).status_code == 403


def test_a_route_that_declares_nothing_answers_nobody(client: TestClient, store: Store) -> None:
    everything = key(store, *SCOPES)
    refused = client.get("/forgotten", headers=bearer(everything))
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "auth.route_without_scope")


def test_a_stranger_learns_nothing_about_paths(client: TestClient, store: Store) -> None:
    for path in ("/declared", "/forgotten", "/nothing", "/docs", "/openapi.json", "/metrics"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "auth.missing")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    known = bearer(key(store, "ops:read"))
    assert client.get("/nothing", headers=known).json()["error"]["code"] == "request.not_found"
    assert client.delete("/declared", headers=known).json()["error"]["code"] == "request.method_not_allowed"
    assert client.get("/openapi.json", headers=known).status_code == 200


def test_liveness_is_open_and_only_that(client: TestClient) -> None:
    assert client.get("/livez").status_code == 200
    assert client.post("/livez").status_code == 401
    assert client.get("/livez/").status_code == 401


def test_websockets_are_refused(client: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/declared"):
        pass


def test_an_unexpected_fault_tells_nothing(client: TestClient, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    answer = client.get("/broken", headers=bearer(key(store, "ops:read")))
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert "mara" not in answer.text


def test_a_store_that_is_away_is_an_answer(
    client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("holds mara@example.org")

    headers = bearer(key(store, "ops:read"))
    monkeypatch.setattr(guard, "authenticate", fails)
    answer = client.get("/declared", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store.missing")
    assert "mara" not in answer.text + caplog.text


def test_a_full_disk_has_its_code(client: TestClient, store: Store) -> None:
    answer = client.get("/full", headers=bearer(key(store, "ops:read")))
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "storage.full")


def test_a_large_body_is_refused_announced_or_not(client: TestClient, store: Store) -> None:
    known = bearer(key(store, "ops:run"))

    def in_pieces() -> Iterator[bytes]:
        yield from [b"x" * 500] * 6

    for content in (b"x" * 3000, in_pieces()):
        answer = client.post("/body", headers=known, content=content)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request.too_large")
    assert client.post("/body", headers=known, content=b"x" * 2000).json() == {"read": 2000}
    strange = client.post("/body", headers={**known, "Content-Length": "-1"}, content=b"")
    assert strange.status_code == 413


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([("authorization", "Bearer a")], "a"),
        ([("authorization", "bearer  a ")], "a"),
        ([("x-api-key", "a")], "a"),
        ([], None),
        ([("authorization", "Basic a")], None),
        ([("authorization", "Bearer a"), ("authorization", "Bearer a")], None),
        ([("authorization", "Bearer a"), ("x-api-key", "a")], None),
        ([("authorization", "Basic a"), ("x-api-key", "a")], None),
        ([("x-api-key", "a"), ("x-api-key", "b")], None),
    ],
)
def test_of_two_credentials_none_counts(headers: list[tuple[str, str]], token: str | None) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    assert guard.token_of(HTTPConnection({"type": "http", "headers": raw})) == token


def test_wrong_revoked_and_expired_keys_do_not_count(store: Store) -> None:
    made, short = key(store, "infer"), key(store, "infer", expires_at=NOW + timedelta(days=1))
    other = key(store, "infer")

    def code(token: str | None, day: int = 0) -> str:
        with pytest.raises(LetheError) as refused, store.read() as session:
            auth.authenticate(session, token, at=NOW + timedelta(days=day))
        return refused.value.code

    assert code(None) == "auth.missing"
    for token in ("x", "lethe_", "lethe__", f"lethe_{made.key_id}_", f"lethe_nothing_{'0' * 64}", "bearer_a_b"):
        assert code(token) == "auth.invalid"
    assert code(made.token[:-1] + ("0" if made.token[-1] != "0" else "1")) == "auth.invalid"
    assert code(f"lethe_{made.key_id}_{other.token.split('_')[2]}") == "auth.invalid"
    assert code(short.token, day=2) == "auth.expired"
    with store.write() as session:
        auth.revoke_key(session, made.key_id, actor="t", at=NOW)
        auth.revoke_key(session, made.key_id, actor="t", at=NOW)
    assert code(made.token) == "auth.invalid"


def test_a_rotated_key_keeps_scopes_and_the_old_one_ends(store: Store) -> None:
    old = key(store, "tickets:decide", role="privacy_officer", expires_at=NOW + timedelta(days=90))
    with store.write() as session:
        day = NOW + timedelta(days=1)
        new = auth.rotate_key(session, old.key_id, actor="t", overlap_until=day + timedelta(hours=1), at=day)
        newer = auth.rotate_key(session, new.key_id, actor="t", at=day)
    with store.read() as session:
        assert auth.authenticate(session, old.token, at=NOW).role == "privacy_officer"
        for token, at in ((old.token, day + timedelta(hours=2)), (new.token, day)):
            with pytest.raises(LetheError):
                auth.authenticate(session, token, at=at)
        identity = auth.authenticate(session, newer.token, at=NOW)
        assert session.get_one(ApiKey, newer.key_id).expires_at == day + timedelta(days=90)
    assert (identity.scopes, identity.role) == (frozenset({"tickets:decide"}), "privacy_officer")
    assert (identity.key_id, identity.actor) == (newer.key_id, f"key:{old.key_id}"), "the same person, for four eyes"
    with pytest.raises(LetheError) as ended, store.write() as session:
        auth.rotate_key(session, new.key_id, actor="t", at=NOW)
    assert ended.value.code == "auth.key_revoked"


def test_a_role_gives_its_scopes_and_no_more(store: Store) -> None:
    made, fewer = key(store, role="approver"), key(store, "tickets:read", role="auditor")
    house = key(store, "tickets:approve", role="counsel", house_roles=("counsel",))
    with store.read() as session:
        assert auth.authenticate(session, made.token).scopes == {"tickets:read", "tickets:approve"}
        assert auth.authenticate(session, fewer.token).scopes == {"tickets:read"}
        assert auth.authenticate(session, house.token).role == "counsel"
    for scopes, role, code in (
        (("ops:run",), "approver", "auth.unknown_scope"),
        ((), "counsel", "auth.unknown_role"),
    ):
        with pytest.raises(LetheError) as refused:
            key(store, *scopes, role=role)
        assert refused.value.code == code


def test_two_keys_of_one_person_are_one_person(store: Store) -> None:
    first = key(store, role="approver")
    second = key(store, role="approver", holder=f"key:{first.key_id}")
    with store.read() as session:
        assert auth.authenticate(session, second.token).actor == auth.authenticate(session, first.token).actor


def test_an_open_route_says_so_by_name_and_another_credential_counts_like_a_key(store: Store) -> None:
    app = FastAPI()

    @app.get("/form")
    @open_to_all("a form that people fill in before they are known")
    def form() -> dict[str, bool]:
        return {"ok": True}

    @app.get("/who")
    @requires("ops:read")
    def who(request: Request) -> dict[str, str]:
        return {"actor": auth.identity_of(request).actor}

    def badge(_: Store, connection: HTTPConnection) -> auth.Identity | None:
        number = connection.headers.get("x-badge")
        if number == "stolen":
            raise LetheError("auth.invalid", "This badge does not count.")
        return None if number is None else auth.Identity(number, frozenset({"ops:read"}), None, f"user:{number}")

    protect(app, open_store=lambda: store, max_body_bytes=2000)
    add_credential(app, badge)
    with TestClient(app) as client:
        assert client.get("/form").json() == {"ok": True}
        assert client.post("/form").status_code == 401
        assert client.get("/who").status_code == 401
        assert client.get("/who", headers={"X-Badge": "u-7"}).json() == {"actor": "user:u-7"}
        assert client.get("/who", headers={"X-Badge": "stolen"}).json()["error"]["code"] == "auth.invalid"
        assert client.get("/who", headers=bearer(key(store, "ops:read"))).json()["actor"].startswith("key:")
    with pytest.raises(ValueError, match="reason"):
        open_to_all("")


def test_secrets_are_neither_stored_nor_shown(store: Store) -> None:
    made = key(store, "infer")
    secret = made.token.split("_")[2]
    assert len(secret) == 64
    assert secret not in repr(made)
    with store.read() as session:
        row = session.get_one(ApiKey, made.key_id)
        assert secret not in json.dumps([row.secret_hash, row.name, row.scopes])


def test_unknown_scopes_and_keys_have_their_codes(store: Store) -> None:
    for scopes in (("everything",), ()):
        with pytest.raises(LetheError) as refused:
            key(store, *scopes)
        assert refused.value.code == "auth.unknown_scope"
    with pytest.raises(LetheError) as missing, store.write() as session:
        auth.revoke_key(session, "none", actor="t")
    assert missing.value.code == "auth.key_not_found"
    with pytest.raises(ValueError, match="evrything"):
        requires("evrything")


def test_checking_a_key_takes_little_time(store: Store) -> None:
    made = key(store, "infer")
    with store.read() as session:
        begun = time.perf_counter()
        for _ in range(100):
            auth.authenticate(session, made.token)
        assert time.perf_counter() - begun < 2
