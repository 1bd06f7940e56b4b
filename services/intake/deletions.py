"""Deletions of source records over HTTP: what the dry runs found, and a person's order."""

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import Depends, FastAPI, Query
from pydantic import AwareDatetime, BaseModel

from services.auth import Identity, identity_of, requires
from services.deletion import work
from services.store import deletions
from services.store.engine import Store
from services.store.evidence_tables import Deletion

Who = Annotated[Identity, Depends(identity_of)]
Status = Literal["planned", "tried", "ordered", "done", "held", "failed"]


class DeletionView(BaseModel):
    """One source of one ticket: counts and keyed digests of both readings."""

    ticket_id: str
    source: str
    kind: str
    status: str
    asked: int
    held: int
    rows_before: int | None
    found_before: int | None
    rows_after: int | None
    found_after: int | None
    content_digest: str | None
    rest_before: str | None
    rest_after: str | None
    reason_code: str | None
    planned_at: AwareDatetime
    tried_at: AwareDatetime | None
    ordered_by: str | None
    ordered_at: AwareDatetime | None
    ended_at: AwareDatetime | None


def add_deletions(app: FastAPI, the_store: Callable[[], Store], on_change: Callable[[str, str], object] | None) -> None:
    """Add the routes.

    Args:
        app: The intake's.
        the_store: Opened with keys.
        on_change: Told (ticket id, status) after an order.
    """

    @app.get("/v1/deletions", response_model=list[DeletionView], tags=["deletions"])
    @requires("tickets:read")
    def list_all(status: Status | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[DeletionView]:
        """Deletions of source records, the oldest first."""
        with the_store().read() as session:
            return [_view(row) for row in deletions.all_rows(session, status=status, limit=limit)]

    @app.get("/v1/tickets/{ticket_id}/deletions", response_model=list[DeletionView], tags=["deletions"])
    @requires("tickets:read")
    def of_ticket(ticket_id: str) -> list[DeletionView]:
        """What each source holds or held of one ticket's person, in numbers."""
        with the_store().read() as session:
            return [_view(row) for row in deletions.of_ticket(session, ticket_id)]

    @app.post(
        "/v1/tickets/{ticket_id}/deletions", response_model=list[DeletionView], status_code=202, tags=["deletions"]
    )
    @requires("tickets:decide")
    def order(ticket_id: str, who: Who) -> list[DeletionView]:
        """Delete from the sources what the dry run found; a durable job carries it out."""
        with the_store().write() as session:
            found = [_view(row) for row in work.order(session, ticket_id, actor=who.actor)]
        if on_change is not None:
            on_change(ticket_id, deletions.ORDERED)
        return found


def _view(row: Deletion) -> DeletionView:
    return DeletionView(**{name: getattr(row, name) for name in DeletionView.model_fields})
