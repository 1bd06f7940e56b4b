"""The API does what its OpenAPI document says: schemathesis asks every operation, with good data and with bad."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celpy
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import APIOperation, GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.testclient import TestClient

from policies.roles import SCOPES
from services import auth
from services.installation import create_installation
from services.intake.app import create_app
from services.settings import load_settings
from services.store.engine import Store
from services.unlearning.app import create_app as create_unlearning_app

pytestmark = pytest.mark.slow
EXAMPLES = 6
# What these refuse hangs on the packs, the clock or the form of a cursor, none of which a schema can tell.
REFUSE_BY_MEANING = {"POST /v1/tickets", "GET /v1/tickets", "POST /v1/tickets/{ticket_id}/identity"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, FastAPI], Store, str]]:
    celpy.Environment()  # the first one raises the recursion limit: not while Hypothesis runs
    home: Path = tmp_path_factory.mktemp("openapi") / "home"
    settings_ = load_settings(home, protocols={"sender_per_minute": 1_000_000, "address_per_minute": 1_000_000})
    store = create_installation(settings_).open_store()
    with store.write() as session:
        token = auth.create_key(session, name="schemathesis", scopes=sorted(SCOPES), role=None, actor="t").token
    apps = {
        "intake": create_app(settings_, open_store=lambda: store),
        "unlearning": create_unlearning_app(open_store=lambda: store),
    }
    yield apps, store, token
    store.close()


def document(app: FastAPI, token: str) -> dict[str, Any]:
    found: dict[str, Any] = TestClient(app).get("/openapi.json", headers={"Authorization": f"Bearer {token}"}).json()
    return found


def faults_of(operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode) -> list[str]:
    """What schemathesis finds wrong with the answers to some requests; every kind of fault once."""
    found: dict[str, str] = {}
    excluded: list[schemathesis.CheckFunction] = (
        [positive_data_acceptance] if operation.label in REFUSE_BY_MEANING else []
    )

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case[Any]) -> None:
        try:
            case.call_and_validate(excluded_checks=excluded)
        except FailureGroup as group:
            for fault in group.exceptions:
                found.setdefault(f"{operation.label}: {fault.title}", f"{fault.message} {case.as_curl_command()[:600]}")

    ask()
    return [f"{title}\n    {text}" for title, text in found.items()]


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("name", ["intake", "unlearning"])
def test_every_operation_answers_as_its_document_says(
    house: tuple[dict[str, FastAPI], Store, str], name: str, mode: GenerationMode
) -> None:
    apps, _, token = house
    config = SchemathesisConfig.from_dict({"auth": {"openapi": {"key": {"bearer": token}}}})
    headers = {"Authorization": f"Bearer {token}"}
    schema = schemathesis.openapi.from_asgi("/openapi.json", apps[name], config=config, headers=headers)
    operations = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    assert len(operations) == sum(len(one) for one in document(apps[name], token)["paths"].values())
    faults = [fault for operation in operations for fault in faults_of(operation, mode)]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", ["intake", "unlearning"])
def test_the_document_tells_every_refusal_and_who_may_ask(
    house: tuple[dict[str, FastAPI], Store, str], name: str
) -> None:
    apps, _, token = house
    found = document(apps[name], token)
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            assert {"401", "403", "404", "405", "422", "503"} <= set(operation["responses"]), (method, path)
            assert operation["security"] == [] or operation["x-lethe-scope"] in SCOPES, (method, path)
    assert "HTTPValidationError" not in found["components"]["schemas"]
