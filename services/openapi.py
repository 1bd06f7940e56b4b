"""The OpenAPI document as it holds: every refusal has the one error body, and every route says who may ask."""

from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, Field

from services.auth import OPEN, SCOPE_MARK


class ErrorDetail(BaseModel):
    """What is wrong, and what to do."""

    code: str = Field(description="Stable; all are in docs/errors.md.")
    message: str
    remedy: str
    details: list[str] = Field(description="Fields by path, never values.")


class ErrorBody(BaseModel):
    """The one error body."""

    error: ErrorDetail


REFUSALS = {
    400: "The body is not JSON.",
    401: "Whoever asks has not proved who they are.",
    403: "It is not theirs to do.",
    404: "There is no such thing, or it is somebody else's.",
    405: "Not with this method.",
    409: "The state does not allow it, or the id was used for something else.",
    413: "The body is too large.",
    422: "The request has faults; the details name them by field.",
    429: "Too many requests; Retry-After says when.",
    503: "The store is away; nothing was stored.",
}
_BODY = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
_SCHEMES = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key, or a token of the identity provider."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def document(app: FastAPI) -> None:
    """Let an app's document tell the refusals and the credentials that the guard adds to every route."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(made(), _scopes(app))
        return app.openapi_schema

    vars(app)["openapi"] = openapi  # as FastAPI's manual extends it


def _scopes(app: FastAPI) -> dict[tuple[str, str], str]:
    return {
        (str(context.path), method.lower()): getattr(context.endpoint, SCOPE_MARK, "")
        for context in iter_route_contexts(app.routes)
        for method in context.methods or ()
    }


def _completed(found: dict[str, Any], scopes: dict[tuple[str, str], str]) -> dict[str, Any]:
    components = found.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for model in (ErrorBody, ErrorDetail):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schema.pop("$defs", None)
        schemas[model.__name__] = schema
    components["securitySchemes"] = _SCHEMES
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            responses = operation["responses"]
            for content in operation.get("requestBody", {}).get("content", {}).values():
                schemas.update(content["schema"].pop("$defs", {}))  # of bodies that are read by hand
            if _is_fastapis_own(responses.get("422")):
                del responses["422"]
            for status, text in REFUSALS.items():
                told = responses.setdefault(str(status), {"description": text})
                told.setdefault("content", _BODY)
            scope = scopes.get((path, method), "")
            operation["security"] = [] if scope == OPEN else [{"key": []}, {"header": []}]
            if scope and scope != OPEN:
                operation["x-lethe-scope"] = scope
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return found


def _is_fastapis_own(response: dict[str, Any] | None) -> bool:
    return "HTTPValidationError" in str(response)
