"""OpenDSR's answers, field by field as its specification names them."""

from typing import Any

from pydantic import AwareDatetime, BaseModel

from policies.errors import LetheError
from services.intake.protocols.error_responses import ERRORS


class Discovery(BaseModel):
    """What a processor supports."""

    api_version: str
    supported_identities: list[dict[str, str]]
    supported_subject_request_types: list[str]
    processor_certificate: str


class RequestAccepted(BaseModel):
    """A request was taken; ``encoded_request`` is not to be stored by whoever sent it."""

    controller_id: str
    subject_request_id: str
    received_time: AwareDatetime
    expected_completion_time: AwareDatetime | None
    encoded_request: str
    api_version: str


class RequestStatus(BaseModel):
    """Where a request stands."""

    controller_id: str
    subject_request_id: str
    expected_completion_time: AwareDatetime | None
    request_status: str
    api_version: str
    results_url: str | None
    extensions: dict[str, dict[str, str | None]]


class Cancelled(BaseModel):
    """A request was withdrawn."""

    controller_id: str
    subject_request_id: str
    received_time: AwareDatetime
    api_version: str


class ErrorItem(BaseModel):
    """One fault; ``reason`` is our stable code."""

    domain: str
    reason: str
    message: str


class ErrorObject(BaseModel):
    """What is wrong."""

    code: int
    message: str
    errors: list[ErrorItem]


class OpenDsrError(BaseModel):
    """The specification's error body."""

    error: ErrorObject


RESPONSES: dict[int | str, dict[str, Any]] = {
    400: {"model": OpenDsrError, "description": "The request has faults."},
    404: {"model": OpenDsrError, "description": "There is no such request of this sender."},
    409: {"model": OpenDsrError, "description": "The id was used for another request."},
    **{status: ERRORS[status] for status in (401, 403, 413, 429, 503)},
}


def error_body(error: LetheError, status: int) -> dict[str, Any]:
    """The specification's error body: fields and codes, never values."""
    items = [{"domain": "lethe", "reason": error.code, "message": text} for text in error.details or (error.message,)]
    return {"error": {"code": status, "message": error.message, "errors": items}}
