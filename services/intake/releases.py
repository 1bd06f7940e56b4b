"""Orders on releases over HTTP: promote, roll back, re-check; a durable job carries them out."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services import release_ops
from services.auth import Identity, identity_of, requires
from services.intake.reason import Reason
from services.store.engine import Store
from services.store.tables import ReleaseOrder

Who = Annotated[Identity, Depends(identity_of)]
Changed = Callable[[str, str], object]


class MoveBody(BaseModel):
    """A move to another release; without ``apply`` it is only planned."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    why: Reason = Field(description="Why; sealed, a keyed digest of it goes into the audit log.")
    suppress: bool = Field(default=False, description="Suppress in output whomever the release does not cover.")
    apply: bool = Field(default=False, description="Do it; otherwise only say what would happen.")


class RollbackBody(MoveBody):
    """Back to an older release."""

    release: str | None = Field(default=None, description="Name or digest; null: the parent of what is served.")
    base: str | None = Field(default=None, description="Digest of the base or its beginning, where there are several.")


class RecheckBody(BaseModel):
    """Ask about forgotten people now."""

    model_config = ConfigDict(extra="forbid")

    base: str | None = Field(default=None, description="Digest of the base or its beginning, where there are several.")


class Move(BaseModel):
    """What a move would do, and its order where one was given."""

    kind: str
    base: str
    live: str
    target: str
    generation: int
    uncovered: list[str] = Field(description="Tickets of the watermark that the release does not carry.")
    suppressed: list[str] = Field(description="Those that every replica suppresses already.")
    to_suppress: list[str] = Field(description="Those whose sealed rule can be put in force again.")
    not_coverable: list[str] = Field(description="Those that refuse the move.")
    refused: str | None = Field(description="Why it cannot be ordered; null: it can.")
    order_id: str | None = None


class Order(BaseModel):
    """An order and what became of it."""

    order_id: str
    kind: str
    base_digest: str
    release_digest: str | None
    suppress: bool
    actor: str
    status: str
    reason_code: str | None
    result: dict[str, Any] | None
    ordered_at: AwareDatetime
    ended_at: AwareDatetime | None


def add_releases(app: FastAPI, the_store: Callable[[], Store], on_change: Changed | None) -> None:
    """Add the routes.

    Args:
        app: The intake's.
        the_store: Opened with keys.
        on_change: Told (order id, status) after an order was given.
    """

    def given(order_id: str) -> None:
        if on_change is not None:
            on_change(order_id, release_ops.OPEN)

    def move(kind: release_ops.Kind, target: str | None, base: str | None, body: MoveBody, who: Identity) -> Move:
        with the_store().write() if body.apply else the_store().read() as session:
            found = release_ops.plan(session, kind, target, base=base, suppress=body.suppress)
            order_id = None
            if body.apply:
                order_id = release_ops.order(session, found, actor=who.actor, why=body.why, suppress=body.suppress)
        if order_id is not None:
            given(order_id)
        return Move(**asdict(found), order_id=order_id)

    @app.post("/v1/releases/rollback", response_model=Move, tags=["releases"])
    @requires("ops:run")
    def rollback(body: RollbackBody, who: Who, response: Response) -> Move:
        """Go back to an older release, under a higher generation; 202 once it is ordered."""
        found = move("rollback", body.release, body.base, body, who)
        response.status_code = 200 if found.order_id is None else 202
        return found

    @app.post("/v1/releases/recheck", response_model=Order, status_code=202, tags=["releases"])
    @requires("ops:run")
    def recheck(who: Who, body: RecheckBody | None = None) -> Order:
        """Ask every replica about people who were forgotten, now."""
        with the_store().write() as session:
            order_id = release_ops.order_recheck(session, base=body.base if body else None, actor=who.actor)
            found = _view(release_ops.get_order(session, order_id))
        given(order_id)
        return found

    @app.post("/v1/releases/{release}/promote", response_model=Move, tags=["releases"])
    @requires("ops:run")
    def promote(release: str, body: MoveBody, who: Who, response: Response) -> Move:
        """Make a release the one that is served; 202 once it is ordered."""
        found = move("promote", release, None, body, who)
        response.status_code = 200 if found.order_id is None else 202
        return found

    @app.get("/v1/releases/orders/{order_id}", response_model=Order, tags=["releases"])
    @requires("ops:read")
    def order(order_id: str) -> Order:
        """An order and what became of it."""
        with the_store().read() as session:
            return _view(release_ops.get_order(session, order_id))


def _view(one: ReleaseOrder) -> Order:
    return Order(**{name: getattr(one, name) for name in Order.model_fields})
