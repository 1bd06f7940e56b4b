"""Callbacks over HTTP: what was told to senders, and another try for what was given up."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Literal

from fastapi import Depends, FastAPI, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.auth import Identity, identity_of, requires
from services.store.callbacks import list_callbacks, retry_callbacks
from services.store.engine import Store
from services.store.protocol_tables import Callback

Who = Annotated[Identity, Depends(identity_of)]


class CallbackView(BaseModel):
    """One message to a sender, without its address."""

    callback_id: str
    ticket_id: str
    sequence: int = Field(description="The ticket's version that it tells of.")
    request_status: str
    ticket_status: str
    state: str = Field(description="open, delivered or given_up.")
    attempts: int
    answer: int | None = Field(description="HTTP status of the last attempt.")
    failed_code: str | None
    next_at: AwareDatetime
    made_at: AwareDatetime
    ended_at: AwareDatetime | None


class RetryBody(BaseModel):
    """Which messages."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    ticket_id: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="Of this ticket; without it all that were given up."
    )


class Opened(BaseModel):
    """The messages that are sent again."""

    retried: list[str]


def add_callbacks(app: FastAPI, the_store: Callable[[], Store], clock: Callable[[], datetime]) -> None:
    """Add the routes.

    Args:
        app: The intake's.
        the_store: Opened with keys.
        clock: The present moment.
    """

    @app.get("/v1/callbacks", response_model=list[CallbackView], tags=["callbacks"])
    @requires("tickets:read")
    def list_all(
        state: Literal["open", "delivered", "given_up"] | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> list[CallbackView]:
        """What was told to senders, or is to be, the newest first."""
        with the_store().read() as session:
            return [_view(row) for row in list_callbacks(session, state=state, limit=limit)]

    @app.post("/v1/callbacks/retry", response_model=Opened, tags=["callbacks"])
    @requires("tickets:decide")
    def retry(who: Who, body: RetryBody | None = None) -> Opened:
        """Send again what was given up; what was delivered stays."""
        with the_store().write() as session:
            found = retry_callbacks(session, ticket_id=body.ticket_id if body else None, actor=who.actor, at=clock())
        return Opened(retried=found)


def _view(row: Callback) -> CallbackView:
    return CallbackView(**{name: getattr(row, name) for name in CallbackView.model_fields})
