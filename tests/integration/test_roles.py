"""Every route of every app that answers people, against every role: made from the routes, so that none is left out."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.testclient import TestClient

from policies.roles import ROLES, SCOPES
from services import auth
from services.installation import create_installation
from services.intake.app import create_app
from services.settings import load_settings
from services.store.engine import Store
from services.unlearning.app import create_app as create_unlearning_app

Route = tuple[str, str, str]  # method, path, scope


@pytest.fixture(scope="module")
def store_and_apps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, dict[str, FastAPI]]]:
    home: Path = tmp_path_factory.mktemp("roles") / "home"
    settings = load_settings(home)
    store = create_installation(settings).open_store()
    yield (
        store,
        {
            "intake": create_app(settings, open_store=lambda: store),
            "unlearning": create_unlearning_app(open_store=lambda: store),
        },
    )
    store.close()


def routes_of(app: FastAPI) -> list[Route]:
    found = []
    for context in iter_route_contexts(app.routes):
        path = context.path or ""
        if path in {"/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"}:
            scope = "ops:read"
        else:
            scope = getattr(context.endpoint, auth.SCOPE_MARK, "")
        found += [(method, path, scope) for method in context.methods or ()]
    return found


@pytest.mark.parametrize("name", ["intake", "unlearning"])
def test_every_route_declares_its_scope_or_why_it_is_open(
    store_and_apps: tuple[Store, dict[str, FastAPI]], name: str
) -> None:
    app = store_and_apps[1][name]
    for context in iter_route_contexts(app.routes):
        scope = getattr(context.endpoint, auth.SCOPE_MARK, None)
        if scope == auth.OPEN:
            assert getattr(context.endpoint, auth.OPEN_REASON), context.path
        elif not (context.path or "").startswith(("/docs", "/redoc", "/openapi.json")):
            assert scope in SCOPES, context.path


@pytest.mark.parametrize("name", ["intake", "unlearning"])
def test_a_role_comes_as_far_as_its_scopes_and_no_further(
    store_and_apps: tuple[Store, dict[str, FastAPI]], name: str
) -> None:
    store, apps = store_and_apps
    http = TestClient(apps[name], raise_server_exceptions=False, follow_redirects=False)
    tried = 0
    for role, about in ROLES.items():
        with store.write() as session:
            token = auth.create_key(session, name=role, role=role, actor="t").token
        for method, path, scope in routes_of(apps[name]):
            if scope == auth.OPEN:
                continue
            tried += 1
            where = path.replace("{", "").replace("}", "")
            stranger = http.request(method, where)
            assert stranger.status_code == 401, (method, path)
            answer = http.request(method, where, headers={"Authorization": f"Bearer {token}"})
            refused = answer.status_code == 403
            if refused and method != "HEAD":  # a route may refuse a key that has the scope for reasons of its own
                refused = answer.json()["error"]["code"] == "auth.forbidden"
            assert refused == (scope not in about.scopes), (role, method, path, answer.text[:200])
            assert answer.status_code < 500, (role, method, path)
    assert tried > 3 * len(ROLES)
