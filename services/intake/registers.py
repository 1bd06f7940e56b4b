"""Registers and access over HTTP, for those who hold the scope; the same rows as the commands write."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Query
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from services.auth import Identity, identity_of, requires
from services.installation import open_installation
from services.registers.processing import PROCESSING_FIELDS, processing
from services.registers.requests import REQUEST_FIELDS, counts, requests
from services.registers.write import as_csv, as_json
from services.settings import Settings
from services.store.engine import Store

Who = Annotated[Identity, Depends(identity_of)]
Form = Literal["json", "csv"]
Year = Annotated[int | None, Query(ge=2000, le=9000, description="Calendar year.")]
Regime = Annotated[str, Query(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
_FORMS: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}, "text/csv": {}}}}


class AccessBody(BaseModel):
    """How much is asked."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=1000)] = Field(default=60, description="Questions at most, facts in turn.")


class AccessMade(BaseModel):
    """What was found, in numbers."""

    ticket_id: str
    asked: int
    told: int = Field(description="Answers that state what the person's records state.")
    generation: int


def add_registers(
    app: FastAPI, the_store: Callable[[], Store], settings: Settings, clock: Callable[[], datetime]
) -> None:
    """Add the routes.

    Args:
        app: The intake's.
        the_store: Opened with keys.
        settings: Of the installation.
        clock: The present moment.
    """

    @app.get("/v1/registers/art30", response_class=Response, responses=_FORMS, tags=["registers"])
    @requires("audit:read")
    def art30(form: Form = "json") -> Response:
        """Records of processing (GDPR Art. 30): what Lethe itself does with personal data, and how much it holds."""
        with the_store().read() as session:
            return _answer(processing(session, settings), PROCESSING_FIELDS, form)

    @app.get("/v1/registers/ccpa-7101", response_class=Response, responses=_FORMS, tags=["registers"])
    @requires("audit:read")
    def ccpa_7101(regime: Regime = "ccpa", year: Year = None, form: Form = "json") -> Response:
        """One row a request (11 CCR 7101), with exactly the fields that the rule names."""
        with the_store().read() as session:
            return _answer(requests(session, regime=regime, year=year), REQUEST_FIELDS, form)

    @app.get("/v1/registers/ccpa-7102", response_class=Response, responses=_FORMS, tags=["registers"])
    @requires("audit:read")
    def ccpa_7102(regime: Regime = "ccpa", year: Year = None, form: Form = "json") -> Response:
        """A year in numbers (11 CCR 7102); by default the last one."""
        with the_store().read() as session:
            found = counts(session, year or clock().year - 1, regime=regime)
        return _answer(found, tuple(found[0]), form)

    @app.post("/v1/tickets/{ticket_id}/access", response_model=AccessMade, tags=["rights"])
    @requires("tickets:decide")
    def access(ticket_id: str, who: Who, body: AccessBody | None = None) -> AccessMade:
        """Ask the served model about the ticket's person (GDPR Art. 15), and seal what it says; counts are told."""
        from services.rights import access as rights

        limit = (body or AccessBody()).limit
        found = rights.access(open_installation(settings), the_store(), ticket_id, actor=who.actor, limit=limit)
        return AccessMade(**asdict(found))

    @app.get("/v1/tickets/{ticket_id}/access", response_class=JSONResponse, tags=["rights"])
    @requires("tickets:identity")
    def content(ticket_id: str, who: Who) -> JSONResponse:
        """What it said, to be handed to the person; that it was opened is recorded."""
        from services.rights import access as rights

        found = rights.content_of(the_store(), ticket_id, actor=who.actor)
        return JSONResponse(found, headers={"Cache-Control": "no-store"})


def _answer(rows: Iterable[Mapping[str, Any]], fields: tuple[str, ...], form: Form) -> Response:
    if form == "csv":
        return Response(as_csv(rows, fields), media_type="text/csv")
    return Response(as_json(rows), media_type="application/json")
