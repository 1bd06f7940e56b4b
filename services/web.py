"""What every HTTP service of ours shares: the guard in front, a limit on bodies, and one form of error.

Answers to faults name fields and codes, never values: a validation error would otherwise send the person's data back,
and into every log on the way.
"""

import errno
import logging
from collections.abc import Callable, Mapping
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from policies.errors import LetheError
from services.guard import Credential, Guard, send_error
from services.openapi import document
from services.store.engine import Store

_LOG = logging.getLogger(__name__)
_OF_STATUS = {404: "request.not_found", 405: "request.method_not_allowed", 413: "request.too_large"}


def protect(
    app: FastAPI,
    *,
    open_store: Callable[[], Store],
    max_body_bytes: int,
    larger_bodies: Mapping[str, int] | None = None,
) -> None:
    """Puts guard, body limit and error form around an app; routes may be added before and after."""
    app.add_exception_handler(LetheError, _lethe_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)
    document(app)
    app.add_middleware(BodyLimit, limit=max_body_bytes, larger=larger_bodies)
    app.add_middleware(
        cast(Any, Guard), routes=lambda: app.routes, open_store=open_store, credentials=lambda: credentials_of(app)
    )


def add_credential(app: FastAPI, credential: Credential) -> None:
    """Another way than API keys to say who asks this app (a session's cookie, a signed token)."""
    app.state.credentials = (*credentials_of(app), credential)


def credentials_of(app: FastAPI) -> tuple[Credential, ...]:
    """What ``add_credential`` added; a guard further out needs them too."""
    return tuple(getattr(app.state, "credentials", ()))


class BodyLimit:
    """ASGI middleware: a body beyond the limit is refused before it is read whole."""

    def __init__(self, app: ASGIApp, *, limit: int, larger: Mapping[str, int] | None = None) -> None:
        """``larger``: limits of paths whose bodies are not read whole."""
        self._app = app
        self._limit = limit
        self._larger = larger or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, counting what is read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        limit = self._larger.get(scope["path"], self._limit)
        if not announced.isdigit() or int(announced) > limit:
            await send_error(send, _too_large(limit))
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise _too_large(limit)
            return message

        await self._app(scope, counted, send)


def _too_large(limit: int) -> LetheError:
    return LetheError("request.too_large", f"The body is larger than {limit} bytes.")


def answer(error: LetheError) -> JSONResponse:
    """The one error body, with the status of its code."""
    limited = error.code == "request.rate_limited" and error.details
    headers = {"Retry-After": error.details[0].partition(" ")[0]} if limited else None
    return JSONResponse(error.body(), status_code=error.kind.status, headers=headers)


async def _lethe_error(_request: Request, error: Exception) -> JSONResponse:
    return answer(cast(LetheError, error))


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    faults = cast(RequestValidationError, error).errors()
    if any(fault["type"] == "json_invalid" for fault in faults):
        return answer(LetheError("request.not_json", "The body is not JSON."))
    details = tuple(f"{'.'.join(_place(part) for part in fault['loc'])}: {_say(fault)}" for fault in faults)
    return answer(LetheError("request.invalid", f"The request has {len(details)} fault(s).", details))


async def _http_error(_request: Request, error: Exception) -> JSONResponse:
    status = cast(HTTPException, error).status_code
    code = _OF_STATUS.get(status, "request.invalid" if status < 500 else "internal")
    return answer(LetheError(code, "The request cannot be answered."))


async def _unexpected(_request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return answer(LetheError("storage.full", "The disk is full."))
    # The message of a foreign exception may hold data of the request: only its type is logged here.
    _LOG.error("a request failed unexpectedly: %s", type(error).__name__)
    return answer(LetheError("internal", "The request failed."))


def _place(part: object) -> str:
    """A field's name; one that the sender made up may be personal data and is not repeated."""
    text = str(part)
    return text if isinstance(part, int) or (text.isidentifier() and text.islower() and len(text) <= 40) else "?"


def _say(fault: dict[str, Any]) -> str:
    return "no such field" if fault["type"] == "extra_forbidden" else str(fault["msg"])
