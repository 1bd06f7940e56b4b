"""Tickets that stand after a fault, tried again all at once."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic import BaseModel, ConfigDict, Field

from services.auth import Identity, identity_of, requires
from services.intake.desk import Desk
from services.resume import retry_standing

Who = Annotated[Identity, Depends(identity_of)]


class StandingBody(BaseModel):
    """Which tickets."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    reason_code: str | None = Field(
        default=None,
        pattern=r"^[a-z_]+\.[a-z_]+$|^internal$",
        max_length=64,
        description="Only tickets that stand with this code; without it only those whose run failed.",
    )


class Retried(BaseModel):
    """The tickets that wait for a run again."""

    retried: list[str]


def add_standing(app: FastAPI, desk: Callable[[], Desk]) -> None:
    """Add the route."""

    @app.post("/v1/tickets/retry", response_model=Retried, tags=["acts"])
    @requires("tickets:decide")
    def retry_all(who: Who, body: StandingBody | None = None) -> Retried:
        """Let every ticket whose run failed wait for a run again; a rejected one only if its reason is named."""
        return Retried(retried=retry_standing(desk(), who, reason=body.reason_code if body else None))
