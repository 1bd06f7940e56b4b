"""Acts of people over HTTP beside the ticket's own: exemptions, repetitions."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from policies.moment import Moment
from policies.ticket import CategoryPattern, Code
from services.auth import Identity, identity_of, requires
from services.intake.desk import Desk
from services.intake.reason import Reason
from services.intake.views import Acted, suppressed
from services.people import exemptions
from services.store.people_tables import Exemption
from services.store.tickets import get_ticket

Who = Annotated[Identity, Depends(identity_of)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class ExemptBody(_Body):
    """Something of this ticket's person is kept."""

    code: Code = Field(description="An exemption of the pack (legal_claims).")
    category: CategoryPattern | None = Field(default=None, description="Which records: a category pattern …")
    record: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        default=None, description="… or one record's id."
    )
    review_by: Moment = Field(description="When it must be looked at again.")
    reason: Reason = Field(description="Why it is necessary; sealed.")
    version: int | None = Field(default=None, description="Refuse if the ticket has changed since this version.")


class EndBody(_Body):
    """An exemption ends."""

    reason: Reason
    version: int | None = None


class DuplicateBody(_Body):
    """This ticket repeats another one."""

    of: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(description="The ticket that goes on.")
    reason: Reason


class ExemptionView(BaseModel):
    """An exemption, without the words of its reason."""

    exemption_id: str
    ticket_id: str
    category: str | None
    record_id: str | None
    code: str
    article: str
    decided_by: str
    decided_at: AwareDatetime
    review_by: AwareDatetime
    ended_at: AwareDatetime | None
    ended_by: str | None


def add_people(app: FastAPI, desk: Callable[[], Desk], clock: Callable[[], datetime]) -> None:
    """Add the routes.

    Args:
        app: The intake's.
        desk: Does the acts.
        clock: The present moment.
    """

    def acted(ticket_id: str, status: str) -> Acted:
        with desk().store.read() as session:
            state = suppressed(session, get_ticket(session, ticket_id))
        return Acted(ticket_id=ticket_id, status=status, suppression=state)

    @app.post("/v1/tickets/{ticket_id}/exempt", response_model=Acted, tags=["acts"])
    @requires("tickets:decide")
    def exempt(ticket_id: str, body: ExemptBody, who: Who) -> Acted:
        """Keep a category or a record under an exemption; everything is decided, and approved, again."""
        status = desk().exempt(
            ticket_id,
            who,
            code=body.code,
            category=body.category,
            record_id=body.record,
            review_by=body.review_by,
            reason=body.reason,
            version=body.version,
        )
        return acted(ticket_id, status)

    @app.post("/v1/tickets/{ticket_id}/exemptions/{exemption_id}/end", response_model=Acted, tags=["acts"])
    @requires("tickets:decide")
    def end(ticket_id: str, exemption_id: str, body: EndBody, who: Who) -> Acted:
        """End an exemption; an open ticket is decided again."""
        status = desk().end_exemption(ticket_id, exemption_id, who, reason=body.reason, version=body.version)
        return acted(ticket_id, status)

    @app.post("/v1/tickets/{ticket_id}/duplicate", response_model=Acted, tags=["acts"])
    @requires("tickets:decide")
    def duplicate(ticket_id: str, body: DuplicateBody, who: Who) -> Acted:
        """Close a ticket as a repetition of an earlier one; both identities must be verified, each on its own."""
        return acted(ticket_id, desk().link_duplicate(ticket_id, body.of, who, reason=body.reason))

    @app.get("/v1/tickets/{ticket_id}/exemptions", response_model=list[ExemptionView], tags=["tickets"])
    @requires("tickets:read")
    def of_ticket(ticket_id: str) -> list[ExemptionView]:
        """What of this ticket's person is kept, and what was once."""
        with desk().store.read() as session:
            get_ticket(session, ticket_id)
            return [_view(row) for row in exemptions.of_ticket(session, ticket_id, ended=True)]

    @app.get("/v1/exemptions", response_model=list[ExemptionView], tags=["tickets"])
    @requires("tickets:read")
    def due(review_before: Moment | None = None) -> list[ExemptionView]:
        """Exemptions that must be looked at again by a moment; by default, by now."""
        with desk().store.read() as session:
            return [_view(row) for row in exemptions.due_for_review(session, review_before or clock())]


def _view(row: Exemption) -> ExemptionView:
    return ExemptionView(**{name: getattr(row, name) for name in ExemptionView.model_fields})
