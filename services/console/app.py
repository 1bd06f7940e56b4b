"""The console as an app of its own, mounted into the intake below ``/console``."""

import logging
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from policies.errors import LetheError
from services import telemetry
from services.auth import Identity, open_to_all
from services.console import render, sessions
from services.console.door import PREFIX
from services.console.pages import PAGES
from services.console.pages.login import with_session
from services.console.place import Console, held_by
from services.intake.acting import Changed
from services.intake.desk import Desk
from services.intake.packs import Packs
from services.oidc import login as oidc
from services.oidc.issuer import Issuer
from services.settings import Settings
from services.store.engine import Store
from services.store.types import utc_now

_LOG = logging.getLogger(__name__)
_STATIC = Path(__file__).parent / "static"
_KINDS = {".css": "text/css", ".js": "text/javascript", ".txt": "text/plain", ".svg": "image/svg+xml"}


def create_console(
    settings: Settings,
    *,
    open_store: Callable[[], Store],
    on_change: Changed | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> FastAPI:
    """The pages. Nobody may reach them but through ``ConsoleDoor``.

    Args:
        settings: Of the installation.
        open_store: Gives the store, with keys, from the first request on.
        on_change: Told (id, status) after every commit.
        clock: The present moment.
    """

    def desk() -> Desk:
        return Desk(
            open_store(),
            Packs(settings.policy),
            zone=settings.policy.zone,
            suppress=settings.serving.suppression,
            bases=settings.base.names,
            on_change=on_change,
            clock=clock,
        )

    app = FastAPI(
        title="Lethe console",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        telemetry=telemetry.NO_FASTAPI_TELEMETRY,
    )
    console = Console(settings, open_store, desk, on_change, clock)
    _add_static(app)
    for add in PAGES:
        add(app, console)
    app.add_exception_handler(LetheError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)
    return app


def add_console(
    app: FastAPI,
    settings: Settings,
    *,
    open_store: Callable[[], Store],
    on_change: Changed | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> None:
    """Puts the console into the intake's app, with the log-in at the identity provider where there is one."""
    if settings.oidc.client_id:

        def logged_in(_request: Request, identity: Identity) -> Response:
            with open_store().write() as session:
                token = sessions.begin(session, identity, settings.console, kind=sessions.PERSON, at=clock())
            return with_session(RedirectResponse(f"{PREFIX}/", 303), token)

        oidc.add_login(app, Issuer(settings.oidc), open_store, logged_in)
    console = create_console(settings, open_store=open_store, on_change=on_change, clock=clock)
    app.mount(PREFIX, console, name="console")


def _add_static(app: FastAPI) -> None:
    @lru_cache(maxsize=16)
    def known() -> frozenset[str]:
        return frozenset(path.name for path in _STATIC.iterdir() if path.suffix in _KINDS)

    @app.get("/static/{name}")
    @open_to_all("The log-in page needs its style before anybody is logged in.")
    def static(name: str) -> FileResponse:
        """A file of ours; any other name is not looked for."""
        if name not in known():
            raise LetheError("request.not_found", "There is no such file.")
        path = _STATIC / name
        return FileResponse(path, media_type=_KINDS[path.suffix], headers={"Cache-Control": "max-age=3600"})


async def _refused(request: Request, error: Exception) -> Response:
    return render.refusal(cast(LetheError, error), held_by(request))


async def _invalid(request: Request, error: Exception) -> Response:
    names = sorted({str(fault["loc"][-1]) for fault in cast(Any, error).errors()})
    known = tuple(name for name in names if name.isidentifier())
    return render.refusal(
        LetheError("request.invalid", "The address of this page has faults.", known), held_by(request)
    )


async def _http_error(request: Request, error: Exception) -> Response:
    code = {404: "request.not_found", 405: "request.method_not_allowed"}.get(
        cast(HTTPException, error).status_code, "request.invalid"
    )
    return render.refusal(LetheError(code, "There is no such page."), held_by(request))


async def _unexpected(request: Request, error: Exception) -> Response:
    # The message of a foreign exception may hold data of the request: only its type is logged here.
    _LOG.error("a page failed unexpectedly: %s", type(error).__name__)
    return render.refusal(LetheError("internal", "The page failed."), held_by(request))
