"""The unlearning service's routes, with the real guard in front of them."""

from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from starlette.testclient import TestClient

from services import auth, run
from services.unlearning.app import create_app
from tests.unit.services.place import FakeRunners, Place


class Api:
    def __init__(self, place: Place) -> None:
        self.app = create_app(open_store=lambda: place.store)
        self.http = TestClient(self.app, raise_server_exceptions=False)
        with place.store.write() as session:
            made = auth.create_key(session, name="k", scopes=("ops:read", "ops:run"), role=None, actor="t")
            weak = auth.create_key(session, name="w", scopes=("infer",), role=None, actor="t")
        self.operator = {"Authorization": f"Bearer {made.token}"}
        self.weak = {"Authorization": f"Bearer {weak.token}"}

    def get(self, path: str) -> Any:
        return self.http.get(path, headers=self.operator)


@pytest.fixture
def api(place: Place) -> Api:
    return Api(place)


def test_every_route_is_closed_to_strangers_and_to_wrong_scopes(api: Api) -> None:
    seen = 0
    for context in iter_route_contexts(api.app.routes):
        for method in context.methods or ():
            path = str(context.path).replace("{run_id}", "r-1")
            assert api.http.request(method, path).status_code == 401
            assert api.http.request(method, path, headers=api.weak).status_code == 403
            seen += 1
    assert seen >= 3


def test_a_run_with_its_steps(place: Place, api: Api) -> None:
    assert api.get("/v1/runs").json() == []
    run_id = place.planned(0, 1)
    workshop = run.Workshop(place.installation, place.store, FakeRunners(place))
    run.begin(workshop, run_id, 0)
    run.take(workshop, run_id, run.STEPS[0], 0)
    with pytest.raises(ZeroDivisionError):
        run.take(workshop, run_id, run.Step("check", run.STEPS[1].due, run.STEPS[1].event, _break), 0)
    [listed] = api.get("/v1/runs").json()
    found = api.get(f"/v1/runs/{run_id}").json()
    assert listed["run_id"] == found["run_id"] == run_id
    assert found["status"] == "checking"
    assert list(found["steps"]) == ["augment", "check"]
    assert found["steps"]["augment"]["result"]["rows"] == 9
    assert found["steps"]["check"]["ended_at"] is None


def _break(*_: object) -> dict[str, Any]:
    raise ZeroDivisionError


def test_a_cancel_is_asked_for_and_a_run_that_is_not_there_is_named(place: Place, api: Api) -> None:
    run_id = place.planned()
    answer = api.http.post(f"/v1/runs/{run_id}/cancel", headers=api.operator)
    assert answer.status_code == 202
    assert place.run(run_id).cancel_requested
    missing = api.get("/v1/runs/r-0")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "run.not_found")
