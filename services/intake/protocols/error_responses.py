"""The errors of protocol routes as the API documents them: one body for all of them."""

from typing import Any

from services.openapi import REFUSALS, ErrorBody

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": text} for status, text in REFUSALS.items()
}
